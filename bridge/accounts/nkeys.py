"""NATS's keys and what is signed with them: Ed25519 behind a base32 name, and claims as JSON Web Tokens."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# What a name begins with, in the upper five bits of its first byte: the letters A and U.
PREFIXES: Final = {"account": 0, "user": 20 << 3}
HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}


class Key:
    """A key pair that lives in memory alone; `name` is its public half, as NATS writes it."""

    def __init__(self, kind: Literal["account", "user"]) -> None:
        """Make one that nobody had before."""
        self._private = Ed25519PrivateKey.generate()
        named = bytes([PREFIXES[kind]]) + self._private.public_key().public_bytes_raw()
        # CRC-16 of XMODEM, the low byte first.
        checked = named + binascii.crc_hqx(named, 0).to_bytes(2, "little")
        self.name = base64.b32encode(checked).rstrip(b"=").decode()

    def sign(self, what: bytes) -> str:
        """Sign, in the letters of a token."""
        return _letters(self._private.sign(what))

    def token(self, claims: dict[str, Any], now: int) -> str:
        """Return the claims as a token that this key has issued; `now` in s."""
        parts = (HEADER, claims | {"iss": self.name, "iat": now})
        said = ".".join(_letters(json.dumps(part).encode()) for part in parts)
        return f"{said}.{self.sign(said.encode())}"


def claims(token: bytes) -> bytes:
    """Return what a token says (JSON), unverified; ValueError when it is none."""
    said = token.split(b".")[1:2]
    if not said:
        raise ValueError("a token has three parts")
    return base64.urlsafe_b64decode(said[0] + b"=" * (-len(said[0]) % 4))


def _letters(what: bytes) -> str:
    return base64.urlsafe_b64encode(what).rstrip(b"=").decode()
