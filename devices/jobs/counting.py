"""How many devices of a job stand where, and how that is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Case, CharField, Count, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce

from devices import lifecycle
from devices.models import CommandEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

    from devices.groups import Job as Told
    from devices.models import Job, Target

OPEN: Final = frozenset(lifecycle.MOVES) - lifecycle.CLOSED
# What a job's limit is about. What was cancelled or refused proves nothing.
FAILED: Final = ("failed", "rejected", "expired", "unknown", "timed_out")
# Where a target stands: its command's state, or one of two more.
STATE: Final = Case(
    When(~Q(refused="") | Q(device=None), then=Value("refused")),
    default=Coalesce(F("command__state"), Value("waiting")),
    output_field=CharField(),
)


def counts(job: Job) -> dict[str, int]:
    """Count a job's devices by where they stand: states of commands, `waiting` and `refused`. One query."""
    rows = job.targets.order_by().annotate(standing=STATE).values_list("standing")
    return dict(rows.annotate(count=Count("pk")).order_by("standing"))


def results(job: Job, standing: str | None = None) -> QuerySet[Target]:
    """Select a job's devices (that stand so) with what became of each.

    What one says that is in another fleet by now is that fleet's.
    """
    here = Q(device__fleet=job.fleet_id)
    said = CommandEvent.objects.filter(command=OuterRef("command")).order_by("-pk").values("message")[:1]
    rows = job.targets.annotate(standing=STATE)
    if standing is not None:
        rows = rows.filter(standing=standing)
    return rows.annotate(
        name=Case(When(here, then=F("device__name")), default=Value("")),
        cid=Case(When(here, then=F("command"))),
        message=Case(
            When(~Q(refused=""), then=F("refused")),
            When(here, then=Coalesce(Subquery(said), Value(""))),
            default=Value(""),
            output_field=CharField(),
        ),
        at=F("command__changed_at"),
    )


def open_of(counted: Mapping[str, int]) -> int:
    """Return how many have a command that is not closed."""
    return sum(counted.get(state, 0) for state in OPEN)


def judged(counted: Mapping[str, int]) -> list[int]:
    """Return how many commands are closed that prove something, and how many of these failed."""
    failed = sum(counted.get(state, 0) for state in FAILED)
    return [failed + counted.get("succeeded", 0), failed]


def message(job: Job) -> Told:
    """Say where a job stands, as its fleet's group is told."""
    return {
        "type": "fleet.job",
        "fleet": job.fleet.slug,
        "job": job.pk,
        "name": job.name,
        "state": job.state,
        "because": job.because,
        "total": job.total,
        "issued": job.issued,
        "counts": job.counts,
        "at": job.changed_at,
    }
