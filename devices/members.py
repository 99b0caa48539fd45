"""Who may do what: the members of fleets. A fleet always keeps somebody who decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db import transaction

from devices import registry
from devices.errors import Refusal
from devices.models import Fleet, Membership, Role

if TYPE_CHECKING:
    from django.db.models import QuerySet


def find(user: User, slug: str, role: Role = Role.VIEWER) -> Fleet:
    """Return one fleet; refuses alike what does not exist and what may not be seen (404), then the role (403)."""
    fleet = registry.fleets_of(user).filter(slug=slug).first()
    if fleet is None:
        raise Refusal("fleet_unknown", f"There is no fleet {slug!r}, or you may not see it.", 404)
    if not registry.fleets_of(user, role).filter(pk=fleet.pk).exists():
        raise Refusal("forbidden", f"In the fleet {fleet} this takes the role {role}; ask a manager.", 403)
    return fleet


def of(fleet: Fleet) -> QuerySet[Membership]:
    """Return a fleet's members."""
    return Membership.objects.filter(fleet=fleet).select_related("user")


def put(fleet: Fleet, username: str, role: Role) -> tuple[Membership, bool]:
    """Make somebody a member, or change their role; return the membership and whether it is new."""
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        message = f"There is nobody called {username!r}; an administrator makes users."
        raise Refusal("user_unknown", message, fields={"user": "is not known"})
    with transaction.atomic():
        _locked(fleet)
        membership, new = Membership.objects.update_or_create(fleet=fleet, user=user, defaults={"role": role})
        _still_managed(fleet)
    return membership, new


def drop(fleet: Fleet, username: str) -> None:
    """End a membership."""
    with transaction.atomic():
        _locked(fleet)
        gone, _ = of(fleet).filter(user__username=username).delete()
        if not gone:
            raise Refusal("user_unknown", f"{username!r} is no member of {fleet}.", 404)
        _still_managed(fleet)


def _locked(fleet: Fleet) -> None:
    # Two managers who leave at once must not both find that the other one stays.
    Fleet.objects.select_for_update().get(pk=fleet.pk)


def _still_managed(fleet: Fleet) -> None:
    if not of(fleet).filter(role=Role.MANAGER).exists():
        message = f"{fleet} would be left without a manager; make somebody else one first."
        raise Refusal("last_manager", message, 409)
