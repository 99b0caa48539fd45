"""The live socket: matches a client's messages to calls, and sends what its subscriptions have (docs/protocol/live.md)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import Any, Final

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth.models import User
from django.http.request import split_domain_port, validate_host

from dashboard import fanout, protocol, reads
from dashboard.protocol import Close, Cmd, Credit, Hello, Ping, Sub, Unsub
from dashboard.stream import Stream
from devices import commands, registry
from devices.errors import Refusal
from devices.models import Role

logger = logging.getLogger(__name__)

# Devices in one message of a fleet's first picture.
FLEET_CHUNK: Final = 200


class LiveConsumer(AsyncWebsocketConsumer):
    """One browser page, or one program."""

    channel_layer_alias = None  # type: ignore[assignment]  # the process is the groups' member (fanout), not the socket

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Route without Channels' thread hop for each message: nothing here touches the ORM outside reads.run."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    # -- opening and closing

    async def connect(self) -> None:
        """Look at the Origin, then at who it is; programs may say so in their first message."""
        self.user: User | None = None
        self.streams: dict[str, Stream] = {}
        self.followed: dict[str, str] = {}
        self.ears: dict[str, Ear] = {}
        self.outbox: deque[str] = deque()
        self.window = protocol.Window()
        self.bucket = protocol.Bucket(time.monotonic())
        self.news = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.fanout = fanout.here()
        await self.accept()
        headers = dict(self.scope["headers"])
        origin, host = (headers.get(name, b"").decode("latin-1") for name in (b"origin", b"host"))
        if origin and not origin_allowed(origin, host, self.scope.get("scheme", "ws")):
            await self.close(Close.ORIGIN)
            return
        self._start(self._pump())
        await self._recognise(headers.get(b"authorization", b"").decode("latin-1"))

    async def _recognise(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "token":
            await self._sign_in(await reads.run(reads.user_of_token, token.strip()))
        elif self.scope["user"].is_authenticated:
            await self._sign_in(self.scope["user"])
        else:
            self._start(self._expect_hello())

    async def _expect_hello(self) -> None:
        await asyncio.sleep(protocol.HELLO_TIMEOUT_S)
        if self.user is None:
            await self.close(Close.TIMEOUT)

    async def _sign_in(self, user: User | None) -> None:
        if user is None:
            await self.close(Close.NOT_AUTHENTICATED)
            return
        self.user = user
        limits = {
            "subscriptions": protocol.MAX_SUBSCRIPTIONS,
            "devices": protocol.MAX_DEVICES,
            "message_bytes": protocol.MAX_MESSAGE,
            "messages_s": protocol.RATE,
            "frames_behind": protocol.MAX_BEHIND,
        }
        self.say(
            protocol.text(
                kind="welcome",
                v=protocol.VERSION,
                user=user.get_username(),
                server_ts=reads.now_ms(),
                heartbeat_s=protocol.HEARTBEAT_S,
                credit=protocol.CREDIT,
                limits=limits,
            ),
        )

    async def disconnect(self, code: int) -> None:
        """Leave everything."""
        for task in self.tasks:
            task.cancel()
        for id_ in [*self.streams, *self.followed]:
            await self._unsub(id_)
        for key, ear in self.ears.items():
            await self.fanout.leave(ear, [key])
        raise StopConsumer

    def _start(self, work: Any) -> None:  # noqa: ANN401
        self.tasks.append(asyncio.create_task(work, name="live socket"))

    # -- what the fan-out calls

    def say(self, text: str) -> None:
        """Send a text that needs no credit."""
        self.outbox.append(text)
        self.news.set()

    def wake(self) -> None:
        """A subscription has something new."""
        self.news.set()

    # -- what the client says

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message; a refusal teaches the right form."""
        if text_data is None:
            await self.close(Close.BAD_FRAME)
            return
        if len(text_data) > protocol.MAX_MESSAGE:
            await self.close(Close.TOO_BIG)
            return
        if not self.bucket.take(time.monotonic()):
            await self.close(Close.TOO_MANY)
            return
        try:
            message = protocol.parse(text_data)
        except protocol.Refused as refused:
            if refused.fatal:
                await self.close(Close.BAD_FRAME)
            else:
                self._err(refused.id, "bad_message", str(refused))
            return
        await self._answer(message)

    async def _answer(self, message: protocol.ClientMessage) -> None:
        match message:
            case Hello(token=token):
                await self._sign_in(await reads.run(reads.user_of_token, token))
            case Ping():
                self.say(protocol.text(kind="pong"))
            case _ if self.user is None:
                await self.close(Close.NOT_AUTHENTICATED)
            case Credit(n=n):
                self.window.give(n)
                self.wake()
            case Unsub(id=id_):
                await self._unsub(id_)
            case Sub() | Cmd():
                await self._try(message)

    async def _try(self, message: Sub | Cmd) -> None:
        try:
            if isinstance(message, Cmd):
                await self._command(message)
            else:
                await self._sub(message)
        except Refusal as refusal:
            self._err(message.id, refusal.code, refusal.message, retry=refusal.status == 429)

    def _err(self, id_: str, code: str, message: str, *, retry: bool = False) -> None:
        self.say(protocol.text(kind="err", id=id_, code=code, message=message, retry=retry))

    # -- subscriptions

    async def _sub(self, sub: Sub) -> None:
        if sub.id in self.streams or sub.id in self.followed:
            await self.close(Close.DUPLICATE_ID)
            return
        if len(self.streams) + len(self.followed) >= protocol.MAX_SUBSCRIPTIONS:
            await self.close(Close.TOO_MANY)
            return
        if sub.fleet is not None and sub.devices is None:
            await self._sub_fleet(sub.id, sub.fleet)
        elif sub.devices and sub.fleet is None and len(sub.devices) <= protocol.MAX_DEVICES:
            await self._sub_devices(sub)
        else:
            most = protocol.MAX_DEVICES
            raise Refusal("bad_message", f"sub needs `devices` (a list of 1 to {most} keys) or `fleet` (a name).")

    async def _sub_devices(self, sub: Sub) -> None:
        """Join, then read, then tell: nothing that comes in between is missed (live.md, the join)."""
        keys = list(dict.fromkeys(sub.devices or []))
        rows = await reads.run(reads.rows_of, self.user, keys)
        stream = Stream(sub, self)
        await self.fanout.join(stream, rows)
        try:
            starts = await reads.run(reads.starts, self.user, keys, sub.since)
        except BaseException:
            await self.fanout.leave(stream, keys)
            raise
        self._tell_start(sub.id, starts)
        for start in starts:
            if feed := self.fanout.feeds.get(start.key):
                feed.state = feed.state or start.state
                feed.moved(start.head)
        stream.begin(starts)
        self.streams[sub.id] = stream
        self.wake()

    def _tell_start(self, id_: str, starts: list[reads.Start]) -> None:
        heads = {start.key: start.head for start in starts}
        recovered = all(start.skipped is None for start in starts)
        self.say(protocol.text(kind="ok", id=id_, head=heads, recovered=recovered))
        for start in starts:
            self.say(protocol.text(kind="state", device=start.key, **start.state))
            if start.skipped:
                first, last, cause = start.skipped
                gap = {"device": start.key, "from": first, "to": last, "cause": cause}
                self.say(protocol.text(kind="gap", id=id_, **gap))
            for command in start.commands:
                self.say(protocol.text(kind="cmd_state", **command))

    async def _sub_fleet(self, id_: str, slug: str) -> None:
        pk = await reads.run(reads.fleet_id, self.user, slug)
        self.followed[id_] = slug
        await self.fanout.follow(self, id_, slug, pk)
        devices = list((await reads.run(reads.summaries, pk)).items())
        self.say(protocol.text(kind="ok", id=id_, head={key: one["seq"] for key, one in devices}, recovered=True))
        for at in range(0, max(1, len(devices)), FLEET_CHUNK):
            self.say(protocol.text(kind="fleet", id=id_, devices=dict(devices[at : at + FLEET_CHUNK])))

    async def _unsub(self, id_: str) -> None:
        if stream := self.streams.pop(id_, None):
            await self.fanout.leave(stream, list(stream.tracks))
        elif slug := self.followed.pop(id_, None):
            await self.fanout.unfollow(self, id_, slug)

    # -- commands

    async def _command(self, cmd: Cmd) -> None:
        device = await reads.run(registry.find, self.user, cmd.device, Role.OPERATOR)
        if device.key not in self.ears:
            # Listen before it is issued: no state of it is missed, even by a client that subscribed to nothing.
            self.ears[device.key] = Ear(self)
            await self.fanout.join(self.ears[device.key], {device.key: device.pk})
        command, new = await reads.run(
            commands.issue,
            device,
            cmd.name,
            cmd.args,
            user=self.user,
            now=reads.now_ms(),
            ttl_s=cmd.ttl_s,
            key=cmd.key,
        )
        self.say(protocol.text(kind="ok", id=cmd.id, command=command.pk, state=command.state, new=new))

    # -- sending

    async def _pump(self) -> None:
        """Send words at once, and rows at once, then at most every PACE_S, as far as credit goes."""
        try:
            paced = 0.0
            while True:
                await self._wait(paced)
                while self.outbox:
                    await self.send(text_data=self.outbox.popleft())
                now = time.monotonic()
                if self.window.stuck(now) and self._due():
                    await self.close(Close.TIMEOUT)
                    return
                if now >= paced and self.window.left > 0 and await self._send_rows():
                    paced = time.monotonic() + protocol.PACE_S
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("a live socket failed")
            await self.close(Close.ERROR)

    def _due(self) -> bool:
        return any(stream.due for stream in self.streams.values())

    async def _wait(self, paced: float) -> None:
        """Wait for news; or for the pace, when rows wait for it alone; or, out of credit, until it is time to look."""
        timeout = None
        if self._due():
            timeout = max(0.0, paced - time.monotonic()) if self.window.left > 0 else 1.0
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.news.wait(), timeout)
        self.news.clear()

    async def _send_rows(self) -> bool:
        """Let each subscription send what is due; whether any sent rows."""
        feeds, spent = self.fanout.feeds, False
        for stream in list(self.streams.values()):
            while stream.due and self.window.left > 0:
                texts, counts = await stream.next_texts(feeds)
                for text in texts:
                    await self.send(text_data=text)
                if counts:
                    self.window.spend(time.monotonic())
                    spent = True
                if stream.live:
                    break
            if stream.cross_seam(feeds):
                await self.send(text_data=protocol.text(kind="live", id=stream.id))
                self.wake()
        return spent


class Ear:
    """Hears what becomes of a device's commands, and takes no rows."""

    def __init__(self, session: LiveConsumer) -> None:
        """Hear for this socket."""
        self.session = session

    def news(self, key: str) -> None:
        """Take no rows."""


def origin_allowed(origin: str, host: str, scheme: str) -> bool:
    """Whether a page of this origin may open a socket here: scheme, host and port all have to fit.

    HUB_ORIGINS decides; without it, only pages of this very server may (and its name must be an allowed host).
    """
    if settings.HUB_ORIGINS:
        return origin.lower() in settings.HUB_ORIGINS
    own = f"{'https' if scheme == 'wss' else 'http'}://{host}"
    allowed = settings.ALLOWED_HOSTS or ["localhost", "127.0.0.1", "[::1]"]
    return origin.lower() == own.lower() and validate_host(split_domain_port(host)[0], allowed)
