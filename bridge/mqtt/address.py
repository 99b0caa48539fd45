"""PURE. Where a broker is and who we are there, as one URL."""

from __future__ import annotations

from typing import Final, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

import msgspec

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class MqttUrlError(ValueError):
    """The MQTT URL cannot be used; the message says what to write instead, never the password."""


class MqttUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where a broker is and who we are there."""

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None
    # The file of certificates to trust; None: those that the system trusts.
    ca: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `mqtt[s]://[user:secret@]host[:port]`; user and secret may be percent-encoded."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            reason = "the port must be a number from 1 to 65535, an IPv6 host in [brackets]"
            # Not chained: urlsplit quotes what it could not read, which may be half a secret.
            raise MqttUrlError(_explain(reason)) from None
        if fault := _fault(parts):
            raise MqttUrlError(_explain(fault))
        return cls(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=DEFAULT_PORTS[parts.scheme] if port is None else port,
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    def __repr__(self) -> str:
        """Show the URL as it may be logged: without the password."""
        user = "" if self.username is None else f"{quote(self.username, safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}:{self.port}"


def _explain(fault: str) -> str:
    return f"MQTT URL: {fault}; write mqtt[s]://user:secret@host:port"


def _fault(parts: SplitResult) -> str | None:
    """Name what is wrong with a split URL, without repeating any of its secrets."""
    if parts.scheme not in DEFAULT_PORTS:
        return f"the scheme must be mqtt or mqtts, not {parts.scheme!r}"
    if not parts.hostname:
        return "the host is missing"
    if parts.port == 0:
        return "the port must be a number from 1 to 65535"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return "nothing may follow the port (percent-encode '/', '?' and '#' in a secret)"
    if parts.password is not None and not parts.username:
        return "there is a secret but no user"
    return None
