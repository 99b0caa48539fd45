"""Compares ways to lay history out in tables, on PostgreSQL and SQLite: write rate, bytes a reading, query times.

    python -m benchmarks.storage [--quick] [--json FILE]

It starts its own PostgreSQL, fsync on. What was decided by it is in docs/adr/0009-storage-layout.md. Repetitions go
round the layouts, and a figure is their median, so that what else the machine does meets all alike.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain, count, islice
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.layouts import (
    DAY,
    HOUR,
    MINUTE,
    TIERS,
    Bucket,
    Frame,
    Journal,
    MetricRollups,
    Narrow,
    ObjectRollups,
    Rolled,
)
from benchmarks.stores import Postgres, SQLite, Store
from tests import services

NAMES: Final = (
    "temperature humidity pressure co2 pm25 voltage current power energy frequency "
    "rpm vibration flow level torque speed battery rssi uptime duty"
).split()
METRICS: Final = (2, 20)
SIZES: Final = (1, 100, 1000)
WRITERS: Final = range(100, 200)  # devices that write while it is measured; others have the history
START: Final = 1_700_006_400_000  # midnight of a day, UTC
POINTS: Final = 2000

Raw = Journal | Narrow
Rollups = ObjectRollups | MetricRollups
Acts = Mapping[str, Callable[[], object]]  # layout → what is timed
Rows = Iterator[Frame]
Figures = dict[str, dict[str, float]]  # layout → column → figure


class Scale(NamedTuple):
    """How much is measured."""

    days: int
    minutes_days: int  # of which the roll-ups keep minutes
    repetitions: int


FULL: Final = Scale(days=90, minutes_days=10, repetitions=7)
QUICK: Final = Scale(days=6, minutes_days=2, repetitions=3)


class Inputs:
    """What devices send: the same for every layout."""

    def __init__(self, metrics: int, scale: Scale) -> None:
        """Make some thousand frames' values; they are used round and round."""
        self.names = NAMES[:metrics]
        self.scale = scale
        self._dice = random.Random(metrics)
        walks = [self._walk() for _ in self.names]
        self._values = [dict(zip(self.names, step, strict=True)) for step in islice(zip(*walks, strict=True), 5003)]
        self._seqs: defaultdict[tuple[str, int], Iterator[int]] = defaultdict(lambda: count(1))

    def _walk(self) -> Iterator[float]:
        value, step = self._dice.uniform(10, 1000), self._dice.choice([0.05, 0.5, 5])
        while True:
            value += self._dice.gauss(0, step)
            yield round(value, 2)

    def history(self) -> Rows:
        """A frame a minute of each of two devices, for some days."""
        for minute in range(self.scale.days * 1440):
            for device in (1, 2):
                yield self._frame(device, minute + 1, START + minute * MINUTE + device)

    def news(self, layout: str, frames: int) -> list[Frame]:
        """What comes next, one frame after the other of each device."""
        end = START + self.scale.days * DAY
        numbered = [
            (WRITERS[i % len(WRITERS)], next(self._seqs[layout, WRITERS[i % len(WRITERS)]])) for i in range(frames)
        ]
        return [self._frame(device, seq, end + seq * 1000) for device, seq in numbered]

    def _frame(self, device: int, seq: int, ts: int) -> Frame:
        values = self._values[(seq * 7 + device) % len(self._values)]
        return Frame(device, seq, ts, values, hash((device, seq, 1 << 40)) >> 1)

    @cached_property
    def rolled(self) -> list[Rolled]:
        """The roll-ups of that history."""
        spans = zip(TIERS, (self.scale.minutes_days, self.scale.days, self.scale.days), strict=True)
        return [
            Rolled(device, tier, START + place * tier, self._bucket(tier, place, device))
            for tier, days in spans
            for place in range(days * DAY // tier)
            for device in (1, 2)
        ]

    def _bucket(self, tier: int, place: int, device: int) -> dict[str, Bucket]:
        n = tier // MINUTE
        readings = [self._values[(place * n + i + device) % len(self._values)] for i in range(n)]
        columns = ((name, [values[name] for values in readings]) for name in self.names)
        return {name: [n, min(some), max(some), sum(some), some[-1], tier - MINUTE] for name, some in columns}

    def arrivals(self, turn: int) -> list[Rolled]:
        """What ten frames of each of a hundred devices add to three tiers."""
        ts = START + self.scale.days * DAY + turn * 10_000
        return [
            Rolled(
                device,
                tier,
                ts - ts % tier,
                {name: [10, v - 1, v + 1, v * 10, v, ts % tier] for name, v in values.items()},
            )
            for device in WRITERS
            for values in [self._values[(device + turn) % len(self._values)]]
            for tier in TIERS
        ]


def others(store: Store, names: Sequence[str]) -> list[Raw]:
    """The layouts of raw data besides the journal as it is."""
    made: list[Raw] = [Journal("A without (device, ts)", store, by_time="")]
    if store.name == "PostgreSQL":
        made.append(Journal("A, BRIN on ts", store, by_time="brin (ts)"))
        made.append(Journal("A, json not jsonb", store, json="json"))
    return [*made, Narrow("B narrow readings", store, names)]


def rollups(store: Store, names: Sequence[str]) -> list[Rollups]:
    """The layouts of roll-ups."""
    made: list[Rollups] = [ObjectRollups("C object a bucket", store)]
    if store.name == "PostgreSQL":
        made.append(ObjectRollups("C, lz4", store, storage="COMPRESSION lz4"))
        made.append(ObjectRollups("C, not compressed", store, storage="STORAGE external"))
        made.append(ObjectRollups("C, json not jsonb", store, json="json"))
    return [*made, MetricRollups("D row a metric", store, names)]


def seconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def interleaved(acts: Acts, repetitions: int) -> dict[str, float]:
    """The median time of each, in seconds; each is done once before."""
    times: dict[str, list[float]] = {name: [] for name in acts}
    for turn in range(repetitions + 1):
        for name, act in acts.items():
            took = seconds(act)
            if turn:
                times[name].append(took)
    return {name: median(each) for name, each in times.items()}


def measure(store: Store, metrics: int, scale: Scale) -> dict[str, Figures]:
    """All of one database and one number of metrics a frame: title → figures."""
    inputs = Inputs(metrics, scale)
    journal = Journal("A journal", store)
    raws, rolls = [journal, *others(store, inputs.names)], rollups(store, inputs.names)
    for raw in raws:
        for some in _chunks(inputs.history(), 20_000):
            raw.write(some)
    for roll in rolls:
        roll.load(inputs.rolled)
    store.settle()
    about = f"{store.name}, {metrics} metrics"
    frames = scale.days * 1440 * 2
    buckets = len(inputs.rolled)
    found = {
        f"{about}: raw, bytes a reading": _sizes(store, raws, frames * metrics),
        f"{about}: roll-ups, bytes a metric and bucket": _sizes(store, rolls, buckets * metrics),
        f"{about}: raw, read (ms)": _raw_reads(raws, inputs),
        f"{about}: roll-ups, read one metric (ms)": _rolled_reads(rolls, inputs),
    }
    if metrics == max(METRICS):
        found[f"{store.name}: which of 1,000 marks are known (ms)"] = _lookups(journal, inputs)
    return found | {
        f"{about}: raw, frames written a second, by frames a commit": _writes(raws, inputs),
        f"{about}: roll-ups, merge 1,000 frames of 100 devices into 3 tiers (ms)": _merges(rolls, inputs),
    }


def _chunks(rows: Rows, size: int) -> Iterator[Rows]:
    while (first := next(rows, None)) is not None:
        yield chain([first], islice(rows, size - 1))


def _sizes(store: Store, layouts: Sequence[Raw | Rollups], readings: int) -> Figures:
    sizes = {layout.name: store.size(layout.tables) for layout in layouts}
    return {
        name: {"all": sum(size) / readings, "rows": size[0] / readings, "indexes": size[1] / readings}
        for name, size in sizes.items()
    }


def _raw_reads(raws: Sequence[Raw], inputs: Inputs) -> Figures:
    end, name = START + inputs.scale.days * DAY, inputs.names[-1]
    middle = inputs.scale.days * 700
    acts: list[Acts] = [{raw.name: partial(raw.by_seq, 1, middle, 10_000) for raw in raws}]
    for span in _spans(inputs.scale).values():
        step = max(span // POINTS, 1)
        acts.append({raw.name: partial(raw.series, 1, name, end - span, end, step) for raw in raws})
    return _table(["10,000 frames by seq", *_spans(inputs.scale)], acts, inputs.scale)


def _rolled_reads(rolls: Sequence[Rollups], inputs: Inputs) -> Figures:
    name = inputs.names[-1]
    acts, titles = list[Acts](), list[str]()
    for title, span in _spans(inputs.scale).items():
        tier, days = (MINUTE, inputs.scale.minutes_days) if span <= DAY else (HOUR, inputs.scale.days)
        end = START + days * DAY
        acts.append({roll.name: partial(roll.series, 1, name, tier, end - span, end) for roll in rolls})
        titles.append(f"{title}: {span // tier} rows")
    return _table(titles, acts, inputs.scale)


def _spans(scale: Scale) -> dict[str, int]:
    return {"1 hour": HOUR, "1 day": DAY, f"{scale.days} days": scale.days * DAY}


def _table(titles: Sequence[str], columns: Sequence[Acts], scale: Scale) -> Figures:
    figures: Figures = {name: {} for name in columns[0]}
    for title, acts in zip(titles, columns, strict=True):
        for name, took in interleaved(acts, scale.repetitions).items():
            figures[name][title] = took * 1000
    return figures


def _lookups(journal: Journal, inputs: Inputs) -> Figures:
    known = [frame.mark for frame in islice(inputs.history(), 100)]
    dice = random.Random(1)
    marks = known + [dice.getrandbits(62) for _ in range(900)]
    ways = ["in", "in prepared", "any", "any prepared", "join", "join prepared"]
    times = interleaved({way: journal.known(way, marks) for way in ways}, inputs.scale.repetitions * 3)
    return {way: {"ms": took * 1000} for way, took in times.items()}


def _writes(raws: Sequence[Raw], inputs: Inputs) -> Figures:
    figures: Figures = {raw.name: {} for raw in raws}
    for size in SIZES:
        commits = 20 if size == 1 else 3
        acts = {raw.name: _writer(raw, inputs, size, commits) for raw in raws}
        for name, took in interleaved(acts, inputs.scale.repetitions).items():
            figures[name][str(size)] = size * commits / took
    return figures


def _writer(raw: Raw, inputs: Inputs, size: int, commits: int) -> Callable[[], None]:
    def act() -> None:
        for _ in range(commits):
            raw.write(inputs.news(raw.name, size))

    return act


def _merges(rolls: Sequence[Rollups], inputs: Inputs) -> Figures:
    acts = {roll.name: _merger(roll, inputs) for roll in rolls}
    return {name: {"ms": took * 1000} for name, took in interleaved(acts, inputs.scale.repetitions).items()}


def _merger(roll: Rollups, inputs: Inputs) -> Callable[[], None]:
    turns = count()
    return lambda: roll.merge(inputs.arrivals(next(turns)))


def shown(title: str, figures: Figures) -> str:
    """One table, for a terminal; each figure with its ratio to the first row's."""
    first = next(iter(figures.values()))
    lines = [title, " " * 28 + "".join(f"{column:>24}" for column in first)]
    for name, row in figures.items():
        cells = (f"{_figure(value)} {value / first[column]:7.2f}×" for column, value in row.items())
        lines.append(f"  {name:26}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def stores(folder: Path, url: str) -> Iterator[tuple[int, Store]]:
    """A fresh database of each kind, for each number of metrics a frame."""
    for metrics in METRICS:
        postgres = Postgres(url)
        postgres.run("DROP SCHEMA public CASCADE")
        postgres.run("CREATE SCHEMA public")
        yield metrics, postgres
        yield metrics, SQLite(folder / f"{metrics}.sqlite3")


def main(arguments: Iterable[str]) -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description="Compares layouts of tables.")
    parser.add_argument("--quick", action="store_true", help="less history, fewer repetitions: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(list(arguments))
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder, services.postgres(Path(folder), fsync=True) as server:
        for metrics, store in stores(Path(folder), server.url):
            for title, figures in measure(store, metrics, QUICK if options.quick else FULL).items():
                found[title] = figures
                print(shown(title, figures), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
