"""The pages of jobs: all of a fleet, one with what became of each device, and how one is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from django.db.models import Count
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dashboard.pages import page
from devices import commands, jobs, presence, registry, values
from devices.api.jobs import JobShape
from devices.models import Device, Firmware, Job, Role, Tag

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from devices.models import Fleet

SHOWN: Final = 50
# Devices that an address may name: what a browser and a proxy take.
NAMED: Final = 500
TTLS: Final = (
    (60, "a minute"),
    (600, "10 minutes"),
    (3_600, "an hour"),
    (86_400, "a day"),
    (commands.MAX_TTL_S, "7 days"),
)
# What an address may say of a job beforehand.
TOLD: Final = ("name", "args", "firmware", "tag", "presence", "reason", "when")
WHENS: Final = (("now", "now"), ("once", "once, at"), ("cron", "by cron"))


@page
@require_GET
def all_jobs(request: HttpRequest) -> HttpResponse:
    """The newest jobs of all fleets of which the user sees every device."""
    user = cast("User", request.user)
    return _listed(request, jobs.visible_to(user), list(registry.whole_fleets_of(user).order_by("name")))


@page
@require_GET
def fleet_jobs(request: HttpRequest, slug: str) -> HttpResponse:
    """The newest jobs of one fleet."""
    fleet = registry.find_whole_fleet(cast("User", request.user), slug)
    return _listed(request, jobs.visible_to(cast("User", request.user)).filter(fleet=fleet), [fleet])


def _listed(request: HttpRequest, rows: QuerySet[Job], fleets: list[Fleet]) -> HttpResponse:
    user = cast("User", request.user)
    found = list(rows.order_by("-created_at", "-pk")[: SHOWN + 1])
    context = {
        "jobs": found[:SHOWN],
        "more": len(found) > SHOWN,
        "fleets": fleets,
        "fleet": fleets[0] if len(fleets) == 1 else None,
        "commanded": registry.whole_fleets_of(user, Role.OPERATOR)
        .filter(pk__in=[fleet.pk for fleet in fleets])
        .order_by("name"),
        "live": {"now": _now(), "fleets": [fleet.slug for fleet in fleets], "jobs": _told(found[:SHOWN])},
    }
    return render(request, "dashboard/jobs.html", context)


@page
@require_GET
def one_job(request: HttpRequest, job: str) -> HttpResponse:
    """One job: how far it is, and what became of each of its devices."""
    user = cast("User", request.user)
    found = jobs.find(user, job)
    found.counts = jobs.counts(found)
    may_command = registry.whole_fleets_of(user, Role.OPERATOR).filter(pk=found.fleet_id).exists()
    (told,) = _told([found])
    live = {"now": _now(), "job": told, "may_command": may_command}
    return render(request, "dashboard/job.html", {"job": found, "may_command": may_command, "live": live})


def _is_update(args: object) -> bool:
    return isinstance(args, dict) and args.keys() == {"firmware"} and isinstance(args["firmware"], int)


def _told(found: list[Job]) -> list[dict[str, Any]]:
    """Tell jobs as REST does; of an update also which version it is."""
    told: list[dict[str, Any]] = JobShape(found, many=True).data  # type: ignore[assignment]
    wanted = [one["args"] for one in told if _is_update(one["args"])]
    if wanted:
        files = {file.pk: file for file in Firmware.objects.filter(fleet__in={job.fleet_id for job in found})}
        for args in wanted:
            if (file := files.get(args["firmware"])) is not None:
                args |= {"version": file.version, "sha256": file.sha256}
    return told


@page
@require_GET
def new_job(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask for a job, now or by the calendar. The address may say much of it already."""
    user = cast("User", request.user)
    fleet = registry.find_whole_fleet(user, slug, Role.OPERATOR)
    devices = registry.visible_to(user, Role.OPERATOR).filter(fleet=fleet)
    named = [key for key in request.GET.get("devices", "").split(",") if values.is_key(key)][:NAMED]
    chosen = list(devices.filter(key__in=named).order_by("key").values_list("key", flat=True))
    tags = Tag.objects.filter(device__in=devices).values("name").annotate(devices=Count("pk")).order_by("name")
    told = {name: request.GET.get(name, "") for name in TOLD}
    live = {
        "now": _now(),
        "fleet": fleet.slug,
        "commands": announced(devices.filter(key__in=chosen) if chosen else devices),
        "devices": chosen,
        "told": told,
    }
    context = {
        "fleet": fleet,
        "tags": tags,
        "told": told,
        "presences": get_args(presence.Presence),
        "ttls": TTLS,
        "whens": WHENS,
        "live": live,
    }
    return render(request, "dashboard/new_job.html", context)


def announced(devices: QuerySet[Device]) -> list[dict[str, Any]]:
    """What these devices announced that they can be told, by name, the form that most of them announced.

    dangerous: whether one of them calls it so.
    """
    found: dict[str, dict[str, Any]] = {}
    # Devices of one model announce the same: few rows, however many they are.
    kinds = devices.order_by().values_list("commands").annotate(count=Count("pk"))
    for specs, count in sorted(kinds, key=lambda kind: -kind[1]):
        for name, spec in specs.items():
            one = found.setdefault(name, {"name": name, "spec": spec, "devices": 0, "dangerous": False})
            one["devices"] += count
            one["dangerous"] |= bool(spec.get("dangerous")) or spec.get("type") == "update"
    return sorted(found.values(), key=lambda one: one["name"])


def _now() -> int:
    return time.time_ns() // 1_000_000
