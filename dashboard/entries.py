"""The page of the audit: who did what to whom, newest first; for managers and administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from django.core.exceptions import PermissionDenied
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dashboard.forms import Sift
from dashboard.pages import page
from devices import entries, registry, rights
from devices.models import Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

SHOWN: Final = 50


@page
@require_GET
def audit(request: HttpRequest) -> HttpResponse:
    """Show what was done, as far as one may know it; `before`: the id behind which the page begins."""
    user = cast("User", request.user)
    if not (rights.administers(user) or registry.fleets_of(user, Role.MANAGER).exists()):
        raise PermissionDenied("The audit is for managers of a fleet and for administrators; ask one.")
    form = Sift(request.GET, user=user)
    rows = entries.select(user, form.chosen) if form.is_valid() else entries.visible_to(user).none()
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit():
        rows = rows.filter(pk__lt=int(before[:18]))
    found = list(rows.order_by("-pk")[: SHOWN + 1])
    older = request.GET.copy()
    if len(found) > SHOWN:
        older["before"] = str(found[SHOWN - 1].pk)
    context = {
        "form": form,
        "rows": [(row, entries.words(row)) for row in found[:SHOWN]],
        "older": older.urlencode() if len(found) > SHOWN else "",
        "whole": rights.administers(user),
    }
    return render(request, "dashboard/audit.html", context)
