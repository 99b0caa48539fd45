"""Long answers go out as fast as they are taken. Daphne writes into its buffer whatever it is given: an export to
somebody who reads slowly, or not at all, would be held in memory whole.

Twisted, below Daphne, tells a producer when to pause. Its request is found where Daphne puts it: in `send`. Other
servers wait in `send` by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.web.http import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Send = Callable[[Any], Awaitable[None]]
    Application = Callable[[Any, Any, Send], Awaitable[None]]

logger = logging.getLogger(__name__)


class Gate:
    """Closed while more is waiting to be sent than the transport likes. Twisted's IPushProducer."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pauseProducing(self) -> None:  # noqa: N802
        """Close: the transport's buffer is full."""
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        """Open: it is empty again."""
        self._open.set()

    def stopProducing(self) -> None:  # noqa: N802
        """Open: nobody is there any more, and what is sent goes nowhere."""
        self._open.set()

    async def passed(self) -> None:
        """Wait until it is open."""
        await self._open.wait()


def paced(application: Application) -> Application:
    """Have each part of a streamed answer wait until the one before is on its way, and break off one that fails."""

    async def asked(scope: Any, receive: Any, send: Send) -> None:  # noqa: ANN401  as ASGI has it
        request = request_of(send)
        if request is None:
            await application(scope, receive, send)
            return
        try:
            await application(scope, receive, _through(Gate(), request, send))
        except Exception:
            if not request.startedWriting:
                raise
            # Daphne would begin a second answer in it, and with that fall over its own check, for ever.
            logger.exception("an answer broke off: %s", scope.get("path"))
            _break_off(request)

    return asked


def request_of(send: Send) -> Request | None:
    """Return the request that Daphne's `send` answers; None: it is not Daphne's."""
    args = send.args if isinstance(send, partial) else ()
    return next((arg for arg in args if isinstance(arg, Request)), None)


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


def _break_off(request: Request) -> None:
    """Close the connection without the end of the answer: whoever reads it sees that it is not whole."""
    _unregister(request)
    if request.channel is not None:
        request.channel.loseConnection()  # type: ignore[no-untyped-call]  # as above
