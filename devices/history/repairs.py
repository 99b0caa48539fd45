"""Repairs: ranges of a device's readings that somebody marked as bad. The journal itself is never changed.

Whoever makes something of readings asks `of` and leaves out what is `struck`; the roll-ups are built again (rollups).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import transaction

from devices import audit
from devices.errors import Refusal, device_unknown
from devices.models import Device, Event, Metric, Repair, Rolled
from devices.values import DAY_MS, EARLIEST_MS, MAX_COUNTER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django.contrib.auth.models import User
    from django.db.models import QuerySet

MAX_REASON: Final = 200
# Each is looked at for every frame that is read: so many on one device are a program's doing, not a person's.
MAX_MARKED: Final = 1000


class Range(NamedTuple):
    """Readings of these metrics (None: of all) that happened from `start` until before `end` (ms)."""

    metrics: frozenset[str] | None
    start: int
    end: int


def mark(device: Device, bad: Range, reason: str, user: User | None, now: int) -> Repair:
    """Mark readings as bad; `reason` says why, for ever."""
    reason = reason.strip()
    _check(device, bad, reason)
    with transaction.atomic():
        _still_whole(device, bad.start)
        if Repair.objects.filter(device=device, undone_at=None).count() >= MAX_MARKED:
            raise Refusal("too_many", f"{device} has {MAX_MARKED} repairs; undo some, or mark longer ranges.", 409)
        names = None if bad.metrics is None else sorted(bad.metrics)
        repair = Repair.objects.create(
            device=device, metrics=names, start=bad.start, end=bad.end, reason=reason, user=user, at=now
        )
        _happened(repair, f"{_named(repair)} marked as bad by {user or 'the hub'}: {reason}", now)
        what = {"what": _named(repair), "reason": reason}
        audit.note("readings.marked_bad", device.key, what, fleet=device.fleet)
    return repair


def undo(repair: Repair, user: User | None, now: int) -> None:
    """Take the readings for good again. The row stays, with who undid it and when."""
    with transaction.atomic():
        _still_whole(repair.device, repair.start)
        rows = Repair.objects.filter(pk=repair.pk, undone_at=None)
        if rows.update(undone_at=now, undone_by=user, rebuilt=False, rebuilt_to=0) != 1:
            raise Refusal("conflict", "This repair was undone before; its readings are taken for good again.", 409)
        _happened(repair, f"{_named(repair)} taken for good again by {user or 'the hub'}", now)
        device = repair.device
        audit.note("readings.taken_for_good", device.key, {"what": _named(repair)}, fleet=device.fleet)
    repair.refresh_from_db()


def find(device: Device, pk: int) -> Repair:
    """Return one repair of a device."""
    # No database has a key that long; SQLite cannot even be asked for it.
    repair = listed(device).filter(pk=pk).first() if pk <= MAX_COUNTER else None
    if repair is None:
        raise Refusal("repair_unknown", f"{device} has no repair {pk}.", 404)
    return repair


def of(device_pk: int, start: int, end: int) -> list[Range]:
    """Return what is marked as bad somewhere in [start, end), and not undone."""
    rows = Repair.objects.filter(device_id=device_pk, undone_at=None, start__lt=end, end__gt=start)
    found = rows.order_by("start", "pk").values_list("metrics", "start", "end")
    return [Range(None if names is None else frozenset(names), since, until) for names, since, until in found]


def listed(device: Device) -> QuerySet[Repair]:
    """Select a device's repairs, the newest first, those that were undone too."""
    return Repair.objects.filter(device=device).select_related("user", "undone_by").order_by("-at", "-pk")


def struck(ranges: Iterable[Range], ts: int, names: Collection[str]) -> set[str]:
    """Return which of these metrics' readings at `ts` are marked as bad."""
    bad: set[str] = set()
    for each in ranges:
        if each.start <= ts < each.end:
            bad.update(names if each.metrics is None else each.metrics.intersection(names))
    return bad


def _check(device: Device, bad: Range, reason: str) -> None:
    if not reason or len(reason) > MAX_REASON:
        message = f"Say in at most {MAX_REASON} characters why these readings are bad: it is kept with them for ever."
        raise Refusal("invalid", message, fields={"reason": f"must have 1 to {MAX_REASON} characters"})
    if not EARLIEST_MS <= bad.start < bad.end <= MAX_COUNTER:
        message = "The range must begin in 2020 or later, and end after it begins."
        raise Refusal("invalid", message, fields={"to": "must be later than from"})
    if bad.metrics is not None:
        _check_names(device, bad.metrics)


def _check_names(device: Device, names: frozenset[str]) -> None:
    known = set(Metric.objects.filter(device=device).values_list("name", flat=True))
    unknown = sorted(names - known)
    if not names or unknown:
        problem = f"has no metric {unknown[0]!r}" if unknown else "has metrics, and none of them is named"
        message = f"{device} {problem}; name some of {', '.join(sorted(known)) or 'what it will have sent'}."
        raise Refusal("invalid", message, fields={"metrics": "must name metrics of the device"})


def _still_whole(device: Device, start: int) -> None:
    """Refuse what the roll-ups could not follow: they are built from whole days of the journal."""
    Rolled.objects.get_or_create(device=device)
    # Held until the row is written: whoever prunes finds it, or has pruned before.
    rolled = Rolled.objects.select_for_update().filter(pk=device.pk).first()
    if rolled is None:
        raise device_unknown(device.key)  # it was deleted in this moment
    if rolled.raw_from > start - start % DAY_MS:
        message = "Frames of that day are not kept any more (keep_raw), so that its history could not be computed anew."
        raise Refusal("too_old", message, 409, {"from": "is on a day of which frames were deleted"})


def _named(repair: Repair) -> str:
    """Name what is marked as people do; cut, so that the reason has room beside it."""
    if repair.metrics is None:
        return "all readings of a range"
    names = ", ".join(repair.metrics)
    return f"{names if len(names) <= 60 else f'{len(repair.metrics)} metrics'} in a range"  # noqa: PLR2004


def _happened(repair: Repair, because: str, now: int) -> None:
    Event.objects.create(device_id=repair.device_id, at=now, kind="repair", because=because[:200])
