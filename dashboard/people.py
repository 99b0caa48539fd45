"""The page of a fleet's managers: its members, invitations, exceptions, limits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard.forms import Admit, Except, Invite, MakeFleet, Share
from dashboard.pages import page, told
from dashboard.sharing import listed
from devices import invitations, members, registry, rights
from devices.errors import Refusal
from devices.models import DeviceRole, Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

    from devices.models import Fleet


@page
@require_GET
def people(request: HttpRequest, slug: str) -> HttpResponse:
    """Show who is in the fleet, and who may come."""
    return _shown(request, _managed(request, slug))


@page
@require_http_methods(["GET", "POST"])
def make_fleet(request: HttpRequest) -> HttpResponse:
    """Make a fleet; for administrators."""
    if not rights.administers(cast("User", request.user)):
        raise PermissionDenied("Making a fleet is for administrators; ask one.")
    form = MakeFleet(request.POST or None)
    if form.is_valid():
        asked = form.cleaned_data
        try:
            fleet = members.make_fleet(asked["slug"], asked["name"], asked["manager"] or None)
        except Refusal as refusal:
            form.add_error("manager" if refusal.code == "user_unknown" else "slug", refusal.message)
        else:
            return redirect("people", fleet.slug)
    return render(request, "dashboard/make_fleet.html", {"form": form})


@page
@require_POST
def admit(request: HttpRequest, slug: str) -> HttpResponse:
    """Make somebody a member, or change their role."""
    fleet, form = _managed(request, slug), Admit(request.POST)
    if not form.is_valid():
        return _shown(request, fleet, admitting=form)
    asked = form.cleaned_data
    return told(
        request,
        reverse("people", args=[slug]),
        lambda: f"{asked['user']} is {members.admit(fleet, asked['user'], asked['role'])[0].role} of {fleet} now.",
    )


@page
@require_POST
def dismiss(request: HttpRequest, slug: str) -> HttpResponse:
    """End a membership."""
    fleet, name = _managed(request, slug), request.POST.get("user", "")

    def done() -> str:
        members.dismiss(fleet, name)
        return f"{name} is no member of {fleet} any more."

    # Who has dismissed themselves may not see the page any more.
    own = name == request.user.get_username()
    return told(request, reverse("fleet") if own else reverse("people", args=[slug]), done)


@page
@require_POST
def invite(request: HttpRequest, slug: str) -> HttpResponse:
    """Invite somebody by a link, which is shown this once."""
    fleet, form = _managed(request, slug), Invite(request.POST)
    if not form.is_valid():
        return _shown(request, fleet, inviting=form)
    asked, user = form.cleaned_data, cast("User", request.user)
    try:
        made, code = invitations.make(user, fleet, asked["role"], asked["name"], timedelta(days=asked["days"]))
    except Refusal as refusal:
        form.add_error(None, refusal.message)
        return _shown(request, fleet, inviting=form)
    url = request.build_absolute_uri(reverse("invitation", args=[code]))
    return render(request, "dashboard/invited.html", {"fleet": fleet, "invitation": made, "url": url})


@page
@require_POST
def revoke_invitation(request: HttpRequest, slug: str, invitation: int) -> HttpResponse:
    """Withdraw an invitation."""
    fleet = _managed(request, slug)

    def done() -> str:
        invitations.revoke(fleet, invitation)
        return "The invitation is revoked; its link leads nowhere any more."

    return told(request, f"{reverse('people', args=[slug])}#invitations", done)


@page
@require_POST
def except_for(request: HttpRequest, key: str) -> HttpResponse:
    """Give somebody another role for one device."""
    device = registry.find(cast("User", request.user), key, Role.MANAGER)
    name, role = request.POST.get("user", ""), request.POST.get("role", "")

    def done() -> str:
        if not Except(request.POST).is_valid():
            raise Refusal("invalid", "Say who, by their user name, and which role.")
        members.except_for(device, name.strip(), role)
        return f"{name} {f'is {role} of' if role != DeviceRole.NONE else 'does not see'} {device} now."

    return told(request, f"{reverse('device', args=[key])}#roles", done)


@page
@require_POST
def end_exception(request: HttpRequest, key: str) -> HttpResponse:
    """Have somebody be for a device what they are in its fleet."""
    device = registry.find(cast("User", request.user), key, Role.MANAGER)
    name = request.POST.get("user", "")

    def done() -> str:
        members.end_exception(device, name)
        return f"{name} is for {device} what they are in {device.fleet}."

    return told(request, f"{reverse('device', args=[key])}#roles", done)


def _managed(request: HttpRequest, slug: str) -> Fleet:
    return registry.find_fleet(cast("User", request.user), slug, Role.MANAGER)


def _shown(request: HttpRequest, fleet: Fleet, **forms: Any) -> HttpResponse:  # noqa: ANN401  forms that were filled in
    user = cast("User", request.user)
    devices = registry.visible_to(user, Role.MANAGER).filter(fleet=fleet)
    exceptions = DeviceRole.objects.filter(device__in=devices)
    context = {
        "fleet": fleet,
        "members": fleet.memberships.select_related("user").order_by("user__username"),
        "roles": Role.values,
        "invitations": invitations.of(fleet),
        "shares": listed(user, devices),
        "sharing": Share(devices=devices),
        "exceptions": exceptions.select_related("device", "user").order_by("device__key", "user__username"),
        "limits": [(title, getattr(fleet, name), unit) for name, title, unit in LIMITS],
        "admitting": Admit(),
        "inviting": Invite(),
        **forms,
    }
    return render(request, "dashboard/people.html", context)


LIMITS = (
    ("keep_raw", "Frames", "days"),
    ("keep_minute", "Roll-ups of minutes", "days"),
    ("keep_hour", "Roll-ups of hours", "days"),
    ("keep_day", "Roll-ups of days", "days"),
    ("rate", "One device may send", "frames a second"),
    ("burst", "On top at once", "frames"),
)
