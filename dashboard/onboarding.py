"""Ways for many devices to come: by a claim code, by a table, and by being heard before anybody knew them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

import segno
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard.forms import MakeCode, OfFleet, Table
from dashboard.inbox import number
from dashboard.pages import page
from dashboard.views import credentials, manager
from devices import claims, dump, provisioning, registry, rights, unclaimed
from devices.api.bulk import asked_by
from devices.api.claims import address
from devices.api.devices import broker
from devices.errors import Refusal
from devices.models import Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

    from devices.models import ClaimCode, Fleet

# What a person looks through; the file has all of it.
SHOWN: Final = 500
PUBLISHERS: Final = 100


# --- claim codes


@page
@require_http_methods(["GET", "POST"])
def make_code(request: HttpRequest) -> HttpResponse:
    """Make a claim code and show it this once; until then, the codes that are open."""
    user = manager(request)
    form = MakeCode(request.POST or None, user=user)
    if form.is_valid():
        asked = form.cleaned_data
        try:
            made, code = claims.make(user, asked["fleet"], lasts=asked["lasts"], key=asked["key"])
        except Refusal as refusal:
            form.add_error("key", refusal.message)
        else:
            return _code(request, made, code)
    codes = claims.open_of(registry.fleets_of(user, Role.MANAGER)).order_by("-pk")
    return render(request, "dashboard/codes.html", {"form": form, "codes": codes})


def _code(request: HttpRequest, made: ClaimCode, code: str) -> HttpResponse:
    url = address(request, code)
    # Dark on light in either theme, with its quiet zone: cameras want both.
    picture = segno.make(url, micro=False).svg_data_uri(dark="#000", light="#fff", omitsize=True)
    left_ms = round(made.expires_at.timestamp() * 1000) - _now()
    state = reverse("api:claim-code", args=[made.fleet.slug, made.pk])
    context = {
        "made": made,
        "code": code,
        "url": url,
        "address": url.partition("#")[0],
        "picture": picture,
        "live": {"state": state, "left_ms": left_ms},
    }
    return render(request, "dashboard/code.html", context)


@page
@require_POST
def revoke_code(request: HttpRequest, slug: str) -> HttpResponse:
    """Take a code back."""
    fleet = registry.find_fleet(cast("User", request.user), slug, Role.MANAGER)
    try:
        claims.revoke(fleet, number(request.POST.get("code")))
    except Refusal as refusal:
        messages.warning(request, refusal.message)
    else:
        messages.success(request, "The code was revoked; no device can use it any more.")
    return redirect("make-code")


# --- tables


@page
@require_http_methods(["GET", "POST"])
def add_table(request: HttpRequest) -> HttpResponse:
    """Take a table of devices, or only look at it, and tell what became of each row."""
    user = manager(request)
    form = Table(request.POST or None, request.FILES or None, user=user)
    if form.is_valid():
        fleet: Fleet = form.cleaned_data["fleet"]
        dry_run: bool = form.cleaned_data["dry_run"]
        try:
            table = form.cleaned_data["file"].read(provisioning.MAX_BYTES + 1)
            rows = provisioning.provision(table, asked_by(user, fleet.slug), dry_run=dry_run)
        except Refusal as refusal:
            form.add_error("file", refusal.message)
        else:
            return render(request, "dashboard/table_report.html", _report(rows, dry_run=dry_run))
    return render(request, "dashboard/table.html", {"form": form, "most": provisioning.MOST})


def _report(rows: list[provisioning.Row], *, dry_run: bool) -> dict[str, Any]:
    # Those that need a look come first.
    order = sorted(rows, key=lambda row: row.result in ("created", "creatable"))
    return {
        "rows": order[:SHOWN],
        "more": len(rows) - SHOWN,
        "counts": [(result, count) for result, count in provisioning.counts(rows).items() if count],
        "dry_run": dry_run,
        "made": any(row.secret for row in rows),
        "live": {"report": provisioning.report(rows, broker())},
    }


# --- publishers that nobody knows


@page
@require_GET
def unclaimed_publishers(request: HttpRequest) -> HttpResponse:
    """Show who publishes and is not registered; for administrators."""
    user = _administrator(request)
    found = list(unclaimed.publishers().order_by(F("newest_at").desc(), "key")[: PUBLISHERS + 1])
    topics = unclaimed.topics_of([row["key"] for row in found])
    rows = [
        {**row, "topics": topics[row["key"]], "sample": dump.escaped(bytes(row["sample"] or b""))}
        for row in found[:PUBLISHERS]
    ]
    context = {
        "rows": rows,
        "more": len(found) > PUBLISHERS,
        "beyond": unclaimed.beyond(),
        "fleets": registry.fleets_of(user, Role.MANAGER).order_by("name"),
        "ours": unclaimed.accounts_are_ours(),
    }
    return render(request, "dashboard/unclaimed.html", context)


@page
@require_POST
def claim_publisher(request: HttpRequest, key: str) -> HttpResponse:
    """Register a publisher; show its credentials where they are ours, else its page."""
    user = _administrator(request)
    form = OfFleet(request.POST, user=user)
    if not form.is_valid():
        messages.warning(request, "Say in which fleet it shall be.")
        return redirect("unclaimed")
    name = request.POST.get("name", "").replace("\0", "")[:128]
    try:
        done = unclaimed.claim(
            key, form.cleaned_data["fleet"], name, _now(), user.get_username(), replayed="replay" in request.POST
        )
    except Refusal as refusal:
        messages.warning(request, refusal.message)
        return redirect("unclaimed")
    messages.success(request, " ".join([f"{key} is registered.", *([done.replayed.message] if done.replayed else [])]))
    if done.secret is None:
        return redirect("device", key)
    return credentials(request, registry.find(user, key), done.secret, rotated=False)


def _administrator(request: HttpRequest) -> User:
    user = cast("User", request.user)
    if not rights.administers(user):
        raise PermissionDenied("What nobody has registered is for administrators.")
    return user


def _now() -> int:
    return time.time_ns() // 1_000_000
