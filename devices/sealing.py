"""Secrets of devices at rest: encrypted under a key outside the database (docs/adr/0004-device-secrets.md).

Brokers keep salted hashes of different kinds, so the hub has to know the secret itself to fill any of them again; a
dump of the database alone gives none away.
"""

from __future__ import annotations

import base64
import secrets
from functools import cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

__all__ = ["InvalidToken", "new_secret", "new_version", "seal", "unseal"]


def new_secret() -> str:
    """Make a secret of 256 random bits, in letters that every device and shell can carry.

    None begins with a dash, which a shell would take for an option, and a table program for a formula.
    """
    return next(secret for secret in iter(_random, None) if not secret.startswith("-"))


def _random() -> str:
    return secrets.token_urlsafe(32)


def new_version() -> int:
    """Make the version of a device's first secret: one that no device of the same key had before.

    Brokers compare versions alone. Counting from 1, a device that was deleted and made again would keep its old secret.
    """
    return secrets.randbits(48)


def seal(secret: str) -> str:
    """Encrypt a secret for the database."""
    return _box(settings.SECRET_KEY).encrypt(secret.encode()).decode()


def unseal(box: str) -> str:
    """Decrypt; raises InvalidToken when SECRET_KEY is another than at sealing."""
    return _box(settings.SECRET_KEY).decrypt(box.encode()).decode()


@cache
def _box(secret_key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"telemetry-hub device secrets")
    return Fernet(base64.urlsafe_b64encode(derived.derive(secret_key.encode())))
