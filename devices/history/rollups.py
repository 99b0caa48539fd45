"""Roll-ups: the journal told in minutes, hours and days. They follow it a bounded step at a time, each frame once.

How far they are is `Rolled.seq`, which moves in the transaction that writes the roll-ups. A late frame is a frame like
any other: it goes into the buckets of its own ts.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, Count, F, Sum
from django.db.models.functions import Coalesce

from devices.history import archive, buckets, repairs
from devices.history.buckets import TIERS, Buckets, Timeline
from devices.models import Frame, Head, Metric, Repair, Rolled, Rollup
from devices.values import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from django.db.models import QuerySet

    from devices.values import Value

# Frames of one device in one step, if others wait: one that has much behind it must not hold them.
SHARE: Final = 100
# Devices in one step.
MANY: Final = 500
# Metrics of a plain frame. One of a device that has ten times as many is counted as ten.
PLAIN: Final = 20


def roll(limit: int) -> int:
    """Take about as much as `limit` plain frames into the roll-ups, from where most is behind; return how many frames.

    Several may do this at once: who is at a device's frames holds its row in Rolled, and others pass it by.
    """
    behind = _behind(min(limit, MANY))
    share = max(SHARE, limit // max(1, len(behind)))
    chosen = _enough(behind, share, limit)
    new = [Rolled(device_id=pk) for pk in sorted(chosen) if not chosen[pk].begun]
    try:
        # In a transaction of its own: whoever waits for another's row of the same key holds none meanwhile.
        Rolled.objects.bulk_create(new, ignore_conflicts=True)
        with transaction.atomic():
            return _roll({pk: one.seq for pk, one in chosen.items()}, share, limit)
    except IntegrityError:
        return 0  # one of them was deleted meanwhile


class _Behind(NamedTuple):
    """A device's head, how many frames are behind its roll-ups, and whether it has any."""

    seq: int
    frames: int
    begun: bool


def waiting() -> int:
    """Return how many frames are not in the roll-ups yet."""
    found: int | None = _late().aggregate(Sum("behind"))["behind__sum"]
    return found or 0


def _late() -> Any:  # noqa: ANN401  heads with `behind`, which the types of querysets cannot tell
    rolled = Coalesce(F("device__rolled__seq"), 0, output_field=BigIntegerField())
    return Head.objects.annotate(behind=F("seq") - rolled).filter(behind__gt=0)


def _behind(limit: int) -> dict[int, _Behind]:
    """Return the devices that have frames behind their roll-ups, the most first."""
    found = _late().order_by("-behind", "pk").values_list("pk", "seq", "behind", "device__rolled")[:limit]
    return {pk: _Behind(seq, frames, row is not None) for pk, seq, frames, row in found}


def _enough(behind: Mapping[int, _Behind], share: int, limit: int) -> dict[int, _Behind]:
    """Return the first that have `limit` frames together, of which each gives its share: the others wait unlocked."""
    chosen, frames = {}, 0
    for pk, one in behind.items():
        if frames >= limit:
            break
        chosen[pk] = one
        frames += min(share, one.frames)
    return chosen


def _roll(heads: Mapping[int, int], share: int, limit: int) -> int:
    spans: list[archive.Span] = []
    left = limit
    mine = {row.device_id: row for row in lock(heads)}
    weights = _weights(mine)
    for pk in (pk for pk in heads if pk in mine):
        weight, row = weights.get(pk, 1), mine[pk]
        upto = min(heads[pk], row.seq + max(1, min(share, left) // weight))
        if left > 0 and upto > row.seq:
            spans.append((pk, row.seq, upto))
            left -= (upto - row.seq) * weight
            row.seq = upto
    _merge(_folded(spans), mine)
    Rolled.objects.bulk_update([mine[pk] for pk, _, _ in spans], ["seq"])
    return sum(upto - after for _, after, upto in spans)


def _weights(devices: Iterable[int]) -> dict[int, int]:
    """Return for how many plain frames one of each device's may count."""
    counted = Metric.objects.filter(device__in=list(devices)).values_list("device").annotate(Count("pk"))
    return {pk: max(1, count // PLAIN) for pk, count in counted}


def lock(devices: Iterable[int]) -> list[Rolled]:
    """Lock these devices' rows, but those that another has locked."""
    # SQLite has one writer at a time anyway.
    return list(Rolled.objects.select_for_update(skip_locked=True).filter(pk__in=list(devices)).order_by("pk"))


def _folded(spans: list[archive.Span]) -> dict[int, Timeline]:
    """Return the minutes of each device that these frames make, without what was marked as bad."""
    bad = _marked([pk for pk, _, _ in spans])
    minutes: defaultdict[int, Timeline] = defaultdict(dict)
    for pk, ts, values in archive.behind(spans):
        buckets.fold(minutes[pk], buckets.MINUTE_MS, ts, good(bad.get(pk, []), ts, values))
    return minutes


def _marked(devices: list[int]) -> dict[int, list[repairs.Range]]:
    """Return what is marked as bad of each of these devices that has such."""
    marked = Repair.objects.filter(device_id__in=devices, undone_at=None).values_list("device_id", flat=True).distinct()
    return {pk: repairs.of(pk, 0, buckets.FOREVER) for pk in marked}


def good(ranges: list[repairs.Range], ts: int, values: dict[str, Value]) -> dict[str, Value]:
    """Return the readings of one instant that are not marked as bad."""
    bad = repairs.struck(ranges, ts, values) if ranges else ()
    return {name: value for name, value in values.items() if name not in bad} if bad else values


def _merge(minutes: Mapping[int, Timeline], rolled: Mapping[int, Rolled]) -> None:
    """Add these minutes to all tiers."""
    new: dict[archive.RollupKey, Buckets] = {}
    for pk, timeline in minutes.items():
        for name, tier, found in _tiers(timeline):
            # What was pruned must not come back as a part of itself.
            whole_from = getattr(rolled[pk], f"{name}_from")
            new.update({(pk, tier, ts): each for ts, each in found.items() if each and ts >= whole_from})
    for key, text in archive.rollups(list(new)):
        old = buckets.read(text)
        buckets.merge(old, new[key])
        new[key] = old
    archive.put_rollups([(*key, buckets.text_of(found)) for key, found in new.items()])


def _tiers(minutes: Timeline) -> Iterator[tuple[str, int, Timeline]]:
    timeline = minutes
    for name, tier in TIERS.items():
        timeline = buckets.coarser(timeline, tier) if tier > buckets.MINUTE_MS else timeline
        yield name, tier, timeline


def rebuild(limit: int) -> int:
    """Compute anew roll-ups of readings that were marked as bad, or taken for good again; return whether it did (> 0).

    A step takes about `limit` frames of one repair: of whole minutes, and so more when one minute has more.
    """
    waiting = Repair.objects.filter(rebuilt=False).order_by("pk").first()
    if waiting is None:
        return 0
    with transaction.atomic():
        rolled = next(iter(lock([waiting.device_id])), None)
        # Whoever undoes it meanwhile waits until this step is written, and has all of it done again.
        repair = Repair.objects.select_for_update().filter(pk=waiting.pk, rebuilt=False).first()
        if repair is None:
            return 1  # it was undone and rebuilt, or deleted with its device: look for the next
        if rolled is None:
            return _nothing_rolled(repair)
        return _Rebuilding(repair, rolled, limit).step()


def _nothing_rolled(repair: Repair) -> int:
    """There is nothing to rebuild where nothing was rolled; otherwise another is at this device's roll-ups."""
    return 0 if Rolled.objects.filter(pk=repair.device_id).exists() else _done(repair)


def _done(repair: Repair) -> int:
    repair.rebuilt, repair.rebuilt_to = True, 0
    repair.save(update_fields=["rebuilt", "rebuilt_to"])
    return 1


class _Rebuilding:
    """A step of a repair: minutes from the journal, hours and days from the tier below, or from the journal too."""

    def __init__(self, repair: Repair, rolled: Rolled, limit: int) -> None:
        self.repair, self.rolled, self.limit = repair, rolled, limit
        self.bad = repairs.of(repair.device_id, 0, buckets.FOREVER)

    def step(self) -> int:
        # Repairs are taken for days of which the journal is whole. What was pruned meanwhile stays as it was rolled.
        whole_from = _up(self.rolled.raw_from, DAY_MS)
        start = _down(max(self.repair.start, self.repair.rebuilt_to, whole_from), buckets.MINUTE_MS)
        if start >= self.repair.end:
            return _done(self.repair)
        end = _up(self.repair.end, buckets.MINUTE_MS)
        frames = list(self._frames(start, end)[: self.limit + 1])
        if len(frames) > self.limit:
            end = max(start + buckets.MINUTE_MS, _down(frames[-1][0], buckets.MINUTE_MS))
            frames = list(self._frames(start, end))
        self._put("minute", start, end, self._minutes(frames))
        for below, name in pairwise(TIERS):
            first, last = _down(start, TIERS[name]), _up(end, TIERS[name])
            self._put(name, first, last, buckets.coarser(self._below(below, first, last), TIERS[name]))
        if end >= self.repair.end:
            return len(frames) + _done(self.repair)
        self.repair.rebuilt_to = end
        self.repair.save(update_fields=["rebuilt_to"])
        return len(frames)

    def _frames(self, start: int, end: int) -> QuerySet[Frame, tuple[int, dict[str, Value]]]:
        frames = Frame.objects.filter(device_id=self.rolled.device_id, seq__lte=self.rolled.seq)
        return frames.filter(ts__gte=start, ts__lt=end).order_by("ts", "seq").values_list("ts", "values")

    def _minutes(self, frames: Iterable[tuple[int, dict[str, Value]]]) -> Timeline:
        minutes: Timeline = {}
        for ts, values in frames:
            buckets.fold(minutes, buckets.MINUTE_MS, ts, good(self.bad, ts, values))
        return minutes

    def _below(self, tier: str, start: int, end: int) -> Timeline:
        if getattr(self.rolled, f"{tier}_from") > start:
            return self._minutes(self._frames(start, end).iterator())
        rows = self._rollups(tier, start, end).order_by("ts").values_list("ts", "values")
        return {ts: buckets.of_object(values) for ts, values in rows.iterator()}

    def _rollups(self, tier: str, start: int, end: int) -> QuerySet[Rollup]:
        rows = Rollup.objects.filter(device_id=self.rolled.device_id, tier=TIERS[tier])
        return rows.filter(ts__gte=start, ts__lt=end)

    def _put(self, tier: str, start: int, end: int, timeline: Timeline) -> None:
        start = max(start, getattr(self.rolled, f"{tier}_from"))
        self._rollups(tier, start, end)._raw_delete(using="default")  # noqa: SLF001  as telemetry.forget
        pk, length = self.rolled.device_id, TIERS[tier]
        found = {ts: each for ts, each in timeline.items() if each and ts >= start}
        archive.put_rollups([(pk, length, ts, buckets.text_of(each)) for ts, each in found.items()])


def _down(ts: int, width: int) -> int:
    return ts - ts % width


def _up(ts: int, width: int) -> int:
    return ts + -ts % width
