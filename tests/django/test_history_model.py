"""History against all frames ever recorded: every tier, range and width, after any order of work, crashes among it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import product
from typing import Any, Final
from unittest import mock

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices import registry, telemetry, wire
from devices.errors import Refusal
from devices.history import exports, repairs, retention, rollups, series
from devices.history.buckets import DAY_MS, FOREVER, HOUR_MS, MINUTE_MS, TIERS
from devices.models import Device, Fleet, Frame, Repair, Rolled
from devices.values import EARLIEST_MS

DAY: Final = 1_790_000_000_000 // DAY_MS * DAY_MS
NAMES: Final = ("a", "b.c")

# Close together and far apart, at the edges of buckets and beside them.
near = st.integers(0, 20).map(lambda count: count * 7_001)
edges = st.sampled_from([MINUTE_MS, HOUR_MS, DAY_MS]).flatmap(
    lambda width: st.tuples(st.integers(-3, 3), st.sampled_from([-1, 0, 1])).map(lambda at: at[0] * width + at[1])
)
spread = st.integers(-4 * DAY_MS, DAY_MS)
offsets = st.one_of(near, edges, spread)
numbers = st.one_of(st.integers(-9, 9), st.booleans(), st.floats(-1e6, 1e6, width=32), st.sampled_from([1e22, 0.1]))
readings = st.dictionaries(st.sampled_from(NAMES), st.one_of(numbers, st.sampled_from(["x", "1"])), min_size=1)
clocks = st.one_of(offsets, st.sampled_from(["none", "1970", "far ahead"]))
sent = st.lists(st.tuples(st.integers(0, 1), clocks, readings, st.booleans()), min_size=1, max_size=12)
limits = st.sampled_from([1, 2, 5, 100])
kept = st.fixed_dictionaries({f"keep_{name}": st.sampled_from([None, 1, 2]) for name in ("raw", *TIERS)})
steps = st.lists(
    st.one_of(
        st.tuples(st.just("record"), sent),
        st.tuples(st.just("record"), sent),
        st.tuples(st.just("roll"), limits),
        st.tuples(st.just("rebuild"), limits),
        st.tuples(st.just("settle")),
        st.tuples(st.just("mark"), st.integers(0, 1), offsets, offsets, st.sampled_from([None, *NAMES])),
        st.tuples(st.just("undo"), st.integers(0, 9)),
        st.tuples(st.just("prune"), limits),
        st.tuples(st.just("age"), kept, limits),
        st.tuples(st.just("age"), kept, limits),
        st.tuples(st.just("wait"), st.sampled_from([MINUTE_MS, HOUR_MS, DAY_MS])),
        st.tuples(st.just("ask"), offsets, offsets, st.sampled_from([1, 2, 3, 10, 100, 5000]), st.integers(1, 3)),
    ),
    min_size=4,
    max_size=25,
)


class Hub:
    """The hub's history, and beside it all frames ever recorded."""

    def __init__(self) -> None:
        fleet = Fleet.objects.create(slug="model", name="Model")
        self.devices = [registry.create(f"model-{index}", fleet)[0] for index in range(2)]
        self.frames: dict[int, list[tuple[int, int, int, dict[str, Any]]]] = {device.pk: [] for device in self.devices}
        self.now = DAY + 5 * HOUR_MS

    def record(self, rows: list[Any]) -> None:
        frames = [self._sent(*row) for row in rows]
        recorded = telemetry.record(frames, self.now)
        pks = {device.key: device.pk for device in self.devices}
        for message in recorded.frames:
            of = self.frames[pks[message["device"]]]
            of += [(seq, ts, self.now, values) for seq, ts, values, _ in message["frames"]]
        told = [ts for message in recorded.frames for _, ts, *_ in message["frames"]]
        assert sorted(told) == sorted(ts for ts in map(self._expected, frames) if ts is not None)

    def _sent(self, which: int, clock: Any, values: dict[str, Any], retained: bool) -> wire.Frame:
        given = {"none": None, "1970": 5, "far ahead": self.now + 3 * DAY_MS}
        ts = given[clock] if clock in given else self.now + clock
        key = self.devices[which].key
        return wire.Frame(device=key, values=values, received_at=self.now, ts=ts, retained=retained)

    def _expected(self, one: wire.Frame) -> int | None:
        """When it happened, as the journal should have it; None: it is no news."""
        if one.ts is not None and EARLIEST_MS < one.ts <= self.now + DAY_MS:
            return one.ts
        return None if one.retained else self.now

    def roll(self, limit: int) -> None:
        rollups.roll(limit)

    def rebuild(self, limit: int) -> None:
        rollups.rebuild(limit)

    def settle(self) -> None:
        while rollups.roll(1000) or rollups.rebuild(1000):
            pass

    def mark(self, which: int, start: int, end: int, name: str | None) -> None:
        bad = repairs.Range(frozenset({name}) if name else None, self.now + start, self.now + end)
        with suppress(Refusal):
            repairs.mark(self.devices[which], bad, "why", None, self.now)

    def undo(self, which: int) -> None:
        done = Repair.objects.filter(undone_at=None).order_by("pk")[which : which + 1]
        for repair in done:
            with suppress(Refusal):
                repairs.undo(repair, None, self.now)

    def age(self, days: dict[str, int | None], limit: int) -> None:
        """A day passes, and some of what is older than is kept from now on goes."""
        Device.objects.update(**days)
        self.now += DAY_MS + 2 * HOUR_MS
        self.roll(100)
        self.prune(limit)

    def prune(self, limit: int) -> None:
        retention.prune(limit, self.now)

    def wait(self, ms: int) -> None:
        self.now += ms

    def ask(self, one: int, other: int, points: int, budget: int) -> None:
        start, end = sorted((self.now + one, self.now + other + 1))
        small = [{"MAX_FRAMES": 50_000}, {"MAX_FRAMES": 3}, {"MAX_FRAMES": 3, "MAX_ROLLUPS": 100}][budget - 1]
        with mock.patch.multiple(series, **small):
            for device in self.devices:
                for name in NAMES:
                    if device.metrics.filter(name=name).exists() and start < end:
                        self._compare(device, name, start, end, points)

    def _compare(self, device: Device, name: str, start: int, end: int, points: int) -> None:
        answer = series.series(device, name, start, end, points)
        assert len(answer.points) <= points
        assert answer.start <= start < end <= answer.end
        assert [row[0] for row in answer.points] == sorted(row[0] for row in answer.points)
        if answer.tier != "raw" and Repair.objects.filter(device=device, rebuilt=False).exists():
            return
        rolled = Rolled.objects.filter(pk=device.pk).first() or Rolled()
        whole_from = getattr(rolled, f"{answer.tier}_from")
        # Of days all is kept: nothing needs to be missing.
        assert whole_from <= answer.start or rolled.day_from
        good = [each for each in self._good(device, name) if answer.start <= each[0] < answer.end]
        if answer.step is None:
            assert [(row[0], row[4], row[5]) for row in answer.points] == [(ts, 1, value) for ts, _, value in good]
            assert whole_from <= start
            return
        expected: dict[int, list[Any]] = {}
        for ts, _, value in good:
            expected.setdefault(ts - ts % answer.step, []).append(value)
        told = [row for row in answer.points if row[0] >= whole_from]
        assert told == [_plain(ts, values) for ts, values in sorted(expected.items()) if ts >= whole_from]
        assert all(row[4] <= len(expected.get(row[0], [])) for row in answer.points)

    def _good(self, device: Device, name: str) -> list[tuple[int, int, Any]]:
        bad = repairs.of(device.pk, 0, FOREVER)
        return sorted(
            (
                (ts, seq, values[name])
                for seq, ts, _, values in self.frames[device.pk]
                if name in values and not repairs.struck(bad, ts, {name})
            ),
            key=lambda row: row[:2],
        )

    def check(self) -> None:
        for device in self.devices:
            every = self.frames[device.pk]
            seqs = list(Frame.objects.filter(device=device).order_by("seq").values_list("seq", flat=True))
            assert [row[0] for row in every] == list(range(1, len(every) + 1))
            first = seqs[0] if seqs else len(every) + 1
            assert seqs == list(range(first, len(every) + 1))
            assert first == len(every) + 1 or telemetry.first_seq(device.pk) == first
            rolled = Rolled.objects.filter(pk=device.pk).first() or Rolled()
            assert rolled.seq >= first - 1
            assert all(ts < rolled.raw_from for seq, ts, *_ in every if seq < first)
            self._export(device, first)

    def _export(self, device: Device, first: int) -> None:
        fresh = Device.objects.get(pk=device.pk)
        export = exports.of(fresh, [], 0, FOREVER, flagged=True)
        rows, place = exports.page(export, None)
        while place is not None:
            more, place = exports.page(export, place)
            rows += more
        told = [(row.ts, row.seq, row.received_at, row.values) for row in rows]
        assert told == sorted(
            ((ts, seq, at, values) for seq, ts, at, values in self.frames[device.pk] if seq >= first),
            key=lambda row: row[:2],
        )


def _plain(ts: int, values: list[Any]) -> tuple[Any, ...]:
    told = [float(value) for value in values if not isinstance(value, str)]
    if not told:
        return ts, None, None, None, len(values), values[-1]
    mean = pytest.approx(sum(told) / len(told), rel=1e-6, abs=max(map(abs, told)) * 1e-9)
    return ts, min(told), mean, max(told), len(values), values[-1]


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def crashes_after(hub: Hub, step: Callable[[], None]) -> None:
    """Take a step that is never committed."""
    before = {pk: list(rows) for pk, rows in hub.frames.items()}
    with undone():
        step()
    hub.frames = before


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(work=steps, crashes=st.sets(st.integers(0, 24), max_size=3), page=st.sampled_from([2, 1000]))
def test_history_answers_as_all_frames_ever_recorded_would(
    db: None, page: int, work: list[Any], crashes: set[int]
) -> None:
    with undone(), mock.patch.object(exports, "PAGE", page):
        hub = Hub()
        for index, (name, *given_) in enumerate(work):
            step = partial(getattr(hub, name), *given_)
            if index in crashes and name not in ("wait", "ask"):
                crashes_after(hub, step)
            step()
            hub.check()
            hub.ask(-2 * DAY_MS, DAY_MS, 3, 1)
        hub.settle()
        for points, budget in product((1, 7, 5000), (1, 2, 3)):
            hub.ask(-5 * DAY_MS, 2 * DAY_MS, points, budget)
