"""Invitations: a place in a fleet for whoever has the link. One use, one week, and as good as who made it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction

from devices import audit, members, offers
from devices.errors import Refusal
from devices.models import Invitation, Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from devices.models import Fleet, Membership

LASTS: Final = timedelta(days=7)
LONGEST: Final = timedelta(days=31)
# Nobody waits for more people at once; a program that errs makes no more than these.
OPEN: Final = 100


def of(fleet: Fleet) -> QuerySet[Invitation]:
    """Select the invitations into a fleet that wait for somebody, newest first."""
    return offers.opened(Invitation).filter(fleet=fleet).order_by("-created_at", "-pk")


def make(user: User, fleet: Fleet, role: Role, name: str = "", lasts: timedelta = LASTS) -> tuple[Invitation, str]:
    """Invite somebody, and return the invitation with its code, which is told this once."""
    if not timedelta(0) < lasts <= LONGEST:
        message = f"An invitation lasts at most {LONGEST.days} days."
        raise Refusal("invalid", message, fields={"expires_in_s": "is too long"})
    if of(fleet).count() >= OPEN:
        raise Refusal("too_many", f"{OPEN} invitations into {fleet} are open; revoke some first.", 409)
    with transaction.atomic():
        invitation = Invitation(fleet=fleet, made_by=user, role=role, name=name)
        code = offers.make(invitation, lasts)
        audit.note("invitation.made", _named(invitation), {"role": role}, fleet=fleet)
    return invitation, code


def find(code: str) -> Invitation:
    """Return an invitation that can be accepted, or refuse."""
    return offers.find(Invitation, code)


def accept(user: User, code: str) -> Membership:
    """Make the user a member. Who is as much already is told so, and the invitation stays for whom it is meant."""
    with transaction.atomic():
        invitation = offers.redeem(Invitation, code)
        audit.note("invitation.accepted", _named(invitation), {"role": invitation.role}, fleet=invitation.fleet)
        membership = members.join(invitation.fleet, user, Role(invitation.role))
        invitation.used_by = user
        invitation.save(update_fields=["used_by"])
    return membership


def revoke(fleet: Fleet, pk: int) -> None:
    """Withdraw an invitation: its link leads nowhere from now on."""
    with transaction.atomic():
        invitation = of(fleet).select_for_update(of=("self",)).filter(pk=pk).first()
        if invitation is None:
            raise Refusal("not_found", "There is no such invitation; it was used, has expired, or was revoked.", 404)
        audit.note("invitation.revoked", _named(invitation), {"role": invitation.role}, fleet=fleet)
        invitation.delete()


def _named(invitation: Invitation) -> str:
    return f"{invitation.name or 'somebody'} ({invitation.pk})"
