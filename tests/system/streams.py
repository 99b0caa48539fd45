"""What a Daphne of the tests serves: answers that are long, that break off, and how much of them was given to it."""

from __future__ import annotations

import json
from typing import Any

from hub.pace import paced

PART = b"x" * 65536
PARTS = 1000
given = {"parts": 0, "left": 0}


async def application(scope: Any, _receive: Any, send: Any) -> None:
    if scope["path"] == "/raise":
        raise RuntimeError("before the answer began")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/given":
        await send({"type": "http.response.body", "body": json.dumps(given).encode()})
    elif scope["path"] == "/long":
        await long(send)
    elif scope["path"] == "/broken":
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise RuntimeError("in the middle of an answer")


async def long(send: Any) -> None:
    given["parts"] = 0
    try:
        for _ in range(PARTS):
            await send({"type": "http.response.body", "body": PART, "more_body": True})
            given["parts"] += 1
        await send({"type": "http.response.body", "body": b"end"})
    finally:
        given["left"] += 1


app = paced(application)
