"""Jobs go on: the next devices get their command, those that answered are counted, stages end, limits stop.

`step` is called each second by every bridge. It finds in the rows all that it needs, and locks those of the jobs that
it takes a step further: whoever comes at the same time passes them over; whoever is killed leaves no half of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import F, Q

from devices import audit, commands, registry
from devices.commands import log
from devices.errors import Refusal
from devices.groups import announce_on_commit
from devices.jobs import counting, pace
from devices.jobs.starting import barred
from devices.models import Command, Job, Role, Target

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.contrib.auth.models import User

# Commands in one step, of all jobs together: their devices' heads are locked while it commits.
BUDGET: Final = 500
# A job is counted, and told, at most twice a second.
TELL_MS: Final = 500
LONGEST: Final = 200
# A share of few says little: the limit is judged once so many are closed, or all that have their command.
LEAST: Final = 10
NOTHING_FORGIVEN: Final = (0, 0)


def step(now: int, since: int = 0) -> bool:
    """Take all jobs that are at work a step further; return whether there is more to do at once.

    since  commands that changed before this (ms) were counted already; 0: count all
    """
    moved = _moved(since) if since else None
    if not moved and not Job.objects.filter(state="running").exists():
        return False  # without a transaction, which takes the lock that SQLite has one of
    with transaction.atomic():
        jobs = list(_locked(moved))
        wanted = [_allowed(job, now) for job in jobs]
        given = pace.shares(wanted, BUDGET)
        for job, count in zip(jobs, given, strict=True):
            before = job.state
            if count:
                _issue(job, count, now)
            news = count or moved is None or job.pk in moved
            if job.state != before or (news and now - job.changed_at >= TELL_MS):
                _look(job, now)
    return wanted != given


def _moved(since: int) -> Collection[str]:
    rows = Target.objects.filter(command__changed_at__gte=since)
    return set(rows.order_by().values_list("job", flat=True).distinct())


def _locked(moved: Collection[str] | None) -> list[Job]:
    """Lock the jobs that are at work, and those of which a late answer came; whoever waited longest is the first."""
    rows = Job.objects.select_for_update(of=("self",), no_key=True, skip_locked=True)
    rows = rows.filter(Q(state="running") | Q(pk__in=moved or ())).select_related("fleet", "user")
    return list(rows.order_by(F("issued_at").asc(nulls_first=True), "pk"))


# --- giving commands


def _end(job: Job) -> int:
    return pace.stage_end(job.total, job.stages, job.stage)


def _allowed(job: Job, now: int) -> int:
    if job.state != "running":
        return 0
    return pace.allowed(max(0, _end(job) - job.issued), job.rate, job.issued_at, now)


def _issue(job: Job, count: int, now: int) -> None:
    """Give the next devices their command; the job stops when whoever answers for it may not command any more."""
    if (why := barred(job.user, job.fleet)) or job.user is None:
        _stop(job, f"{why}; an operator can resume it in their own name")
        return
    rows = job.targets.filter(position__gte=job.issued, position__lt=_end(job), refused="", device__isnull=False)
    targets = list(rows[:count])
    given = _given(job, job.user, targets, now)
    for target in targets:
        one = given.get(target.device_id, f"It is not in the fleet {job.fleet} any more, or hidden from {job.user}.")
        if isinstance(one, Command):
            target.command = one
        else:
            target.refused = str(one)[:LONGEST]
    Target.objects.bulk_update(targets, ["command", "refused"])
    job.issued = targets[-1].position + 1 if len(targets) == count else _end(job)
    job.issued_at = pace.used(len(targets), job.rate, job.issued_at, now)
    job.save(update_fields=["issued", "issued_at"])


def _given(job: Job, user: User, targets: list[Target], now: int) -> dict[int | None, Command | Refusal]:
    """Return what each device (by row id) got, of those that are still this fleet's and this user's to command."""
    rows = registry.visible_to(user, Role.OPERATOR).filter(fleet=job.fleet_id)
    devices = list(rows.filter(pk__in=[target.device_id for target in targets]))
    given = commands.issue_many(
        devices,
        job.name,
        job.args,
        user=user,
        now=now,
        ttl_s=job.ttl_s,
        reason=job.reason,
        confirmed=job.confirmed,
    )
    return {device.pk: one for device, one in zip(devices, given, strict=True)}


# --- counting, judging, telling


def _look(job: Job, now: int) -> None:
    """Count, draw the conclusion, and tell it, if anything is new."""
    before = (job.state, job.stage, job.counts)
    counted = counting.counts(job)
    if job.state == "running":
        _judge(job, counted)
    job.counts = counted
    if before != (job.state, job.stage, job.counts):
        _tell(job, now)


def _judge(job: Job, counted: dict[str, int]) -> None:
    """Stop a job whose limit is passed, end a stage, or the job, when all of its devices are closed."""
    waiting = counting.open_of(counted)
    closed, failed = (
        max(0, one - forgiven)
        for one, forgiven in zip(counting.judged(counted), job.forgiven or NOTHING_FORGIVEN, strict=True)
    )
    known = closed >= LEAST or not waiting
    if job.limit is not None and known and failed * 100 > job.limit * closed:
        _stop(job, f"{failed} of {closed} failed, the limit is {job.limit} %")
    elif job.issued >= _end(job) and not waiting:
        if job.issued >= job.total:
            job.state = "done"
        else:
            job.stage += 1


def _stop(job: Job, because: str) -> None:
    job.state, job.because = "stopped", because[:LONGEST]
    _note("job.stopped", job, {"because": job.because}, audit.THE_HUB)


def _tell(job: Job, now: int) -> None:
    """Store where a job stands, and ring."""
    job.changed_at = max(now, job.changed_at + 1)
    job.save()
    announce_on_commit(counting.message(job))


def _note(action: str, job: Job, detail: dict[str, str], actor: audit.Actor | None = None) -> None:
    audit.note(action, job.pk, {"name": job.name} | detail, fleet=job.fleet, actor=actor)


# --- what people do


def stop(job: Job, user: User, now: int) -> Job:
    """Give no more commands until it is resumed; those that were given go on. A job that is stopped stays so."""
    with transaction.atomic():
        job = _taken(job, "stop", "running", "stopped")
        if job.state == "running":
            job.state, job.because = "stopped", f"{user} stopped it"
            job.counts = counting.counts(job)
            _note("job.stopped", job, {"because": job.because})
            _tell(job, now)
    return job


def resume(job: Job, user: User, now: int) -> Job:
    """Go on, in the name of whoever resumes it. The limit is judged by what comes from now on."""
    with transaction.atomic():
        job = _taken(job, "resume", "stopped", "running")
        if job.state == "stopped":
            job.counts = counting.counts(job)
            job.state, job.because, job.user = "running", "", user
            job.forgiven, job.issued_at = counting.judged(job.counts), None
            _note("job.resumed", job, {})
            _tell(job, now)
    return job


def cancel(job: Job, user: User, now: int) -> Job:
    """Give no more commands for good, and take back those that nobody has sent yet."""
    with transaction.atomic():
        job = _taken(job, "cancel", "running", "stopped", "cancelled")
        if job.state != "cancelled":
            unsent = Command.objects.filter(target__job=job, state="queued", claimed_at=None)
            while log.move(unsent, "cancelled", now, "cancelled before it was sent", str(user)):
                pass
            job.state, job.because = "cancelled", f"{user} cancelled it"
            job.counts = counting.counts(job)
            _note("job.cancelled", job, {})
            _tell(job, now)
    return job


def _taken(job: Job, verb: str, *states: str) -> Job:
    """Lock a job for somebody's change, or refuse that as too late."""
    rows = Job.objects.select_for_update(of=("self",), no_key=True).select_related("fleet", "user")
    row = rows.get(pk=job.pk)
    if row.state not in states:
        raise Refusal("too_late", f"It is {row.state} already; there is nothing to {verb} any more.", 409)
    return row
