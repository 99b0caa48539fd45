"""Which pages may open a socket: the full origin decides, for a browser sends the cookie from any page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from django.http.request import split_domain_port, validate_host

_USUAL_PORT: Final = {"http": ":80", "https": ":443"}


def allowed(origin: str, own: str, origins: Sequence[str], hosts: Sequence[str]) -> bool:
    """Whether a page of this origin may open a socket here: scheme, host and port all have to fit.

    `origins` (HUB_ORIGINS) decide. Without them only pages of this very server may: `own` is the address that the
    browser asked for, and its name must be one of `hosts`, or a page could come here under a name of its choice.
    """
    if not origin.isascii():
        return False  # browsers write names in ASCII; what looks like ours and is none must not become it
    if origins:
        return _plain(origin) in {_plain(each) for each in origins}
    host = split_domain_port(own.partition("://")[2])[0]
    return _plain(origin) == _plain(own) and validate_host(host, hosts)


def told(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """Return a header (ASGI); one that came several times as HTTP reads it: as a list, which is no origin, no host."""
    return ", ".join(value.decode("latin-1") for each, value in headers if each == name)


def _plain(origin: str) -> str:
    """Write an origin as browsers do: lower case, without the usual port."""
    origin = origin.lower()
    return origin.removesuffix(_USUAL_PORT.get(origin.partition("://")[0], " "))
