"""The page of a fleet's schedules: what jobs are made by themselves, when, and what became of the last ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from django.shortcuts import render
from django.views.decorators.http import require_GET

from dashboard.pages import page
from devices import registry
from devices.models import Role, Schedule

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

SHOWN: Final = 100
RUNS: Final = 5


@page
@require_GET
def fleet_schedules(request: HttpRequest, slug: str) -> HttpResponse:
    """Show them, those that are due first."""
    user = cast("User", request.user)
    fleet = registry.find_whole_fleet(user, slug)
    rows = Schedule.objects.filter(fleet=fleet).select_related("user").order_by("-enabled", "next_at", "pk")
    found = [told(one) for one in rows[:SHOWN]]
    may_command = registry.whole_fleets_of(user, Role.OPERATOR).filter(pk=fleet.pk).exists()
    live = {"now": time.time_ns() // 1_000_000, "schedules": found, "may_command": may_command}
    context = {"fleet": fleet, "schedules": found, "may_command": may_command, "live": live}
    return render(request, "dashboard/schedules.html", context)


def told(schedule: Schedule) -> dict[str, Any]:
    """One schedule with its last runs."""
    runs = schedule.runs.select_related("job")[:RUNS]
    return {
        "id": schedule.pk,
        "title": schedule.title,
        "name": schedule.name,
        "args": schedule.args,
        "selection": schedule.selection,
        "rate": schedule.rate,
        "stages": schedule.stages,
        "limit": schedule.limit,
        "reason": schedule.reason,
        "by": str(schedule.user or "nobody who is still here"),
        "cron": schedule.cron,
        "zone": schedule.zone,
        "next_at": schedule.next_at,
        "enabled": schedule.enabled,
        "runs": [{"due_at": run.due_at, "missed": run.missed, "job": run.job and job_told(run.job)} for run in runs],
    }


def job_told(job: Any) -> dict[str, Any]:  # noqa: ANN401
    """Where the job of a run stands."""
    return {"id": job.pk, "state": job.state, "total": job.total, "counts": job.counts}
