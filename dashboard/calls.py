"""The REST API over the socket: a call goes, in this process, through the same view as a request for its address.

So it has the same services, checks, permissions, statuses and errors. There is no reading: the socket has better.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import unquote

import msgspec
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError
from django.urls import resolve

from dashboard import protocol, reads, truth
from dashboard.feeds import Session
from dashboard.protocol import Call, Close
from devices import audit, rights
from devices.errors import Refusal
from devices.models import Token

if TYPE_CHECKING:
    from django.http import HttpRequest

logger = logging.getLogger(__name__)

API: Final = "/api/v1/"
# Calls of one socket that wait while one is served; with the largest messages, 1 MB.
WAITING: Final = 16
# What a request says for itself, or what its connection was opened for: not taken over from the socket's opening.
_OWN_HEADERS: Final = frozenset((b"accept", b"authorization", b"content-length", b"content-type", b"cookie"))
# A call may take its time (a thousand rejects once more): no live read waits behind it.
_threads: Final = ThreadPoolExecutor(max_workers=2, thread_name_prefix="live-calls")


class Answer(NamedTuple):
    """What REST answers: status, and the body as its bytes of JSON."""

    status: int
    body: msgspec.Raw


def call(who: Session, message: Call, scope: dict[str, Any]) -> Answer:
    """Do what a request of theirs would do; `scope` (ASGI) says where it comes from. Refuses what is no call."""
    request = _request(message, scope)
    _sign_in(request, who)
    match = resolve(f"/{request.path.removeprefix(API)}", "devices.urls")
    view = getattr(match.func, "view_class", match.func)
    if inspect.iscoroutinefunction(getattr(view, "dispatch", view)):
        raise _no_call(message)
    request.resolver_match = match
    with audit.acting(request):
        response = match.func(request, *match.args, **match.kwargs)
    if response.streaming:
        response.close()
        raise _no_call(message)
    return Answer(response.status_code, msgspec.Raw(_rendered(response) or b"null"))


def _sign_in(request: Any, who: Session) -> None:  # noqa: ANN401  it gets what the framework looks for
    """Let them in as they are now, by what the socket was opened with; whose that is no more is nobody to the view."""
    pass_ = who.pass_
    if truth.ask(truth.Scene([who], {}, [], {})).admits(pass_):
        token = pass_.token and Token.objects.filter(pk=pass_.token).first()
        user = User.objects.get(pk=pass_.user.pk)
        request._force_auth_user = rights.narrow(user, rights.scope_of(pass_.user))  # noqa: SLF001  the framework's way
        request._force_auth_token = token  # noqa: SLF001


def _no_call(message: Call) -> Refusal:
    return Refusal("bad_message", f"{message.path} cannot be called over the socket; ask for it by HTTP, below {API}.")


def _request(message: Call, scope: dict[str, Any]) -> HttpRequest:
    """Make the request that would have come by HTTP, on the way on which the socket came."""
    path, _, query = message.path.partition("?")
    body = bytes(message.body)
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _OWN_HEADERS]
    headers.append((b"content-length", str(len(body)).encode()))
    if body:
        headers.append((b"content-type", b"application/json"))
    scheme = "https" if scope.get("scheme") == "wss" else "http"
    asked = {"type": "http", "scheme": scheme, "method": message.method, "path": API + unquote(path)}
    return ASGIRequest({**scope, **asked, "query_string": query.encode(), "headers": headers}, BytesIO(body))


def _rendered(response: Any) -> bytes:  # noqa: ANN401  Django's own answer, or the framework's
    content: bytes = (response.render() if hasattr(response, "render") else response).content
    return content


class Caller(Session, Protocol):
    """The socket, as calls see it."""

    scope: Any


class Line:
    """One socket's calls: one after the other, as they came, beside all else that the socket does."""

    def __init__(self, caller: Caller) -> None:
        """Have nothing to do."""
        self._caller = caller
        self._waiting: deque[Call] = deque()
        self._work: asyncio.Task[None] | None = None

    def take(self, message: Call) -> None:
        """Serve a call in its turn, or refuse it when too many wait."""
        if len(self._waiting) >= WAITING:
            raise Refusal("too_many", f"{WAITING} calls wait already; wait for their answers.", 429)
        self._waiting.append(message)
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name="live calls")

    def leave(self) -> None:
        """Serve none of those that wait; one that is being served is done to its end, and answered to nobody."""
        self._waiting.clear()
        if self._work is not None:
            self._work.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._serve(self._waiting.popleft())
        except Exception:
            logger.exception("a live socket failed")
            self._caller.quit(Close.ERROR)
        self._work = None

    async def _serve(self, message: Call) -> None:
        caller = self._caller
        try:
            answer = await reads.run_in(_threads, call, caller, message, caller.scope)
        except Refusal as refusal:
            caller.say(_err(message, refusal.code, refusal.message))
        except SuspiciousOperation as error:  # a host that is none of ours, for one, if an answer has to name it
            caller.say(_err(message, "bad_message", f"Over HTTP this would be refused, too. {error}"))
        except DatabaseError:
            logger.exception("a call could not be answered")
            caller.say(_err(message, "unavailable", "The database is away for the moment; try again.", retry=True))
        else:
            caller.say(protocol.text(kind="answer", id=message.id, status=answer.status, body=answer.body))


def _err(message: Call, code: str, text: str, *, retry: bool = False) -> str:
    return protocol.text(kind="err", id=message.id, code=code, message=text, retry=retry)
