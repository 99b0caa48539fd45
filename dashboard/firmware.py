"""The page of a fleet's firmware: what its devices can be told to install, and how it comes and goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.http import Http404
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.forms import AddFirmware
from dashboard.pages import page, told
from devices import firmware, registry
from devices.errors import Refusal
from devices.models import Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

    from devices.models import Fleet

# Fields that a refusal may name.
FIELDS = ("version", "model", "notes", "file")


@page
@require_http_methods(["GET", "POST"])
def of_fleet(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what there is; add a file to it."""
    user = cast("User", request.user)
    adding = request.method == "POST"
    fleet = registry.find_fleet(user, slug, Role.MANAGER if adding else Role.VIEWER)
    form = AddFirmware(request.POST if adding else None, request.FILES if adding else None)
    if form.is_valid():
        asked = form.cleaned_data
        about = firmware.About(asked["version"], asked["model"], asked["notes"])
        try:
            firmware.add(fleet, about, asked["file"], user=user, now=time.time_ns() // 1_000_000)
        except Refusal as refusal:
            _blame(form, refusal)
        else:
            return told(request, reverse("firmware", args=[slug]), lambda: f"{about.version} is there.")
    return _shown(request, fleet, form)


def _blame(form: AddFirmware, refusal: Refusal) -> None:
    fields = [name for name in FIELDS if name in (refusal.fields or {})]
    form.add_error(fields[0] if fields else None, refusal.message)


def _shown(request: HttpRequest, fleet: Fleet, form: AddFirmware) -> HttpResponse:
    user = cast("User", request.user)
    devices = registry.visible_to(user).filter(fleet=fleet)
    rows = list(firmware.of(fleet))
    counts = firmware.announced(rows, devices)
    context = {
        "fleet": fleet,
        "rows": [(row, counts[row.pk]) for row in rows],
        "devices": devices.count(),
        "form": form,
        "most_mb": settings.HUB_FIRMWARE_MB,
        "may_manage": registry.fleets_of(user, Role.MANAGER).filter(pk=fleet.pk).exists(),
        "may_command": registry.fleets_of(user, Role.OPERATOR).filter(pk=fleet.pk).exists(),
    }
    return render(request, "dashboard/firmware.html", context)


@page
@require_POST
def remove(request: HttpRequest, slug: str, file: int) -> HttpResponse:
    """Delete a file."""
    fleet = registry.find_fleet(cast("User", request.user), slug, Role.MANAGER)
    found = firmware.of(fleet).filter(pk=file).first() if file < 2**63 else None
    if found is None:
        raise Http404

    def done() -> str:
        firmware.remove(found)
        return f"{found.version} is deleted."

    return told(request, reverse("firmware", args=[slug]), done)
