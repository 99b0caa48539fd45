"""The ways to lay out history in tables that benchmarks/storage.py compares. SQL of their own, not the hub's models.

A journal has a row a frame, a narrow table a row a reading; roll-ups a row a bucket, or a row a metric and bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from benchmarks.stores import Store

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
TIERS: Final = (MINUTE, HOUR, DAY)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode

Values = dict[str, float]
Bucket = list[Any]  # [n, min, max, sum, last, at]


class Frame(NamedTuple):
    """What a device sent together."""

    device: int
    seq: int
    ts: int
    values: Values
    mark: int


class Rolled(NamedTuple):
    """One bucket of one device."""

    device: int
    tier: int
    ts: int
    metrics: dict[str, Bucket]


def metric_id(device: int, position: int) -> int:
    """The id that a row of the table of metrics would have."""
    return device * 100 + position


class Journal:
    """One row a frame."""

    columns: ClassVar = "device_id seq ts received_at device_ts flags values mark".split()

    def __init__(self, name: str, store: Store, *, json: str = "jsonb", by_time: str = "btree (device_id, ts)") -> None:
        self.name, self._store, self._json = name, store, json
        self._table = f"journal_{json}_{by_time.partition(' ')[0] or 'none'}"
        self.tables = [self._table]
        self._create(by_time)

    def _create(self, by_time: str) -> None:
        kind = self._json if self._store.name == "PostgreSQL" else "text"
        self._store.run(
            f"CREATE TABLE {self._table} (device_id bigint NOT NULL, seq bigint NOT NULL, ts bigint NOT NULL, "
            f'received_at bigint NOT NULL, device_ts bigint, flags smallint NOT NULL, "values" {kind} NOT NULL, '
            "mark bigint, PRIMARY KEY (device_id, seq))",
        )
        if by_time:
            method, _, on = by_time.partition(" ")
            using = f"USING {method}" if self._store.name == "PostgreSQL" else ""
            self._store.run(f"CREATE INDEX {self._table}_time ON {self._table} {using} {on}")
        self._store.run(f"CREATE INDEX {self._table}_mark ON {self._table} (mark) WHERE mark IS NOT NULL")

    def write(self, frames: Iterable[Frame]) -> None:
        """Append in one transaction."""
        rows = ((f.device, f.seq, f.ts, f.ts, None, 0, _encode(f.values).decode(), f.mark) for f in frames)
        with self._store.transaction():
            self._store.append(self._table, self.columns, rows)

    def by_seq(self, device: int, seq: int, limit: int) -> int:
        """Frames behind a cursor, as Python has them; how many."""
        text = '"values"::text' if self._store.name == "PostgreSQL" else '"values"'
        rows = self._store.run(
            f"SELECT seq, ts, {text} FROM {self._table} WHERE device_id = %s AND seq > %s ORDER BY seq LIMIT %s",
            (device, seq, limit),
        )
        return len([(seq, ts, _decode(values)) for seq, ts, values in rows])

    def series(self, device: int, name: str, start: int, end: int, step: int) -> int:
        """One metric, put together in the database: buckets of `step` ms; how many."""
        number = '("values"->>%s)::float8' if self._store.name == "PostgreSQL" else '"values"->>%s'
        rows = self._store.run(
            "SELECT b, count(v), min(v), max(v), sum(v) FROM "
            f"(SELECT ts / {step} AS b, {number} AS v FROM {self._table} "
            "WHERE device_id = %s AND ts >= %s AND ts < %s) AS r GROUP BY b ORDER BY b",
            (name, device, start, end),
        )
        return len(rows)

    def known(self, how: str, marks: Sequence[int]) -> Callable[[], object]:
        """A way to find which of these marks are there already."""
        asked, found = self._store.among(how, "mark", marks)
        query = f"SELECT mark, max(received_at) FROM {self._table}{asked} GROUP BY mark"
        return lambda: self._store.run(query, found, prepare=how.endswith("prepared"))


class Narrow:
    """One row a reading, in the order in which history is asked for; and one a frame for what a frame has once."""

    def __init__(self, name: str, store: Store, names: Sequence[str]) -> None:
        self.name, self._store, self._names = name, store, names
        self.tables = ["narrow_frame", "narrow_reading"]
        self._places = {name: position for position, name in enumerate(names)}
        store.run(
            "CREATE TABLE narrow_frame (device_id bigint NOT NULL, seq bigint NOT NULL, ts bigint NOT NULL, "
            "received_at bigint NOT NULL, device_ts bigint, flags smallint NOT NULL, mark bigint, "
            "PRIMARY KEY (device_id, seq))",
        )
        store.run("CREATE INDEX narrow_frame_mark ON narrow_frame (mark) WHERE mark IS NOT NULL")
        clustered = "" if store.name == "PostgreSQL" else "WITHOUT ROWID"
        store.run(
            "CREATE TABLE narrow_reading (metric_id bigint NOT NULL, ts bigint NOT NULL, seq bigint NOT NULL, "
            f"value double precision, text text, PRIMARY KEY (metric_id, ts, seq)) {clustered}",
        )

    def write(self, frames: Iterable[Frame]) -> None:
        """Append in one transaction."""
        frames = list(frames)
        places = self._places
        heads = ((f.device, f.seq, f.ts, f.ts, None, 0, f.mark) for f in frames)
        rows = (
            (metric_id(f.device, places[name]), f.ts, f.seq, value, None)
            for f in frames
            for name, value in f.values.items()
        )
        with self._store.transaction():
            self._store.append("narrow_frame", "device_id seq ts received_at device_ts flags mark".split(), heads)
            self._store.append("narrow_reading", "metric_id ts seq value text".split(), rows)

    def by_seq(self, device: int, seq: int, limit: int) -> int:
        """Frames behind a cursor, put together again; how many."""
        ids, found = self._store.among(
            "any", "metric_id", [metric_id(device, place) for place in range(len(self._names))]
        )
        rows = self._store.run(
            "SELECT h.seq, h.ts, r.metric_id, r.value FROM "
            "(SELECT seq, ts FROM narrow_frame WHERE device_id = %s AND seq > %s ORDER BY seq LIMIT %s) AS h "
            f"JOIN (SELECT * FROM narrow_reading{ids}) AS r ON r.ts = h.ts AND r.seq = h.seq "
            "ORDER BY h.seq",
            (device, seq, limit, *found),
        )
        return len(list(self._frames(rows)))

    def _frames(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, int, Values]]:
        names = self._names
        for (seq, ts), readings in groupby(rows, key=lambda row: row[:2]):
            yield seq, ts, {names[metric % 100]: value for _, _, metric, value in readings}

    def series(self, device: int, name: str, start: int, end: int, step: int) -> int:
        """One metric, put together in the database: buckets of `step` ms; how many."""
        rows = self._store.run(
            f"SELECT ts / {step} AS b, count(value), min(value), max(value), sum(value) FROM narrow_reading "
            "WHERE metric_id = %s AND ts >= %s AND ts < %s GROUP BY b ORDER BY b",
            (metric_id(device, self._places[name]), start, end),
        )
        return len(rows)


class ObjectRollups:
    """One row a bucket, all metrics in one JSON object. Merged in Python, under the lock that the roller has anyway."""

    def __init__(self, name: str, store: Store, *, json: str = "jsonb", storage: str = "") -> None:
        self.name, self._store = name, store
        self._table = f"rollup_object_{json}_{storage.rpartition(' ')[2] or 'plain'}"
        self.tables = [self._table]
        kind = json if store.name == "PostgreSQL" else "text"
        store.run(
            f"CREATE TABLE {self._table} (device_id bigint NOT NULL, tier integer NOT NULL, ts bigint NOT NULL, "
            f'"values" {kind} NOT NULL, PRIMARY KEY (device_id, tier, ts))',
        )
        if storage:
            store.run(f'ALTER TABLE {self._table} ALTER COLUMN "values" SET {storage}')

    def load(self, rows: Iterable[Rolled]) -> None:
        """Append rows that are not there yet."""
        with self._store.transaction():
            encoded = ((r.device, r.tier, r.ts, _encode(r.metrics).decode()) for r in rows)
            self._store.append(self._table, "device_id tier ts values".split(), encoded)

    def merge(self, news: Sequence[Rolled]) -> None:
        """Read, merge, write back."""
        with self._store.transaction():
            text = '"values"::text' if self._store.name == "PostgreSQL" else '"values"'
            keys, found = self._store.matching("device_id tier ts".split(), [new[:3] for new in news])
            old = {
                (device, tier, ts): _decode(values)
                for device, tier, ts, values in self._store.run(
                    f"SELECT device_id, tier, ts, {text} FROM {self._table} JOIN {keys} USING (device_id, tier, ts)",
                    found,
                )
            }
            rows = [(*new[:3], _encode(_merged(old.get(new[:3], {}), new.metrics)).decode()) for new in news]
            self._store.upsert(self._table, "device_id tier ts".split(), {"values": 'excluded."values"'}, rows)

    def series(self, device: int, name: str, tier: int, start: int, end: int) -> int:
        """One metric's buckets; how many."""
        one = '("values"->%s)::text' if self._store.name == "PostgreSQL" else '"values"->%s'
        rows = self._store.run(
            f"SELECT ts, {one} FROM {self._table} "
            "WHERE device_id = %s AND tier = %s AND ts >= %s AND ts < %s ORDER BY ts",
            (name, device, tier, start, end),
        )
        return len([(ts, *_decode(bucket)) for ts, bucket in rows])


class MetricRollups:
    """One row a metric and bucket, typed columns. Merged by the database."""

    def __init__(self, name: str, store: Store, names: Sequence[str]) -> None:
        self.name, self._store = name, store
        self._places = {name: position for position, name in enumerate(names)}
        self.tables = ["rollup_metric"]
        clustered = "" if store.name == "PostgreSQL" else "WITHOUT ROWID"
        store.run(
            "CREATE TABLE rollup_metric (metric_id bigint NOT NULL, tier integer NOT NULL, ts bigint NOT NULL, "
            "n integer NOT NULL, min double precision, max double precision, sum double precision, "
            "last double precision, last_text text, "
            f"at integer NOT NULL, texts integer, PRIMARY KEY (metric_id, tier, ts)) {clustered}",
        )

    def _rows(self, rows: Iterable[Rolled]) -> Iterator[tuple[Any, ...]]:
        places = self._places
        for row in rows:
            for name, (n, low, high, total, last, at) in row.metrics.items():
                yield metric_id(row.device, places[name]), row.tier, row.ts, n, low, high, total, last, None, at, None

    def load(self, rows: Iterable[Rolled]) -> None:
        """Append rows that are not there yet."""
        columns = "metric_id tier ts n min max sum last last_text at texts".split()
        with self._store.transaction():
            self._store.append("rollup_metric", columns, self._rows(rows))

    def merge(self, news: Sequence[Rolled]) -> None:
        """Let the database merge."""
        lesser, greater = self._store.lesser_greater
        newer = "CASE WHEN excluded.at >= rollup_metric.at THEN excluded.{0} ELSE rollup_metric.{0} END"
        merged = {
            "n": "rollup_metric.n + excluded.n",
            "min": f"{lesser}(rollup_metric.min, excluded.min)",
            "max": f"{greater}(rollup_metric.max, excluded.max)",
            "sum": "rollup_metric.sum + excluded.sum",
            "last": newer.format("last"),
            "last_text": newer.format("last_text"),
            "at": newer.format("at"),
            "texts": "excluded.texts",
        }
        with self._store.transaction():
            self._store.upsert("rollup_metric", "metric_id tier ts".split(), merged, list(self._rows(news)))

    def series(self, device: int, name: str, tier: int, start: int, end: int) -> int:
        """One metric's buckets; how many."""
        rows = self._store.run(
            "SELECT ts, n, min, max, sum, last, last_text, at FROM rollup_metric "
            "WHERE metric_id = %s AND tier = %s AND ts >= %s AND ts < %s ORDER BY ts",
            (metric_id(device, self._places[name]), tier, start, end),
        )
        return len(rows)


def _merged(old: dict[str, Bucket], new: dict[str, Bucket]) -> dict[str, Bucket]:
    for name, late in new.items():
        early = old.get(name)
        old[name] = late if early is None else _both(early, late)
    return old


def _both(early: Bucket, late: Bucket) -> Bucket:
    newest = late if late[5] >= early[5] else early
    return [
        early[0] + late[0],
        min(early[1], late[1]),
        max(early[2], late[2]),
        early[3] + late[3],
        newest[4],
        newest[5],
    ]
