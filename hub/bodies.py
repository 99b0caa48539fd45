"""What is sent to the hub is read as it is asked for. Twisted would take forms apart in memory before, and Daphne have
all of it in its queue: 20 MB that anybody sends would take 250 MB.

Daphne's request is found where Daphne puts it: in `send`. Other servers read by themselves.
"""

from __future__ import annotations

from functools import partialmethod
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import markcoroutinefunction
from daphne.http_protocol import WebRequest

from hub.pace import served

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import IO

    from hub.pace import Application

PART: Final = 65_536

# Nobody here asks Twisted what is in a form.
WebRequest.__init__ = partialmethod(WebRequest.__init__, parsePOSTFormSubmission=False)


def unread(application: Application) -> Application:
    """Have the application read each body from where Twisted has put it: a file, if it is large."""

    def asked(scope: Any, receive: Any, send: Any) -> Awaitable[None]:  # noqa: ANN401  as ASGI has it
        # No coroutine: Daphne reads the body as soon as this returns.
        request = served(send, WebRequest) if scope["type"] == "http" else None
        if request is None:
            return application(scope, receive, send)
        body, request.content = request.content, BytesIO()
        return _with_body(application, body, scope, receive, send)

    return markcoroutinefunction(asked)


async def _with_body(application: Application, body: IO[bytes], scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
    ended = False

    async def received() -> Any:  # noqa: ANN401  as ASGI has it
        nonlocal ended
        if ended:
            return await receive()
        part = body.read(PART)
        if ended := len(part) < PART:
            await receive()  # Daphne's own, of a body that is empty now
        return {"type": "http.request", "body": part, "more_body": not ended}

    with body:
        await application(scope, received, send)
