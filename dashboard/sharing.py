"""How managers share devices by links, and end them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from dashboard.forms import Share
from dashboard.pages import page
from devices import registry, shares, tokens
from devices.models import Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from devices.models import Device


@page
@require_POST
def share_devices(request: HttpRequest) -> HttpResponse:
    """Make a link, and show it this once."""
    user = cast("User", request.user)
    form = Share(request.POST, devices=registry.visible_to(user, Role.MANAGER))
    if not form.is_valid():
        return render(request, "dashboard/sharing.html", {"form": form})
    asked = form.cleaned_data
    made, secret = tokens.share(user, list(asked["devices"]), asked["name"], timedelta(hours=asked["lasts"]))
    url = request.build_absolute_uri(reverse("share", args=[secret]))
    context = {"share": made, "devices": asked["devices"], "url": url, "back": _back(request)}
    return render(request, "dashboard/shared.html", context)


@page
@require_POST
def revoke_share(request: HttpRequest, share: str) -> HttpResponse:
    """End a link."""
    shares.revoke(cast("User", request.user), share)
    messages.success(request, "The link is revoked; who has it open is shown nothing new any more.")
    return redirect(_back(request))


def listed(user: User, devices: QuerySet[Device]) -> list[dict[str, Any]]:
    """Return the links that show these devices, for a page."""
    links = list(shares.of(user, devices))
    seen = shares.seen(user, links)
    return [{"link": link, "devices": seen[link.token_key]} for link in links]


def _back(request: HttpRequest) -> str:
    target = request.POST.get("next", "")
    here = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()})
    return target if here else reverse("fleet")
