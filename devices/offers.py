"""What whoever has a code may take once, before it expires. Codes are told once, and kept as hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from django.utils import timezone

from devices.errors import Refusal
from devices.models import Offer

if TYPE_CHECKING:
    from django.db.models import QuerySet

Kind = TypeVar("Kind", bound=Offer)
LASTS: Final = timedelta(days=7)


def make(offer: Kind, lasts: timedelta = LASTS) -> str:
    """Store an offer and return its code, of 192 random bits. What has expired of its fleet is cleared away."""
    code = secrets.token_urlsafe(24)
    offer.digest, offer.expires_at = _digest(code), timezone.now() + lasts
    rows = type(offer)._default_manager  # noqa: SLF001  the framework's name for it
    rows.filter(fleet=offer.fleet, expires_at__lte=timezone.now()).delete()
    offer.save()
    return code


def opened(kind: type[Kind]) -> QuerySet[Kind]:
    """Select the offers that can still be taken."""
    found: QuerySet[Kind] = kind._default_manager.filter(  # noqa: SLF001  as above
        used_at=None, expires_at__gt=timezone.now()
    )
    return found


def find(kind: type[Kind], code: str) -> Kind:
    """Return an offer that can be taken; refuses alike what is wrong, used, expired, or withdrawn."""
    return _found(opened(kind).select_related("fleet", "made_by"), code)


def redeem(kind: type[Kind], code: str) -> Kind:
    """Take an offer, in the caller's transaction: of two who come at once, the second is refused."""
    offer = _found(opened(kind).select_for_update(of=("self",)).select_related("fleet", "made_by"), code)
    offer.used_at = timezone.now()
    offer.save(update_fields=["used_at"])
    return offer


def unknown() -> Refusal:
    """Refuse a code, whatever is wrong with it."""
    return Refusal("offer_unknown", "This code is wrong, was used, or has expired; ask for another one.", 404)


def _found(rows: QuerySet[Kind], code: str) -> Kind:
    offer = rows.filter(digest=_digest(code)).first()
    if offer is None:
        raise unknown()
    return offer


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
