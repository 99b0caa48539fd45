"""Members: who is what in a fleet, and for a single device of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from devices import audit, rights, values
from devices.errors import Refusal
from devices.models import Device, DeviceRole, Fleet, Membership, Role

if TYPE_CHECKING:
    from django.db.models import QuerySet

Row = TypeVar("Row", Membership, DeviceRole)


def person(username: str) -> User:
    """Return somebody who can sign in, or refuse."""
    user = User.objects.filter(username=username, is_active=True).first() if "\0" not in username else None
    if user is None:
        message = f"There is nobody called {username!r}; invite them, or have an administrator make them."
        raise Refusal("user_unknown", message, fields={"user": "is not known"})
    return user


def make_fleet(slug: str, name: str = "", manager: str | None = None) -> Fleet:
    """Make a fleet, and its first manager if one is named."""
    if not values.is_key(slug):
        message = f"The slug {slug!r} must be like a device's key: lower case letters, digits, - and _, at most 63."
        raise Refusal("invalid", message, fields={"slug": "is not valid"})
    try:
        with transaction.atomic():
            fleet = Fleet.objects.create(slug=slug, name=name or slug)
            audit.note("fleet.made", slug, {"name": fleet.name}, fleet=fleet)
            if manager is not None:
                admit(fleet, manager, Role.MANAGER)
    except IntegrityError:
        raise Refusal("slug_taken", f"A fleet {slug!r} exists already; choose another slug.", 409) from None
    return fleet


def admit(fleet: Fleet, username: str, role: Role) -> tuple[Membership, bool]:
    """Make somebody a member, or change their role; return the membership and whether it is new."""
    user = person(username)
    with transaction.atomic():
        _lock_members(fleet)
        managed = Membership.objects.filter(fleet=fleet, user=user, role=Role.MANAGER).exists()
        membership, new = Membership.objects.update_or_create(fleet=fleet, user=user, defaults={"role": role})
        if managed:
            _still_managed(fleet)
        audit.note("member.admitted" if new else "member.changed", user.username, {"role": role}, fleet=fleet)
    return membership, new


def join(fleet: Fleet, user: User, role: Role) -> Membership:
    """Make somebody a member who was invited, or raise their role; refuse who is as much already."""
    with transaction.atomic():
        _lock_members(fleet)
        if Membership.objects.filter(fleet=fleet, user=user, role__in=rights.enough(role)).exists():
            raise Refusal("member_already", f"You are {role} of {fleet} already, or more.", 409)
        membership, _ = admit(fleet, user.username, role)
    return membership


def dismiss(fleet: Fleet, username: str) -> None:
    """End a membership, with what roles they had for single devices of the fleet."""
    with transaction.atomic():
        _lock_members(fleet)
        gone, _ = _of(username, Membership.objects.filter(fleet=fleet)).delete()
        if not gone:
            raise Refusal("user_unknown", f"{username!r} is no member of {fleet}.", 404)
        _still_managed(fleet)
        DeviceRole.objects.filter(device__fleet=fleet, user__username=username).delete()
        audit.note("member.dismissed", username, fleet=fleet)


def except_for(device: Device, username: str, role: str) -> DeviceRole:
    """Give somebody a role for this device alone, instead of the one in its fleet; `none` hides it from them."""
    user = person(username)
    with transaction.atomic():
        _lock_members(device.fleet)
        if Membership.objects.filter(fleet=device.fleet, user=user, role=Role.MANAGER).exists():
            message = f"{username} manages {device.fleet}, and with it all of its devices; change that first."
            raise Refusal("manages_fleet", message, 409)
        exception, _ = DeviceRole.objects.update_or_create(device=device, user=user, defaults={"role": role})
        audit.note("exception.made", f"{username} for {device.key}", {"role": role}, fleet=device.fleet)
    return exception


def end_exception(device: Device, username: str) -> None:
    """Have somebody be for this device what they are in its fleet."""
    with transaction.atomic():
        gone, _ = _of(username, DeviceRole.objects.filter(device=device)).delete()
        if not gone:
            raise Refusal("user_unknown", f"{username!r} has no role of their own for {device.key}.", 404)
        audit.note("exception.ended", f"{username} for {device.key}", fleet=device.fleet)


def _of(username: str, rows: QuerySet[Row]) -> QuerySet[Row]:
    # PostgreSQL cannot be asked for a NUL.
    return rows.none() if "\0" in username else rows.filter(user__username=username)


def _lock_members(fleet: Fleet) -> None:
    # Two managers who leave at once must not both find that the other one stays.
    Fleet.objects.select_for_update().get(pk=fleet.pk)


def _still_managed(fleet: Fleet) -> None:
    if not Membership.objects.filter(fleet=fleet, role=Role.MANAGER).exists():
        message = f"{fleet} would be left without a manager; make somebody else one first."
        raise Refusal("last_manager", message, 409)
