"""Refuses what another machine asks in plain text: passwords, sessions and tokens would travel as they are.

It stands before Django and the sockets alike. What HUB_PLAIN allows is let through; so is what comes under this
machine's own name, and what a proxy says to have come over TLS, where it is believed (settings). Where all origins are
https, a page is redirected by Django instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.conf import settings
from django.http.request import split_domain_port

from dashboard.protocol import Close
from hub import machine

Application = Callable[[Any, Any, Any], Awaitable[None]]

FORBIDDEN: Final = 403
WHY: Final = (
    "This hub was asked in plain text from another machine: passwords could be read on the way. Put a proxy with TLS "
    "before it and set HUB_ORIGINS=https://… (docs/tls.md), or, where the network between is private, HUB_PLAIN=http "
    "(the demo: --plain)."
)


def private(application: Application) -> Application:
    """Have the application asked only what nobody could read on the way, or what may be read."""

    async def asked(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  as ASGI has it
        if not refused(scope):
            await application(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})  # first, because a browser is not told why it was not accepted
            await send({"type": "websocket.close", "code": Close.ORIGIN})
        else:
            await _forbid(scope["path"], send)

    return asked


def refused(scope: Any) -> bool:  # noqa: ANN401  as ASGI has it
    """Whether this request or socket is plain, comes from another machine, and was not allowed."""
    headers = dict(scope["headers"])
    host, _ = split_domain_port(headers.get(b"host", b"").decode("latin-1"))
    if "http" in settings.HUB_PLAIN or machine.loopback(host) or _encrypted(scope, headers):
        return False
    if scope["type"] == "websocket":
        return True
    path = scope["path"].lstrip("/")
    exempt = any(re.search(pattern, path) for pattern in settings.SECURE_REDIRECT_EXEMPT)
    return not (exempt or settings.SECURE_SSL_REDIRECT)


def _encrypted(scope: Any, headers: dict[bytes, bytes]) -> bool:  # noqa: ANN401  as ASGI has it
    """Whether it came over TLS to us, or, says the proxy, to the proxy."""
    said = headers.get(b"x-forwarded-proto", b"").partition(b",")[0].strip()
    return scope.get("scheme") in {"https", "wss"} or (bool(settings.SECURE_PROXY_SSL_HEADER) and said == b"https")


async def _forbid(path: str, send: Any) -> None:  # noqa: ANN401  as ASGI has it
    """Say why, to a program as the API says things, to a person in a sentence."""
    for_program = path.startswith("/api/")
    kind = b"application/json" if for_program else b"text/plain; charset=utf-8"
    text = json.dumps({"code": "plain", "message": WHY}) if for_program else WHY
    headers = [(b"content-type", kind), (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": FORBIDDEN, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
