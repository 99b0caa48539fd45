"""What whoever has an invitation sees: what it offers, and how to take it, with an account or without one yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.db import transaction
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from dashboard.forms import NewPerson
from dashboard.pages import secretive
from devices import audit, invitations
from devices.errors import Refusal

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from devices.models import Invitation


@secretive("strict-origin")  # with `no-referrer` browsers send `Origin: null` with forms, which Django refuses
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, code: str) -> HttpResponse:
    """Show an invitation; by POST accept it, with a new account where nobody is signed in."""
    try:
        found = invitations.find(code)
        form = NewPerson(request.POST or None)
        if request.method != "POST" or not (request.user.is_authenticated or form.is_valid()):
            return _shown(request, found, form)
        _accepted(request, code, form)
    except Refusal as refusal:
        if refusal.status != 409:  # noqa: PLR2004  HTTP's own number
            return render(request, "dashboard/invitation_gone.html", status=404)
        messages.info(request, refusal.message)
    return redirect("fleet")


def _accepted(request: HttpRequest, code: str, form: NewPerson) -> None:
    if isinstance(request.user, User):
        membership = invitations.accept(request.user, code)
    else:
        with transaction.atomic():
            user = form.save()
            with audit.acting(audit.person(user, "invitation")):
                audit.note("user.made", user.get_username())
                membership = invitations.accept(user, code)
        if settings.SECOND_FACTOR != "required":  # else they set one up at the door
            login(request, user, settings.AUTHENTICATION_BACKENDS[-1])  # the one that knows passwords
    messages.success(request, f"You are {membership.role} of {membership.fleet} now.")


def _shown(request: HttpRequest, found: Invitation, form: NewPerson) -> HttpResponse:
    return render(request, "dashboard/invitation.html", {"invitation": found, "form": form})
