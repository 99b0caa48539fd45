"""Offers: whoever has the code may take them once, before they expire. A code is told once, and kept as hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from django.utils import timezone

from devices import registry
from devices.errors import Refusal
from devices.models import Offer, Role

if TYPE_CHECKING:
    from django.db.models import QuerySet

Kind = TypeVar("Kind", bound=Offer)

# Crockford's base 32: no I, L, O or U, so that people read and type it well. 16 letters are 80 random bits.
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LETTERS: Final = 16
GROUP: Final = 4
# What is over is kept for a while, so that pages can tell what became of it.
KEPT: Final = timedelta(days=1)
# What people write, and what they mean by it.
_MEANT: Final = str.maketrans({"I": "1", "L": "1", "O": "0", **dict.fromkeys("- \t\r\n", "")})


def new_code() -> str:
    """Make a code, in groups as people read it: 7Q2M-XK4R-…"""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(LETTERS))
    return "-".join(letters[at : at + GROUP] for at in range(0, LETTERS, GROUP))


def digest(code: str) -> str:
    """Return the hash under which a code is kept, however it is written. It has too many bits to be tried out."""
    return hashlib.sha256(code.upper().translate(_MEANT).encode(errors="replace")).hexdigest()


def make(offer: Kind, lasts: timedelta) -> str:
    """Store an offer and return its code. What was over long ago is cleared away."""
    code, now = new_code(), timezone.now()
    offer.digest, offer.expires_at = digest(code), now + lasts
    _all(type(offer)).filter(expires_at__lte=now - KEPT).delete()
    offer.save()
    return code


def opened(kind: type[Kind]) -> QuerySet[Kind]:
    """Select the offers that can still be taken."""
    return _all(kind).filter(used_at=None, expires_at__gt=timezone.now()).select_related("fleet", "made_by")


def find(kind: type[Kind], code: str) -> Kind:
    """Return an offer that can be taken. To whoever has no good code, all that may be wrong with it looks the same."""
    return _found(opened(kind), code)


def redeem(kind: type[Kind], code: str) -> Kind:
    """Take an offer, in the caller's transaction: of two who come at once, the second is refused."""
    offer = _found(opened(kind).select_for_update(of=("self",)), code)
    offer.used_at = timezone.now()
    offer.save(update_fields=["used_at"])
    return offer


def unknown() -> Refusal:
    """Refuse a code, whatever is wrong with it."""
    return Refusal("offer_unknown", "This code is wrong, was used, or has expired; ask for another one.", 404)


def _found(rows: QuerySet[Kind], code: str) -> Kind:
    """Return the offer of a code, if whoever made it could still make it."""
    offer = rows.filter(digest=digest(code)).first()
    if offer is None or not registry.fleets_of(offer.made_by, Role.MANAGER).filter(pk=offer.fleet_id).exists():
        raise unknown()
    return offer


def _all(kind: type[Kind]) -> QuerySet[Kind]:
    found: QuerySet[Kind] = kind._default_manager.all()  # noqa: SLF001  the framework's name for it
    return found
