"""Clients of the live machine: a socket that delivers what a test lets it, and the Python client's pure core on it."""

import asyncio
import json
from collections import deque
from typing import Any

from django.contrib.auth.models import AnonymousUser

from dashboard import protocol
from dashboard.consumers import LiveConsumer
from telemetry_hub import items
from telemetry_hub.state import State
from telemetry_hub.told import Ended, Told
from tests.django.live import NOW

KEYS = ("p", "q")


class Wire:
    """A socket: what the hub has said on it, and the client has not heard yet."""

    def __init__(self, secret: str) -> None:
        self.said: deque[dict[str, Any]] = deque()
        self.lent = 0
        self.code: int | None = None
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        headers = [(b"authorization", f"Token {secret}".encode())]
        scope = {"type": "websocket", "path": "/ws/v1/live/", "headers": headers, "user": AnonymousUser()}
        serve: Any = LiveConsumer.as_asgi()
        self.task = asyncio.get_running_loop().create_task(serve(scope, self._inbox.get, self._send))

    async def _send(self, event: dict[str, Any]) -> None:
        if event["type"] == "websocket.close":
            self.code = event["code"]
        elif event["type"] == "websocket.send":
            message = json.loads(event["text"])
            self.said.append(message)
            self.lent += message["type"] in ("data", "fleet")
            assert self.lent <= protocol.CREDIT, "more than was lent"

    def say(self, message: dict[str, Any]) -> None:
        if message["type"] == "credit":
            self.lent -= message["n"]
        self._inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def cut(self) -> None:
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})


class Client:
    """A program's side: the core, and all that its user was given.

    wants    what it watches, by name
    rows     of `rows`, by device; gone: what a gap told of it; skipped: what a lag did
    """

    def __init__(self, secret: str, **wants: dict[str, Any]) -> None:
        self.secret = secret
        self.wants = wants
        self.state = State()
        self.rows: dict[str, list[int]] = {key: [] for key in KEYS}
        self.gone: dict[str, set[int]] = {key: set() for key in KEYS}
        self.skipped: dict[str, set[int]] = {key: set() for key in KEYS}
        self.summaries: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.slow = False
        self.owed = 0
        self._at = dict.fromkeys(KEYS, 0)
        self._lag: dict[str, int] = {}
        self._newest = 0
        for name, request in wants.items():
            self.state.want(name, request, NOW)
        self.wire = Wire(secret)

    def again(self) -> None:
        """The socket is gone; what was on its way on it is lost."""
        assert self.state.closed(1006) == (True, [])
        self._lag = {}
        self.owed = 0
        self.wire = Wire(self.secret)

    def hear(self, count: int) -> None:
        """Take some of what the hub has said, and answer."""
        assert self.wire.code is None, f"the hub closed with {self.wire.code}"
        for _ in range(min(count, len(self.wire.said))):
            for told in self.state.hear(self.wire.said.popleft(), NOW):
                self._take(told)
        if not self.slow:
            self.credit(self.owed)
        self.speak()

    def speak(self) -> None:
        while self.state.say:
            self.wire.say(self.state.say.pop(0))

    def credit(self, count: int) -> None:
        self.owed -= count
        self.state.give(count)
        self.speak()

    def _take(self, told: Told) -> None:
        self.owed += told.credit
        for item in told.items:
            if isinstance(item, Ended):
                self.ended[told.sub] = item.code
            elif isinstance(item, items.Summary):
                self.summaries[item.device] = item.seq
            elif isinstance(item, items.Gone):
                del self.summaries[item.device]
            elif told.sub == "rows":
                self._of_rows(item)
            elif isinstance(item, items.Row):
                assert item.seq > self._newest
                self._newest = item.seq

    def _of_rows(self, item: object) -> None:
        match item:
            case items.Row(device=key, seq=seq, values=values):
                assert values == {"t": seq}, "another row's values"
                self._reach(key, seq)
                self.rows[key].append(seq)
                self._at[key] = seq
            case items.Gap(key, first, last):
                self._reach(key, first)
                self.gone[key] |= set(range(first, last + 1))
                self._at[key] = last
            case items.Lag(key, count):
                self._lag[key] = self._lag.get(key, 0) + count

    def _reach(self, key: str, seq: int) -> None:
        """What comes now is beyond all that came, and what is between was told to be skipped."""
        assert seq > self._at[key]
        untold = set(range(self._at[key] + 1, seq))
        assert len(untold) <= self._lag.pop(key, 0), "skipped in silence"
        self.skipped[key] |= untold

    def resume(self) -> None:
        """Go on, by cursor, with what was ended."""
        for name in self.ended:
            cursor = self.state.subs[name].cursor
            since = {} if name == "fleet" else {"since": {"cursor": dict(cursor)}}
            self.state.want(name, self.wants[name] | since, NOW)
        self.ended = {}
        self.speak()

    def has_all(self, heads: dict[str, int]) -> bool:
        """Whether it stands where the journal does, live."""
        subs = [sub for name, sub in self.state.subs.items() if name != "fleet"]
        level = all(sub.phase == "live" and all(sub.cursor[key] == heads[key] for key in sub.devices) for sub in subs)
        return level and ("fleet" not in self.wants or self.summaries == heads)
