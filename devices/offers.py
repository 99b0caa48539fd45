"""Offers: whoever has the code may take them once, before they expire. A code is told once, and kept as hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from django.utils import timezone

from devices import registry
from devices.errors import Refusal
from devices.models import Role
from devices.models.people import Offer

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from devices.models import Fleet

AnOffer = TypeVar("AnOffer", bound=Offer)

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


def make(rows: QuerySet[AnOffer], fleet: Fleet, user: User, lasts: timedelta, **what: str) -> tuple[AnOffer, str]:
    """Add an offer to its table; return it with its code. What was over long ago is cleared away."""
    code, now = new_code(), timezone.now()
    rows.filter(expires_at__lte=now - KEPT).delete()
    return rows.create(digest=digest(code), fleet=fleet, made_by=user, expires_at=now + lasts, **what), code


def still_open(rows: QuerySet[AnOffer]) -> QuerySet[AnOffer]:
    """Select what can still be taken."""
    return rows.filter(used_at=None, expires_at__gt=timezone.now())


def redeem(rows: QuerySet[AnOffer], code: str) -> AnOffer:
    """Take the offer, in the caller's transaction: of two who do so at once, one is refused.

    To whoever has no good code, all that may be wrong with it looks the same. Who made it must still be manager.
    """
    locked = still_open(rows).select_for_update(of=("self",)).select_related("fleet", "made_by")
    offer = locked.filter(digest=digest(code)).first()
    if offer is None or not registry.fleets_of(offer.made_by, Role.MANAGER).filter(pk=offer.fleet_id).exists():
        raise Refusal("code_refused", "This code is wrong, used up, revoked or expired; ask for a new one.", 404)
    offer.used_at = timezone.now()
    offer.save(update_fields=["used_at"])
    return offer
