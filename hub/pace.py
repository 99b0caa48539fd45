"""Long answers and live sockets go out as fast as they are taken. Daphne writes into its buffer whatever it is given:
what somebody does not read would be held in memory whole.

Twisted, below Daphne, tells a producer when to pause. Its request, or its socket, is found where Daphne puts it: in
`send`. Other servers wait in `send` by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from autobahn.websocket.protocol import PreparedMessage
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.defer import Deferred
from twisted.internet.tcp import Connection
from twisted.web.http import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Send = Callable[[Any], Awaitable[None]]
    Application = Callable[[Any, Any, Send], Awaitable[None]]

logger = logging.getLogger(__name__)

P = TypeVar("P")
# RFC 6455's registry: the service restarts. Autobahn sends it only past its own check of what applications may send.
RESTART: Final = 1012
FAREWELL_S: Final = 0.2
_open: set[WebSocketProtocol] = set()


class Abandoned(ConnectionError):
    """Nobody takes what was sent, and nobody waits for that any longer."""


class Gate:
    """Closed while more is waiting to be sent than the transport likes. Twisted's IPushProducer."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._abandoned = False

    def pauseProducing(self) -> None:  # noqa: N802
        """Close: the transport's buffer is full."""
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        """Open: it is empty again."""
        self._open.set()

    def stopProducing(self) -> None:  # noqa: N802
        """Open: nobody is there any more, and what is sent goes nowhere."""
        self._open.set()

    @property
    def open(self) -> bool:
        """Whether there is room for more."""
        return self._open.is_set()

    async def passed(self) -> None:
        """Wait until it is open; raises Abandoned."""
        await self._open.wait()
        if self._abandoned:
            raise Abandoned

    def abandon(self) -> None:
        """Have an answer that waits here cut off."""
        if not self.open:
            self._abandoned = True
            self._open.set()


class SocketGate(Gate):
    """A live socket's, which also leads straight to it."""

    def __init__(self, socket: WebSocketProtocol) -> None:
        super().__init__()
        self._socket = socket

    def write(self, text: str) -> bool:
        """Send a text, framed once for all sockets that are sent it, past ASGI's layers; whether that was done."""
        if self._socket.state == self._socket.STATE_OPEN:
            self._socket.sendPreparedMessage(_framed(text))
        return True


@lru_cache(maxsize=4)
def _framed(text: str) -> PreparedMessage:
    return PreparedMessage(text.encode(), isBinary=False, applyMask=False, doNotCompress=False)


def write_at_once(transport: Connection, later: Callable[[bytes], None], data: bytes) -> None:
    """Send what nothing else waits before, and leave the rest to Twisted, which is `later` by a turn of the loop.

    For each write Twisted asks epoll to be told when there is room, and not to be told any more: with many sockets that
    took longer than to send. This knows the private name of its buffer; a test pins that.
    """
    waiting = transport.dataBuffer or transport._tempDataBuffer  # noqa: SLF001  as told above
    if transport.connected and not transport.disconnecting and not waiting:
        sent = transport.writeSomeData(data)
        if not isinstance(sent, Exception):  # which Twisted finds as well, and ends the connection
            data = data[sent:]
    if data:
        later(data)


def paced(application: Application) -> Application:
    """Have each part of a streamed answer wait until the one before is on its way, and break off one that fails."""

    async def asked(scope: Any, receive: Any, send: Send) -> None:  # noqa: ANN401  as ASGI has it
        request = served(send, Request)
        if request is None:
            await application(scope, receive, send)
            return
        scope["gate"] = gate = Gate()
        try:
            await application(scope, receive, _through(gate, request, send))
        except Abandoned:
            _cut(request)
        except Exception:
            if not request.startedWriting:
                raise
            # Daphne would begin a second answer in it, and with that fall over its own check, for ever.
            logger.exception("an answer broke off: %s", scope.get("path"))
            _break_off(request)

    return asked


def gated(application: Application) -> Application:
    """Tell a live socket, by `scope["gate"]`, when there is room for more; and its client, when the server ends."""
    promised = False

    async def opened(scope: Any, receive: Any, send: Send) -> None:  # noqa: ANN401  as ASGI has it
        socket = served(send, WebSocketProtocol)
        if socket is None or socket.transport is None:
            await application(scope, receive, send)
            return
        nonlocal promised
        if not promised:
            promised = True
            _on_shutdown()
        scope["gate"] = SocketGate(socket)
        # Until now its producer was the HTTP channel, which is out of it, and would stop reading instead.
        socket.transport.unregisterProducer()
        socket.transport.registerProducer(scope["gate"], True)  # noqa: FBT003  Twisted's own
        transport = socket.transport
        if isinstance(transport, Connection) and not transport.TLS:
            transport.write = partial(write_at_once, transport, transport.write)  # type: ignore[method-assign]
        _open.add(socket)
        try:
            await application(scope, receive, partial(_until_closed, socket, send))
        finally:
            _open.discard(socket)
            vars(transport).pop("write", None)

    return opened


def say_farewell() -> Deferred[None]:
    """Tell every client that the server restarts; it ends once that is on its way."""
    from twisted.internet import reactor as chosen  # noqa: PLC0415  by Daphne, by now

    reactor: Any = chosen  # a module that is another one at run time

    for socket in _open:
        if socket.state == socket.STATE_OPEN:
            socket.sendCloseFrame(code=RESTART, reasonUtf8=None, isReply=False)
    gone: Deferred[None] = Deferred()
    reactor.callLater(FAREWELL_S, gone.callback, None)
    return gone


def _on_shutdown() -> None:
    from twisted.internet import reactor as chosen  # noqa: PLC0415  as above

    reactor: Any = chosen

    reactor.addSystemEventTrigger("before", "shutdown", say_farewell)


async def _until_closed(socket: WebSocketProtocol, send: Send, message: Any) -> None:  # noqa: ANN401
    if message["type"] == "websocket.close" and socket.transport is not None:
        socket.transport.unregisterProducer()  # or Twisted would wait for it before it closes
    await send(message)


def served(send: Send, kind: type[P]) -> P | None:
    """Return the request or the socket that Daphne's `send` is for; None: it is not Daphne's."""
    args = send.args if isinstance(send, partial) else ()
    return next((arg for arg in args if isinstance(arg, kind)), None)


def _through(gate: Gate, request: Request, send: Send) -> Send:
    async def gated(message: Any) -> None:  # noqa: ANN401  as ASGI has it
        streamed = bool(message.get("more_body"))
        if streamed and request.producer is None and request.channel is not None:
            request.registerProducer(gate, True)  # type: ignore[no-untyped-call]  # noqa: FBT003  Twisted's own
        elif not streamed:
            _unregister(request)
        await send(message)
        if streamed:
            await gate.passed()

    return gated


def _unregister(request: Request) -> None:
    if request.producer is not None and request.channel is not None:
        request.unregisterProducer()  # type: ignore[no-untyped-call]  # Twisted has no types here


def _cut(request: Request) -> None:
    """Close the connection at once: to wait until all of it was taken would be to wait for ever."""
    _unregister(request)
    if request.channel is not None:
        request.channel.transport.abortConnection()  # type: ignore[union-attr]  # it has one as long as it is there


def _break_off(request: Request) -> None:
    """Close the connection without the end of the answer: whoever reads it sees that it is not whole."""
    _unregister(request)
    if request.channel is not None:
        request.channel.loseConnection()  # type: ignore[no-untyped-call]  # as above
