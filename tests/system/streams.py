"""What a Daphne of the tests serves: answers and sockets that are long or break off, and how much was given."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hub.pace import gated, paced

PART = b"x" * 65536
PARTS = 1000
given = {"parts": 0, "left": 0, "full": 0}


async def application(scope: Any, _receive: Any, send: Any) -> None:
    if scope["path"] == "/raise":
        raise RuntimeError("before the answer began")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/given":
        await send({"type": "http.response.body", "body": json.dumps(given).encode()})
    elif scope["path"] == "/long":
        await long(send)
    elif scope["path"] == "/stuck":
        asyncio.get_running_loop().call_later(1, scope["gate"].abandon)
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


async def sockets(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    gate = scope["gate"]
    if scope["path"] == "/flood":
        await flood(gate, send)
    elif scope["path"] == "/straight":
        await straight(gate, send)
    elif scope["path"] in ("/shut", "/full"):
        while gate.open:
            await send({"type": "websocket.send", "text": PART.decode()})
        given["full"] += 1
        if scope["path"] == "/shut":
            await send({"type": "websocket.close", "code": 4408})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    given["left"] += 1


async def flood(gate: Any, send: Any) -> None:
    given["parts"] = 0
    for _ in range(PARTS):
        await gate.passed()
        await send({"type": "websocket.send", "text": PART.decode()})
        given["parts"] += 1


async def straight(gate: Any, send: Any) -> None:
    """Each text straight to the socket or through ASGI, in turn; sizes that the pipe takes a part of."""
    given["parts"] = 0
    for number in range(PARTS):
        await gate.passed()
        text = f"{number} {PART.decode() * (number % 3)}"
        if number % 2 or not gate.write(text):
            await send({"type": "websocket.send", "text": text})
        given["parts"] += 1


async def app(scope: Any, receive: Any, send: Any) -> None:
    serve = gated(sockets) if scope["type"] == "websocket" else paced(application)
    await serve(scope, receive, send)
