"""What a share link shows: its devices, and the page of each, live and read-only, to whoever has it.

It works without a session, and leaves one that is there alone: these views act as the user that the link narrows its
maker to, and nothing else of the request does. What a context holds is what may be known: it is put together here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AnonymousUser
from django.http import JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from dashboard import shown
from dashboard.pages import secretive
from dashboard.views import fleet_context, readings_of
from devices import registry, shares
from devices.errors import Refusal

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

    from devices.models import Device


@secretive("no-referrer")
@require_GET
def share(request: HttpRequest, secret: str) -> HttpResponse:
    """List the link's devices."""
    user = shares.opened(secret)
    context = fleet_context(user, reverse("share", args=[secret])) if user else {"rows": {}}
    if not context["rows"]:
        return _ended(request)
    context["live"]["token"] = secret
    return _shown(request, "dashboard/share.html", context)


@secretive("no-referrer")
@require_GET
def shared_device(request: HttpRequest, secret: str, key: str) -> HttpResponse:
    """Show one of the link's devices."""
    user = shares.opened(secret)
    one = _device(user, key)
    if user is None or one is None:
        return _ended(request)
    state = _state(one, secret)
    context = {
        "device": one,
        "shown": state,
        "live": state,
        "frames": shown.frames(one),
        "at": state["at"],
        "several": registry.visible_to(user).count() > 1,
    }
    return _shown(request, "dashboard/shared_device.html", context)


@secretive("no-referrer")
@require_GET
def shared_state(request: HttpRequest, secret: str, key: str) -> HttpResponse:
    """Tell what the device's page knows, for a page that is open already."""
    one = _device(shares.opened(secret), key)
    return _ended(request) if one is None else JsonResponse(_state(one, secret))


def _device(user: User | None, key: str) -> Device | None:
    try:
        return registry.find(user, key) if user else None
    except Refusal:
        return None


def _state(one: Device, secret: str) -> dict[str, Any]:
    known = {"commands": {}, "orders": [], "may_command": False}
    return {**readings_of(one), **known, "token": secret, "at": reverse("share", args=[secret])}


def _ended(request: HttpRequest) -> HttpResponse:
    return _shown(request, "dashboard/share_ended.html", {}, 404)


def _shown(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    # Whoever is signed in here besides is nobody to these pages, and what they were to be told is not for here.
    return render(request, template, {**context, "user": AnonymousUser(), "messages": ()}, status=status)
