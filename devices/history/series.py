"""Series: one metric over a range of time in at most so many points, from the roll-ups or the journal. Always exact.

What is not rolled yet is read from the journal. The least and the largest reading are in the answer however wide it is.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from devices.errors import Refusal
from devices.history import archive, buckets, repairs
from devices.history.buckets import Bucket
from devices.models import Frame, Metric, Rolled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devices.models import Device
    from devices.values import Value

# What is read for one answer: each about a tenth of a second.
MAX_FRAMES: Final = 50_000
MAX_ROLLUPS: Final = 15_000

# Metrics named to whoever asks for one that is not there.
_NAMED: Final = 20

# ts (of the bucket's start, or of the reading itself), min, avg, max, how many readings, the last of them.
Point: TypeAlias = tuple[int, float | None, float | None, float | None, int, "Value"]


class Series(msgspec.Struct):
    """A metric's answer. [start, end) is what was asked for, widened to whole buckets.

    step   length of a bucket in ms; None: each point is a reading
    tier   what it was made of: raw (the journal), minute, hour or day
    """

    metric: str
    unit: str
    start: int
    end: int
    step: int | None
    tier: str
    points: list[Point]


def series(device: Device, metric: str, start: int, end: int, points: int) -> Series:
    """Return the readings of a metric in [start, end) (ms) in at most `points` points. Empty buckets are left out."""
    unit = _unit(device, metric)
    with archive.snapshot():
        return _Asked(device.pk, metric, start, end, points).answer(unit)


def _unit(device: Device, metric: str) -> str:
    metrics = Metric.objects.filter(device=device)
    # PostgreSQL cannot be asked for a NUL.
    units = [] if "\0" in metric else metrics.filter(name=metric).values_list("unit", flat=True)
    for unit in units:
        return unit
    names = list(metrics.order_by("name").values_list("name", flat=True)[: _NAMED + 1])
    more = " and others" if len(names) > _NAMED else ""
    known = ", ".join(names[:_NAMED]) or "none yet"
    raise Refusal("metric_unknown", f"{device} has no metric {metric!r}; it has {known}{more}.", 404)


class _Asked:
    """What was asked for, and the way to its answer at one moment of the database."""

    def __init__(self, device_pk: int, metric: str, start: int, end: int, points: int) -> None:
        self.pk, self.metric, self.start, self.end, self.points = device_pk, metric, start, end, points
        self.rolled = Rolled.objects.filter(pk=device_pk).first() or Rolled(device_id=device_pk)

    def answer(self, unit: str) -> Series:
        if self._is_whole() and self._frames(self.points) <= self.points:
            return self._each(unit)
        width = self._width()
        tier = buckets.tier_of(width)
        start, end = self.start - self.start % width, self.end + -self.end % width
        found = self._journal(start, end, width) if tier == "raw" else self._rolled(start, end, width)
        if self._is_whole() and self._are_few(found) and self._is_readable:
            each = self._each(unit)
            # What was taken for good again is in the journal at once, and in the roll-ups later.
            if len(each.points) <= self.points:
                return each
        rows = [_point(ts, found[ts]) for ts in sorted(found)]
        return Series(self.metric, unit, start, end, width, tier, rows)

    def _is_whole(self) -> bool:
        """Whether the journal has all of the range."""
        return self.rolled.raw_from <= self.start

    def _are_few(self, found: dict[int, Bucket]) -> bool:
        """Whether there is no need for buckets: the metric comes seldom, in a device's frames about others."""
        return sum(bucket.n + bucket.texts for bucket in found.values()) <= self.points

    @cached_property
    def _is_readable(self) -> bool:
        return self._frames(MAX_FRAMES) <= MAX_FRAMES

    def _frames(self, enough: int) -> int:
        """Count the frames in the range, up to one more than enough."""
        frames = Frame.objects.filter(device_id=self.pk, ts__gte=self.start, ts__lt=self.end)
        return frames.values("ts")[: enough + 1].count()

    def _width(self) -> int:
        """Choose the narrowest width of which what it is made of is kept, and not too much to read."""
        best, reach = 0, buckets.FOREVER
        for width in buckets.widths(self.start, self.end, self.points):
            tier = buckets.tier_of(width)
            whole_from: int = getattr(self.rolled, f"{tier}_from")
            if not self._is_affordable(tier):
                continue
            if whole_from <= self.start - self.start % width:
                return width
            if whole_from < reach:
                best, reach = width, whole_from
        return best

    def _is_affordable(self, tier: str) -> bool:
        if tier == "raw":
            return self._is_readable
        return tier == "day" or (self.end - self.start) // buckets.TIERS[tier] <= MAX_ROLLUPS

    def _each(self, unit: str) -> Series:
        rows = [_point(ts, buckets.of(value, 0)) for ts, value in self._good(self.start, self.end)]
        return Series(self.metric, unit, self.start, self.end, None, "raw", rows)

    def _journal(self, start: int, end: int, width: int) -> dict[int, Bucket]:
        found: dict[int, Bucket] = {}
        self._fold(found, width, self._good(start, end))
        return found

    def _rolled(self, start: int, end: int, width: int) -> dict[int, Bucket]:
        tier = buckets.tier_of(width)
        found: dict[int, Bucket] = {}
        for ts, bucket in archive.rolled(self.pk, buckets.TIERS[tier], self.metric, start, end):
            into = ts - ts % width
            bucket.at += ts - into
            if into in found:
                found[into].merge(bucket)
            else:
                found[into] = bucket
        # Of what was pruned, a late frame must not stand for the whole.
        start = max(start, getattr(self.rolled, f"{tier}_from"))
        self._fold(found, width, self._good(start, end, self.rolled.seq))
        return found

    def _fold(self, found: dict[int, Bucket], width: int, readings: Iterable[tuple[int, Value]]) -> None:
        for ts, value in readings:
            into = ts - ts % width
            bucket = found.get(into)
            if bucket is None:
                found[into] = buckets.of(value, ts - into)
            else:
                bucket.add(value, ts - into)

    def _good(self, start: int, end: int, behind: int = 0) -> Iterable[tuple[int, Value]]:
        """Read of the journal, behind a seq, what happened in [start, end) and is not marked as bad."""
        readings = archive.readings(self.pk, self.metric, start, end, behind)
        # Each is looked at for each reading: those of other times would cost a tenth of a second.
        marked = repairs.of(self.pk, start, end)
        bad = [(since, until) for names, since, until in marked if names is None or self.metric in names]
        if not bad:
            return readings
        return ((ts, value) for ts, value in readings if not any(since <= ts < until for since, until in bad))


def _point(ts: int, bucket: Bucket) -> Point:
    _, low, high = bucket.whole or (None, None, None)
    return ts, low, bucket.avg, high, bucket.n + bucket.texts, bucket.last
