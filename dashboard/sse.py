"""GET /api/v1/stream: the live protocol for those without WebSocket, as server-sent events. curl can watch a device.

It is the same machine as the live socket's, with the same messages. Credit is given back by itself, when a part is on
its way; the event's id is the cursor, so that a browser's EventSource comes back without a hole.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.db import DatabaseError
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer

from dashboard import fanout, joins, permits, protocol, reads
from dashboard.protocol import Close, Since, Sub
from dashboard.sender import Addressee, Sender
from devices import address, quota, values
from devices.api.asked import Strict, Waiting, query, user_of
from devices.errors import Refusal
from devices.models import Token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rest_framework.request import Request

    from dashboard.feeds import Subscriber

logger = logging.getLogger(__name__)

# Proxies end what is silent for 30 to 60 s.
HEARTBEAT_S: Final = 15.0
# The cursor of all devices comes back in a header, and servers take headers of 16 KB.
MAX_DEVICES: Final = 100
# When a browser comes back, in ms, each at another time; the others choose for themselves.
RETRY_MS: Final = (1_000, 5_000)
DEVICES: Final = "devices"
FLEET: Final = "fleet"
# What costs credit.
PAID: Final = ("data", "fleet")


class StreamAsked(Strict):
    """What to watch: devices, a fleet, or both; from now on, if nothing else is said."""

    device = serializers.ListField(
        child=serializers.CharField(max_length=128), default=[], max_length=MAX_DEVICES, help_text="may be repeated"
    )
    metrics = serializers.ListField(
        child=serializers.CharField(max_length=values.MAX_NAME, trim_whitespace=False),
        required=False,
        max_length=protocol.MAX_DEVICES,
        help_text="only these; may be repeated",
    )
    mode = serializers.ChoiceField(["all", "latest"], default="all")
    since_s = serializers.FloatField(
        required=False, min_value=0, max_value=protocol.TEN_YEARS_S, help_text="begin so many seconds ago"
    )
    cursor = serializers.CharField(required=False, help_text="begin behind what you have: pump-1:10432,pump-2:7")
    fleet = serializers.CharField(required=False, max_length=128, help_text="slug: follow its summary")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what watches nothing, or begins at two places."""
        if not attrs["device"] and "fleet" not in attrs:
            raise ValidationError({"device": "Say what to watch: ?device=pump-1 (repeated for more) or ?fleet=main."})
        if "since_s" in attrs and "cursor" in attrs:
            raise ValidationError({"cursor": "Give `since_s` or `cursor`, not both."})
        return attrs


class Events(StreamingHttpResponse):
    """An answer whose generator ends with it. Django's own wraps it in another, and leaves it to the collector."""

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        """Answer with these."""
        super().__init__(events, content_type="text/event-stream; charset=utf-8")
        self._events = events
        self["Cache-Control"] = "no-store"
        self["X-Accel-Buffering"] = "no"

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the generator itself."""
        return self._events


class Stream(Waiting):
    """Devices and a fleet, live, over plain HTTP."""

    http_method_names = ["get"]
    for_links = True

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002  as the framework has it
        """Send events, whatever is accepted; what is refused is JSON."""
        return JSONRenderer(), JSONRenderer.media_type

    @extend_schema(
        parameters=[StreamAsked, OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER)],
        responses={(200, "text/event-stream"): OpenApiTypes.STR},
    )
    async def get(self, request: Request) -> Events:
        """Watch, as over the live socket: events are named as its messages, and bring the same JSON."""
        asked = query(request, StreamAsked, lists=("device", "metrics"))
        subs = subscriptions(asked, request.headers.get("Last-Event-ID"))
        asking = request._request  # noqa: SLF001  the framework's own
        places = (("user", user_of(request).pk), ("address", address.of(asking)))
        quota.places.check(*places)
        visitor = Visitor(_let_in(request), places, getattr(asking, "scope", {}).get("gate"))
        await visitor.may(subs)
        return Events(visitor.events(subs))


def _let_in(request: Request) -> permits.Pass:
    """Return the pass of who asks, by token or by session."""
    token = request.auth if isinstance(request.auth, Token) else None
    session = getattr(request._request, "session", None)  # noqa: SLF001  the framework's own
    return permits.let_in(user_of(request), session_key=session and session.session_key, token=token)


def subscriptions(asked: dict[str, Any], last_id: str | None) -> list[Sub]:
    """Return what is asked for as the socket would ask for it; a browser that comes back says where it was."""
    subs = []
    if keys := asked["device"]:
        since: Since | None = None
        if last_id or "cursor" in asked:
            since = Since(cursor=cursor_of(last_id or asked["cursor"], keys))
        elif "since_s" in asked:
            since = Since(last_s=asked["since_s"])
        subs.append(Sub(id=DEVICES, devices=keys, metrics=asked.get("metrics"), mode=asked["mode"], since=since))
    if "fleet" in asked:
        subs.append(Sub(id=FLEET, fleet=asked["fleet"]))
    return subs


def cursor_of(text: str, keys: list[str]) -> dict[str, int]:
    """Read a cursor, as it is in an event's id."""
    cursor = {}
    for part in text.split(","):
        key, _, seq = part.strip().rpartition(":")
        if key not in keys or not (seq.isascii() and seq.isdigit()) or int(seq) > values.MAX_COUNTER:
            problem = f"{part[:80]!r} is not <device>:<seq> of a device that is watched; it looks like pump-1:10432."
            raise ValidationError({"cursor": problem})
        cursor[key] = int(seq)
    return cursor


class Pipe:
    """From the sender to the answer, one message at a time. As a gate it is open when the last one is on its way."""

    def __init__(self, abandon: Callable[[], None]) -> None:
        """Be empty; `abandon` cuts the answer off."""
        self._abandon = abandon
        self._text: str | None = None
        self._closed = False
        self._news = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def open(self) -> bool:
        """Whether there is room."""
        return self._empty.is_set()

    async def passed(self) -> None:
        """Wait until there is."""
        await self._empty.wait()

    def write(self, text: str) -> bool:  # noqa: ARG002  one after the other
        """Leave it to `send`."""
        return False

    async def send(self, text_data: str) -> None:
        """Put a message in."""
        self._text = text_data
        self._empty.clear()
        self._news.set()

    async def close(self, code: int) -> None:  # noqa: ARG002  there is no place for it in an answer
        """End the answer; at once, if it stands still: whatever was to be taken before has been, or will not be."""
        self._closed = True
        self._news.set()
        self._abandon()

    async def next(self) -> str | None:
        """Wait for a message, which stays in here until `clear`; "": nothing came for a while; None: it is over."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self._news.wait()
        except TimeoutError:
            return ""
        return self._text

    def clear(self) -> None:
        """The message is on its way."""
        self._text = None
        self._empty.set()
        if not self._closed:
            self._news.clear()


class _Rows(msgspec.Struct):
    frames: list[msgspec.Raw]


class _Parts(msgspec.Struct):
    devices: dict[str, _Rows]


_parts_of = msgspec.json.Decoder(_Parts).decode


class Visitor(Addressee):
    """Who watches over HTTP. It is the Session of its subscriptions, as a socket is."""

    def __init__(self, pass_: permits.Pass, places: tuple[quota.Whose, ...] = (), gate: Any = None) -> None:  # noqa: ANN401  hub.pace's
        """Watch nothing yet; `places` are taken while it does."""
        self.pass_ = pass_
        self._places = places
        self.fanout = fanout.here()
        self.pipe = Pipe(gate.abandon if gate else lambda: None)
        self.sender = Sender(self.pipe, self.pipe)
        self._cursor: dict[str, int] = {}
        self._moved = False

    # -- what the feeds call

    def watching(self) -> list[Subscriber]:
        """Return what listens for it now."""
        return [*self.sender.sources.values()]

    def end(self, sub: str, reason: str = "permission_revoked") -> None:
        """End a subscription that is not permitted any more, and say so; with the last one the answer ends."""
        super().end(sub, reason)
        if not self.sender.sources:
            self.quit(Close.NOT_AUTHENTICATED)

    # -- the answer

    async def may(self, subs: list[Sub]) -> None:
        """Refuse before the answer begins what may not be watched."""
        for sub in subs:
            if sub.fleet is None:
                await reads.run(reads.rows_of, self.pass_.user, sub.devices or [])
            else:
                await reads.run(reads.fleet_id, self.pass_.user, sub.fleet)

    async def events(self, subs: list[Sub]) -> AsyncIterator[bytes]:
        """Watch, until the client goes or nothing may be watched any more."""
        sending = asyncio.create_task(self.sender.run(), name="event stream")
        quota.places.take(*self._places)
        try:
            self.fanout.enter(self)
            yield f"retry: {random.randint(*RETRY_MS)}\n\n".encode()  # noqa: S311  no secret
            await self._begin(subs)
            while (text := await self.pipe.next()) is not None:
                if not text:
                    yield b":\n\n"
                    continue
                kind = text[len('{"type":"') : text.index('"', len('{"type":"'))]
                yield self._event(kind, text).encode()
                self.pipe.clear()
                if kind in PAID:
                    self.sender.give(1)
        finally:
            quota.places.leave(*self._places)
            sending.cancel()
            self.fanout.sessions.discard(self)
            for sub in list(self.sender.sources):
                self.sender.drop(sub)

    async def _begin(self, subs: list[Sub]) -> None:
        if wrong := self.fanout.alarm.text:
            self.say(wrong)
        for sub in subs:
            try:
                await self._join(sub)
            except Refusal as refusal:  # in this moment
                self._fail(sub.id, refusal.code, refusal.message)
            except DatabaseError:
                logger.exception("a stream could not begin")
                self._fail(sub.id, "unavailable", "The database is away for the moment; come back.", retry=True)

    async def _join(self, sub: Sub) -> None:
        if sub.fleet is not None:
            await joins.fleet(self, sub.id, sub.fleet)
        else:
            self._cursor = {start.key: start.cursor for start in await joins.devices(self, sub)}
            self._moved = True

    def _fail(self, id_: str, code: str, message: str, *, retry: bool = False) -> None:
        self.say(protocol.text(kind="err", id=id_, code=code, message=message, retry=retry))
        self.quit(Close.ERROR)

    def _event(self, kind: str, text: str) -> str:
        """Write an event; its id is the cursor after it, where that has moved."""
        if kind == "data":
            for key, rows in _parts_of(text).devices.items():
                seq, _, _ = bytes(rows.frames[-1])[1:].partition(b",")
                self._cursor[key] = int(seq)
                self._moved = True
        id_ = f"id: {','.join(f'{key}:{seq}' for key, seq in self._cursor.items())}\n" if self._moved else ""
        self._moved = False
        return f"event: {kind}\n{id_}data: {text}\n\n"
