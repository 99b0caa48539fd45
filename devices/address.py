"""From which address somebody asks. Behind a proxy that is what the proxy says, and not what the visitor claims."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.http import HttpRequest

# Who has one IPv6 address has 2^64 of them.
HOME: Final = 64


def of(request: HttpRequest) -> str:
    """Return the address of a request."""
    return _address(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""))


def of_socket(headers: Iterable[tuple[bytes, bytes]], client: Sequence[Any] | None) -> str:
    """Return the address of a socket, by what ASGI's scope tells."""
    said = (value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for")
    return _address(client[0] if client else "", ",".join(said))


def _address(peer: str, forwarded: str) -> str:
    """Each proxy writes behind what it was told whom it was told it by. So many as are ours are believed."""
    way = [*(part.strip() for part in forwarded.split(",") if part.strip()), peer]
    trusted = way[-1 - settings.HUB_PROXIES :]
    return _plain(trusted[0]) or _plain(peer) or "0.0.0.0"  # noqa: S104  nobody's: all of whom nothing is known


def _plain(text: str) -> str:
    """Write an address in one way; one of IPv6 as the network that its owner has. Empty: it is none."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return str(ip_network((int(found), HOME), strict=False).network_address)
        found = found.ipv4_mapped
    return str(found)
