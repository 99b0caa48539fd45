"""PURE. Which addresses that people entered the hub may ask: http and https, plainly written, of the public internet.

Inside its own network the hub stands beside databases, brokers and the cloud's own interfaces, which trust their
neighbours. Whoever may enter an address must not reach those through it, however it is written (docs/adr/0023).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, NamedTuple

Ip = IPv4Address | IPv6Address

PORTS: Final = {"http": 80, "https": 443}
# What web servers listen on. Other ports belong to other protocols, some of which would obey lines of HTTP.
USUAL: Final = frozenset((80, 443, 8080, 8443))
# One way to write each, so that no two readers could read it differently: no user, no escapes, no fragment.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!\"$-\[\]-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
LONGEST: Final = 2048
_LONGEST_HOST: Final = 253
# Addresses of the internet by their look, behind which something else stands: protocol assignments, relays into IPv4
# (6to4, Teredo), an example's, and the one at which Azure answers its own machines. IPv6 in use is in 2000::/3.
_GLOBAL: Final = ip_network("2000::/3")
_OTHERS: Final = tuple(
    map(
        ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20"),
    )
)


class Refused(ValueError):
    """The hub does not ask this address. The message says why, and what to do."""


class Place(NamedTuple):
    """What a URL names: `host` without brackets, `target` as HTTP sends it."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as HTTP names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def read(url: str) -> Place:
    """Take a URL apart; raises Refused."""
    found = _URL.fullmatch(url) if len(url) <= LONGEST else None
    if found is None:
        raise Refused(
            "The address must be http:// or https://, a host, and a path, such as https://hooks.example.org/hub: "
            "no user name, no #, and ASCII alone (names in other letters begin with xn--)."
        )
    scheme = found["scheme"].lower()
    port = int(found["port"]) if found["port"] else PORTS[scheme]
    if not 0 < port < 65536:  # noqa: PLR2004  ports have 16 bits
        raise Refused(f"{port} is no port.")
    target = found["target"] or "/"
    return Place(scheme, _host(found["host"].lower()), port, target if target.startswith("/") else f"/{target}")


def _host(text: str) -> str:
    """Return a name, or an IP address in its one usual form."""
    labels = text.split(".")
    try:
        if text.startswith("["):
            return str(IPv6Address(text[1:-1]))
        if _NUMBER.fullmatch(labels[-1]):  # by which browsers, too, tell addresses from names
            return str(IPv4Address(text))
    except ValueError:
        raise Refused(f"{text} is no IP address as it is usually written, such as 192.0.2.1.") from None
    if len(text) > _LONGEST_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise Refused(f"{text} is no host name.")
    return text


def public(address: Ip) -> bool:
    """Whether this is one machine of the public internet."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL:
        return False
    return address.is_global and not address.is_multicast and not any(address in net for net in _OTHERS)


def check(place: Place, found: Iterable[Ip], allowed: Collection[tuple[str, int]]) -> None:
    """Refuse a place with these IP addresses, unless its host and port are among those that may be anywhere."""
    if (place.host, place.port) in allowed:
        return
    if place.port not in USUAL:
        usual = ", ".join(map(str, sorted(USUAL)))
        raise Refused(f"Port {place.port} is none of {usual}. {_remedy(place)}")
    if not all(map(public, found)):
        raise Refused(f"{place.host} is not on the public internet. {_remedy(place)}")


def _remedy(place: Place) -> str:
    return f"Whoever runs the hub can allow it: HUB_OUTGOING={place.host}:{place.port}"
