"""Claim codes: a manager makes one, and the device that has it fetches credentials of its own with it, once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction

from devices import audit, offers, registry
from devices.errors import Refusal
from devices.models import ClaimCode, Device, Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from devices.models import Fleet

LASTS: Final = timedelta(minutes=15)
SHORTEST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(hours=24)


def make(user: User, fleet: Fleet, *, lasts: timedelta = LASTS, key: str = "") -> tuple[ClaimCode, str]:
    """Make a code and return it with what is told this once; with a key it is good for this device alone."""
    if not SHORTEST <= lasts <= LONGEST:
        message = "A claim code lasts from one minute to 24 hours."
        raise Refusal("invalid", message, fields={"lasts_s": "is too short or too long"})
    if key:
        registry.check_key(key)
        _known(user, fleet, key)
    with transaction.atomic():
        made = ClaimCode(fleet=fleet, made_by=user, key=key)
        code = offers.make(made, lasts)
        audit.note("claim_code.made", str(made.pk), {"key": key, "lasts_s": lasts.total_seconds()}, fleet=fleet)
    return made, code


def _known(user: User, fleet: Fleet, key: str) -> Device | None:
    """Return the device that has this key; refuses one that is not theirs to give a new secret."""
    device = Device.objects.filter(key=key).select_related("fleet").first()
    if device and (device.fleet_id != fleet.pk or not registry.may(user, device, Role.MANAGER)):
        raise registry.key_taken(key)
    return device


def open_of(fleets: Iterable[Fleet]) -> QuerySet[ClaimCode]:
    """Select the codes of these fleets that can still be used."""
    return offers.opened(ClaimCode).filter(fleet__in=fleets)


def find(fleet: Fleet, pk: int) -> ClaimCode:
    """Return one of a fleet's codes, used or not."""
    code = ClaimCode.objects.filter(fleet=fleet, pk=pk).select_related("device", "made_by").first()
    if code is None:
        raise Refusal("not_found", f"There is no claim code {pk} in {fleet}.", 404)
    return code


def revoke(fleet: Fleet, pk: int) -> None:
    """Take back a code that nobody has used."""
    with transaction.atomic():
        gone, _ = ClaimCode.objects.filter(fleet=fleet, pk=pk, used_at=None).delete()
        if not gone:
            raise Refusal("not_found", f"There is no open claim code {pk} in {fleet}: it was used, or is gone.", 404)
        audit.note("claim_code.revoked", str(pk), fleet=fleet)


def claim(code: str, key: str = "", name: str = "", model: str = "") -> tuple[Device, str]:
    """Register the device that has this code, or give it a new secret if the code was made for it.

    It is done in the name of whoever made the code. What is refused leaves the code as good as it was.
    """
    with transaction.atomic():
        taken = offers.redeem(ClaimCode, code)
        with audit.acting(audit.person(taken.made_by, f"claim code {taken.pk}")):
            device, secret = _claimed(taken, key or taken.key, name)
            audit.note("device.claimed", device.key, {"code": taken.pk, "model": model}, fleet=device.fleet)
        if model:
            Device.objects.filter(pk=device.pk).update(model=model)
        taken.device = device
        taken.save(update_fields=["device"])
    return device, secret


def _claimed(taken: ClaimCode, key: str, name: str) -> tuple[Device, str]:
    if not key:
        raise Refusal("invalid", "Say which key the device shall have.", fields={"key": "is missing"})
    if taken.key and key != taken.key:
        raise Refusal("invalid", f"This code is for the device {taken.key} alone.", fields={"key": "is another's"})
    known = _known(taken.made_by, taken.fleet, key) if taken.key else None
    return (known, registry.rotate(known)) if known else registry.create(key, taken.fleet, name)
