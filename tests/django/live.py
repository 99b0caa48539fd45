"""A client of the live socket for tests: speaks to the real application, and knows what it was sent.

Whatever it hears has to be as docs/protocol/asyncapi.yaml says.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client as Browser

from dashboard import reads
from devices import groups, telemetry, wire
from devices.models import Token
from hub.asgi import application
from tests import asyncapi

NOW = 1_790_000_000_000
# Whatever is waited for takes milliseconds; a machine with other work may take this long.
PATIENCE_S = 10.0
Headers = list[tuple[bytes, bytes]]
# The same care for connections as the hub's own reads have; stays itself where a test replaces reads.run.
run = reads.run


def token(user: User) -> str:
    secret: str = Token.objects.create(user)[1]
    return secret


def by_token(user: User) -> Headers:
    return [(b"authorization", f"Token {token(user)}".encode())]


def by_cookie(user: User, **headers: str) -> Headers:
    browser = Browser()
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    cookie = f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"
    given = {"cookie": cookie, "host": "testserver", "origin": "http://testserver", **headers}
    return [(name.encode(), value.encode()) for name, value in given.items()]


def record(key: str, count: int = 1, **values: Any) -> list[groups.Message]:
    """Store frames, one a second; return what a bridge would announce."""
    frames = [
        wire.Frame(device=key, values=values or {"temp": 20.0}, received_at=NOW + index * 1000, ts=NOW + index * 1000)
        for index in range(count)
    ]
    recorded = telemetry.record(frames, NOW)
    return [*recorded.frames, *recorded.states]


async def store(key: str, count: int = 1, **values: Any) -> list[groups.Message]:
    return await run(record, key, count, **values)


async def publish(key: str, count: int = 1, **values: Any) -> None:
    """Store frames and ring, as a bridge does."""
    await groups.announce(*await store(key, count, **values))


class Live:
    """One socket. `rows` has the seqs it was sent, by subscription and device, in the order of arrival."""

    def __init__(self, headers: Headers | None = None, *, scheme: str = "ws") -> None:
        self.wire = WebsocketCommunicator(application, "/ws/v1/live/", headers or [])
        self.wire.scope["scheme"] = scheme
        self.heard: list[dict[str, Any]] = []
        self.rows: dict[tuple[str, str], list[int]] = {}
        self.skipped: set[tuple[str, str]] = set()
        self.credits = True

    async def __aenter__(self) -> Self:
        accepted, _ = await self.wire.connect(timeout=PATIENCE_S)
        assert accepted
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.wire.future.cancelled():  # as it is once something was waited for in vain
            await self.wire.disconnect(timeout=PATIENCE_S)

    async def say(self, kind: str, **fields: Any) -> None:
        await self.wire.send_to(text_data=json.dumps({"type": kind, **fields}))

    async def sub(self, *keys: str, id: str = "a", **fields: Any) -> None:  # noqa: A002  the protocol's word
        await self.say("sub", id=id, devices=list(keys), **fields)

    async def hear(self) -> dict[str, Any]:
        """Take the next message; give credit back for rows."""
        out = await self.wire.receive_output(timeout=PATIENCE_S)
        if out["type"] == "websocket.close":
            raise Closed(out["code"])
        message: dict[str, Any] = json.loads(out["text"])
        asyncapi.expect("hub", message)
        self.heard.append(message)
        if message["type"] == "lag":
            self.skipped |= {(message["id"], key) for key in message["devices"]}
        if message["type"] == "data":
            for key, part in message["devices"].items():
                self._take(message["id"], key, part)
        if message["type"] in {"data", "fleet"} and self.credits:
            await self.say("credit", n=1)
        return message

    def _take(self, sub: str, key: str, part: dict[str, Any]) -> None:
        rows = self.rows.setdefault((sub, key), [])
        # A client can tell a hole from `prev` alone.
        assert not rows or part["prev"] == rows[-1] or (sub, key) in self.skipped
        self.skipped.discard((sub, key))
        rows += [row[0] for row in part["frames"]]

    async def until(self, kind: str, where: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Take messages until there is one of this type; `err` comes unexpected."""
        while True:
            message = await self.hear()
            assert message["type"] != "err" or kind == "err", message
            if message["type"] == kind and where(message):
                return message

    async def until_row(self, seq: int, key: str = "pump-1", sub: str = "a") -> list[int]:
        """Take messages until this row has come; return all seqs that came."""
        while seq not in self.rows.get((sub, key), []):
            await self.hear()
        return self.rows[sub, key]

    async def words(self) -> list[dict[str, Any]]:
        """Return all words that were said before now (a ping's answer comes after them)."""
        before = len(self.heard)
        await self.say("ping")
        await self.until("pong")
        return self.heard[before:-1]

    async def code(self) -> int:
        """Wait for the close, and return its code."""
        try:
            while True:
                await self.hear()
        except Closed as closed:
            return closed.code


class Closed(Exception):
    """The hub closed the socket."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def settle(turns: int = 20) -> None:
    """Let everything run that can run without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)


@asynccontextmanager
async def signed_in(user: User, **scope: Any) -> AsyncIterator[Live]:
    """Open a socket that has been greeted; `scope`: what its server tells besides."""
    live = Live(await run(by_token, user))
    live.wire.scope.update(scope)
    async with live:
        await live.until("welcome")
        yield live
