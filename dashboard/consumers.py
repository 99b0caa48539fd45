"""The live socket: matches a client's messages to calls (docs/protocol/live.md). What goes out is sender.py's."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError

from dashboard import calls, fanout, joins, origins, path, permits, protocol, pulses, reads
from dashboard.feeds import Feed, Subscriber
from dashboard.protocol import Call, Close, Cmd, Credit, Hello, Path, Ping, Sub, Unsub
from dashboard.sender import Addressee, Sender
from devices import address, commands, quota
from devices.errors import Refusal, too_often
from devices.models import Role

logger = logging.getLogger(__name__)

TOO_MANY_REQUESTS: Final = 429
# In the address: by a token, whatever session the browser has.
SAYS_HELLO: Final = b"hello"


class LiveConsumer(Addressee, AsyncWebsocketConsumer):
    """One browser page, or one program. It is the Session of its subscriptions."""

    channel_layer_alias = None  # type: ignore[assignment]  # the process is the groups' member (fanout), not the socket

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI's own types
        """Serve the socket; leave everything however it ends: closed, cut off, cancelled in mid-join, or by a bug."""
        self.user: User | None = None
        self._pass: permits.Pass | None = None
        self.sender = Sender(self, scope.get("gate"))
        self.ear = Ear(self)
        self.calls = calls.Line(self)
        self.bucket = quota.Bucket(protocol.RATE, protocol.BURST, time.monotonic())
        self._places: list[quota.Whose] = []
        self.fanout = fanout.here()
        self.hello: asyncio.TimerHandle | None = None
        sending = asyncio.create_task(self.sender.run(), name="live sender")
        try:
            await super().__call__(scope, receive, send)
        finally:
            sending.cancel()
            self._leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Route without Channels' thread hop for each message: nothing here touches the ORM outside reads.run."""
        try:
            await getattr(self, message["type"].replace(".", "_"))(message)
        except StopConsumer:
            raise
        except Exception:
            logger.exception("a live socket failed")
            self.quit(Close.ERROR)

    # -- opening and closing

    async def connect(self) -> None:
        """Look at the Origin, then at who it is; programs may say so in their first message."""
        await self.accept()  # first, because a browser is not told why it was not accepted
        if not self._enter(("address", address.of_socket(self.scope["headers"], self.scope.get("client")))):
            return
        headers = self.scope["headers"]
        origin, host, authorization = (origins.told(headers, name) for name in (b"origin", b"host", b"authorization"))
        own = f"{'https' if self.scope.get('scheme') == 'wss' else 'http'}://{host}"
        hosts = settings.ALLOWED_HOSTS or ["localhost", "127.0.0.1", "[::1]"]
        if origin and not origins.allowed(origin, own, settings.HUB_ORIGINS, hosts):
            self.quit(Close.ORIGIN)
            return
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "token":
            self._sign_in(await self.fanout.passes.ask(token.strip()))
        elif self.scope.get("query_string") != SAYS_HELLO and isinstance(user := self.scope["user"], User):
            if not origin:
                self.quit(Close.ORIGIN)  # a browser always says from which page it comes; nobody else has its cookie
                return
            # The visitor's session; unless the page says itself who it is.
            self._sign_in(permits.let_in(user, session_key=self.scope["session"].session_key))
        else:
            loop = asyncio.get_running_loop()
            self.hello = loop.call_later(protocol.HELLO_TIMEOUT_S, self.quit, Close.TIMEOUT)

    def _sign_in(self, pass_: permits.Pass | None) -> None:
        if pass_ is None:
            self.quit(Close.NOT_AUTHENTICATED)
            return
        if not self._enter(("user", pass_.user.pk)):
            return
        if self.hello is not None:
            self.hello.cancel()
        self._pass = pass_
        self.user = pass_.user
        self.fanout.enter(self)
        self.say(protocol.welcome(pass_.name, reads.now_ms()))
        if wrong := self.fanout.alarm.text:
            self.say(wrong)

    def _enter(self, whose: quota.Whose) -> bool:
        """Take a place; whether there was one."""
        try:
            quota.places.enter(whose)
        except Refusal as refusal:
            self._turn_away(refusal)
            return False
        self._places.append(whose)
        return True

    def _turn_away(self, refusal: Refusal) -> None:
        """Close, and say before when to come back."""
        self._refuse("", refusal)
        self.quit(Close.TOO_MANY)

    def _leave(self) -> None:
        quota.places.leave(*self._places)
        if self.hello is not None:
            self.hello.cancel()
        self.fanout.sessions.discard(self)
        self.ear.leave()
        self.calls.leave()
        for id_ in [*self.sender.sources]:
            self.sender.drop(id_)

    # -- what the feeds call

    @property
    def pass_(self) -> permits.Pass:
        """Return how it was let in."""
        assert self._pass is not None
        return self._pass

    def watching(self) -> list[Subscriber]:
        """Return what listens for it now."""
        return [*self.sender.sources.values(), self.ear]

    # -- what the client says

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # noqa: ARG002
        """Answer one message; a refusal teaches the right form."""
        if self.sender.closing is not None:
            return
        if text_data is None:
            self.quit(Close.BAD_FRAME)
        elif len(text_data.encode(errors="replace")) > protocol.MAX_MESSAGE:
            self.quit(Close.TOO_BIG)
        elif self.bucket.take(time.monotonic()):
            self._turn_away(too_often(protocol.BURST / protocol.RATE))  # by then it is as if nothing had been said
        else:
            await self._read(text_data)

    async def _read(self, text: str) -> None:
        try:
            message = protocol.parse(text)
        except protocol.Refused as refused:
            if refused.fatal:
                self.quit(Close.BAD_FRAME)
            elif self.user is None:
                self.quit(Close.NOT_AUTHENTICATED)
            else:
                self._err(refused.id, "bad_message", str(refused))
            return
        await self._answer(message)

    async def _answer(self, message: protocol.ClientMessage) -> None:
        match message:
            case Ping():
                self.say(protocol.text(kind="pong"))
            case Hello(token=token) if self.user is None:
                self._sign_in(await self.fanout.passes.ask(token))
            case _ if self.user is None:
                self.quit(Close.NOT_AUTHENTICATED)
            case Hello():
                self._err("", "bad_message", "You are signed in already; open another socket for another user.")
            case Credit(n=n):
                self.sender.give(n)
            case Unsub(id=id_):
                self.sender.drop(id_)
            case Sub() | Cmd() | Call():
                await self._try(message, self.user)
            case Path():
                now = reads.now_ms()
                bridges = pulses.known(self.fanout.alarm.pulses.bridges, now)
                self.say(path.message(bridges, self.sender.counts, now))

    async def _try(self, message: Sub | Cmd | Call, user: User) -> None:
        try:
            match message:
                case Cmd():
                    await self._command(message, user)
                case Call():
                    self.calls.take(message)
                case Sub():
                    await self._sub(message)
        except Refusal as refusal:
            self._refuse(message.id, refusal)
        except DatabaseError:
            logger.exception("a live socket could not be answered")
            self._err(message.id, "unavailable", "The database is away for the moment; try again.", retry=True)

    def _refuse(self, id_: str, refusal: Refusal) -> None:
        after = {} if refusal.retry_after_s is None else {"retry_after_s": refusal.retry_after_s}
        retry = refusal.status == TOO_MANY_REQUESTS
        self.say(protocol.text(kind="err", id=id_, code=refusal.code, message=refusal.message, retry=retry, **after))

    def _err(self, id_: str, code: str, message: str, *, retry: bool = False) -> None:
        self.say(protocol.text(kind="err", id=id_, code=code, message=message, retry=retry))

    # -- subscriptions

    async def _sub(self, sub: Sub) -> None:
        await self.sender.passed()  # who takes no answers gets no more of them
        if sub.id in self.sender.sources:
            self.quit(Close.DUPLICATE_ID)
        elif len(self.sender.sources) >= protocol.MAX_SUBSCRIPTIONS:
            text = f"{protocol.MAX_SUBSCRIPTIONS} subscriptions are as many as a socket has; end some, or open another."
            self._err(sub.id, "too_many", text)
            self.quit(Close.TOO_MANY)
        elif sub.fleet is not None:
            await joins.fleet(self, sub.id, sub.fleet)
        else:
            await joins.devices(self, sub)

    # -- commands

    async def _command(self, cmd: Cmd, user: User) -> None:
        device = await self.fanout.finds.ask((user, cmd.device, Role.OPERATOR))
        # Listen before it is issued: no state of it is missed, even by a client that subscribed to nothing.
        self.ear.feeds = self.ear.feeds | self.fanout.attach(self.ear, {device.key: device.pk})
        await self.fanout.join([self.ear.feeds[device.key]])
        wish = commands.Wish(
            device=device,
            name=cmd.name,
            args=cmd.args,
            user=user,
            ttl_s=cmd.ttl_s,
            key=cmd.key,
            reason=cmd.reason,
            confirmed=cmd.confirm,
        )
        command, new = await self.fanout.orders.ask(wish)
        self.say(protocol.text(kind="ok", id=cmd.id, command=command.pk, state=command.state, new=new))


class Ear:
    """Hears what becomes of a socket's commands, and takes no rows."""

    def __init__(self, session: LiveConsumer) -> None:
        """Hear for this socket."""
        self.session = session
        self.feeds: dict[str, Feed] = {}

    def lost(self, key: str) -> None:
        """Hear no more of a device."""
        self.feeds.pop(key).subscribers.discard(self)

    def leave(self) -> None:
        """Hear nothing any more."""
        for key in list(self.feeds):
            self.lost(key)
