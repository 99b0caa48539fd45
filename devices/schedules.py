"""Schedules: jobs that start by themselves, once or by a line of cron in a time zone. Each time is a Run.

Its job is made while the command could still be carried out: at most `ttl_s` after it was due. What was missed is not
made up for, and is told (docs/adr/0030-missed-runs.md).
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from django.db import transaction

from devices import audit, jobs, registry
from devices.errors import Refusal
from devices.models import Job, Role, Run, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django.contrib.auth.models import User
    from django.db.models import QuerySet

FIELDS: Final = 5
MAX_TITLE: Final = 128
MAX_CRON: Final = 64
# Of the times that were missed in one go so many are told one by one; those before them in one line.
TOLD: Final = 100
# Runs of a schedule that are kept.
KEPT: Final = 1_000
LONGEST: Final = 200
NOBODY_THERE: Final = "The hub was not there until a later time was due."
EXAMPLE: Final = "`0 6 * * 1-5` is six o'clock on working days"


# --- when


def check_cron(cron: str, zone: str) -> None:
    """Refuse a line that is none of cron, or a zone that there is not, and show one that is."""
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        message = f"There is no time zone {zone[:63]!r}; they are called like Europe/Berlin, or UTC."
        raise Refusal("invalid", message, fields={"zone": "is not known"}) from None
    if wrong := _wrong_with(cron):
        message = (
            f"The line {cron[:MAX_CRON]!r} cannot be used: {wrong}. Its fields are minute, hour, day of month, month, "
            f"day of week; {EXAMPLE}."
        )
        raise Refusal("invalid", message, fields={"cron": wrong})


def _wrong_with(cron: str) -> str:
    if len(cron) > MAX_CRON:
        return f"it has more than {MAX_CRON} characters"
    if len(cron.split()) != FIELDS:
        return f"it has {len(cron.split())} fields, and not {FIELDS}"
    try:
        never = next(CronSim(cron, datetime.now(UTC)), None) is None
    except CronSimError as error:
        return str(error).lower()
    return "it is never due" if never else ""


def next_of(cron: str, zone: str, after: int) -> int | None:
    """Return when a line of cron is due next after this (ms); None: never."""
    return next((at for at in _times(cron, zone, after) if at > after), None)


def _times(cron: str, zone: str, start: int, *, backwards: bool = False) -> Iterator[int]:
    there = datetime.fromtimestamp(start / 1000, ZoneInfo(zone))
    for at in CronSim(cron, there, reverse=backwards):
        yield round(at.timestamp() * 1000)


def _due(schedule: Schedule, now: int) -> list[int]:
    """Return the times at which a schedule was due since it was looked at: the newest first, at most TOLD + 2."""
    first = schedule.next_at
    assert first is not None
    if not schedule.cron:
        return [first]
    newer = takewhile(lambda at: at > first, _times(schedule.cron, schedule.zone, now + 1, backwards=True))
    return [*islice(newer, TOLD + 1), first]


# --- what people do


def visible_to(user: User) -> QuerySet[Schedule]:
    """Return the schedules that the user may see: those of fleets that they see all of."""
    rows = Schedule.objects.filter(fleet__in=registry.whole_fleets_of(user).values("pk"))
    return rows.select_related("fleet", "user")


def find(user: User, pk: int, role: Role = Role.VIEWER) -> Schedule:
    """Return one schedule; refuses alike what does not exist and what may not be seen (404), then the role (403)."""
    schedule = visible_to(user).filter(pk=pk).first()
    if schedule is None:
        raise Refusal("schedule_unknown", f"There is no schedule {pk}, or you may not see it.", 404)
    if role is not Role.VIEWER:
        registry.find_whole_fleet(user, schedule.fleet.slug, role)
    return schedule


def make(  # noqa: PLR0913  what and when
    asked: jobs.Asked,
    user: User,
    now: int,
    *,
    title: str = "",
    at: int | None = None,
    cron: str | None = None,
    zone: str = "UTC",
) -> Schedule:
    """Make a schedule: `at` once (ms), or by a line of cron. Devices are asked now, though they are selected later."""
    if (at is None) == (cron is None):
        message = f"Say when, by `at` (ms, once) or by `cron`: {EXAMPLE}."
        raise Refusal("invalid", message, fields={"at": "or cron is needed", "cron": "or at is needed"})
    if at is not None and at <= now:
        raise Refusal("invalid", "`at` is in the past; it must be a time to come (ms).", fields={"at": "is past"})
    if cron is not None:
        check_cron(cron, zone)
    planned = jobs.plan(asked, user)
    jobs.check(asked, planned)
    with transaction.atomic():
        schedule = Schedule.objects.create(
            title=title[:MAX_TITLE],
            cron=cron or "",
            zone=zone if cron else "UTC",
            next_at=next_of(cron, zone, now) if cron else at,
            user=user,
            created_at=now,
            **asked.columns() | {"ttl_s": planned.ttl_s},
        )
        _note("schedule.made", schedule, {"selection": asked.selection, "reason": asked.reason})
    return schedule


def change(schedule: Schedule, user: User, now: int, *, title: str | None, enabled: bool | None) -> Schedule:
    """Rename it, stop it for a while, or have it go on: from now, and in the name of whoever has it go on."""
    with transaction.atomic():
        row = Schedule.objects.select_for_update(of=("self",)).select_related("fleet", "user").get(pk=schedule.pk)
        before = {"title": row.title, "enabled": row.enabled}
        row.title = row.title if title is None else title
        if enabled is not None:
            row.enabled = enabled
        if enabled and not before["enabled"]:
            _go_on(row, user, now)
        row.save()
        moved = {name: [old, getattr(row, name)] for name, old in before.items() if old != getattr(row, name)}
        if moved:
            _note("schedule.changed", row, moved)
    return row


def _go_on(schedule: Schedule, user: User, now: int) -> None:
    """Be due again, from now on."""
    if schedule.cron:
        schedule.next_at = next_of(schedule.cron, schedule.zone, now)
    elif schedule.next_at is None or schedule.next_at <= now:
        raise Refusal("too_late", "Its time is past; make another one.", 409)
    schedule.user = user


def remove(schedule: Schedule) -> None:
    """Delete a schedule with the list of its runs; the jobs that it made stay."""
    with transaction.atomic():
        _note("schedule.removed", schedule, {})
        schedule.delete()


def _note(action: str, schedule: Schedule, detail: Mapping[str, object]) -> None:
    said = {"name": schedule.name, "when": schedule.cron or "once", "schedule": schedule.pk, **detail}
    audit.note(action, str(schedule), said, fleet=schedule.fleet)


# --- what the sweep does


def sweep(now: int) -> int:
    """Start the jobs that are due; return how many schedules were."""
    due = Schedule.objects.filter(enabled=True, next_at__lte=now).order_by("next_at")
    return sum(_run(pk, now) for pk in list(due.values_list("pk", flat=True)))


def _run(pk: int, now: int) -> bool:
    """Start the job of one schedule, or note why not; False: another bridge does it in this moment."""
    with transaction.atomic():
        rows = Schedule.objects.select_for_update(of=("self",), no_key=True, skip_locked=True)
        schedule = rows.select_related("fleet", "user").filter(pk=pk, enabled=True, next_at__lte=now).first()
        if schedule is None:
            return False
        newest, *older = _due(schedule, now)
        job, why = _started(schedule, newest, now)
        runs = [Run(schedule=schedule, due_at=newest, job=job, missed=why[:LONGEST])]
        runs += [Run(schedule=schedule, due_at=at, missed=NOBODY_THERE) for at in older[:TOLD]]
        for first in older[TOLD:]:
            last = _told(older[TOLD - 1], schedule.zone)
            runs.append(
                Run(schedule=schedule, due_at=first, missed=f"{NOBODY_THERE} So it was each time until {last}.")
            )
        Run.objects.bulk_create(runs)
        _forget(schedule)
        schedule.next_at = next_of(schedule.cron, schedule.zone, now) if schedule.cron else None
        schedule.save(update_fields=["next_at"])
    return True


def _started(schedule: Schedule, due_at: int, now: int) -> tuple[Job | None, str]:
    """Start the job of a time; return it, or why it cannot be."""
    late_s = (now - due_at) // 1000
    if late_s > schedule.ttl_s:
        return None, f"The hub was not there until {late_s} s after it; its command is good for {schedule.ttl_s} s."
    if barred := jobs.barred(schedule.user, schedule.fleet):
        return None, f"{barred}; an operator can turn it off and on again, in their own name."
    assert schedule.user is not None
    try:
        with transaction.atomic(), audit.acting(audit.person(schedule.user, f"schedule {schedule.pk}")):
            job, _ = jobs.start(jobs.Asked.by(schedule), schedule.user, now)
    except Refusal as refusal:
        return None, refusal.message
    return job, ""


def _forget(schedule: Schedule) -> None:
    kept = schedule.runs.order_by("-due_at").values_list("due_at", flat=True)[KEPT - 1 : KEPT]
    for oldest in kept:
        schedule.runs.filter(due_at__lt=oldest).delete()


def _told(at: int, zone: str) -> str:
    return f"{datetime.fromtimestamp(at / 1000, ZoneInfo(zone)):%Y-%m-%d %H:%M}"
