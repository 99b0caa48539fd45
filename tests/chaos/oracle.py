"""Compares the ledger with the database: what is lost, there twice, sent by nobody, or missing in the numbering.

`detects` takes a frame away and doubles another in the very database, asks again, and rolls back: an oracle that could
not see it would be no proof.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import psycopg

# Anything with execute(), commit() and rollback(): both drivers.
Connection = Any
Connect = Callable[[], Connection]

FRAMES: Final = (
    "SELECT d.key, f.seq, f.\"values\" ->> 'n' FROM devices_frame f JOIN devices_device d ON d.id = f.device_id"
    " ORDER BY d.key, f.seq"
)
SEQS: Final = "SELECT d.key, h.seq FROM devices_head h JOIN devices_device d ON d.id = h.device_id"
REJECTS: Final = "SELECT coalesce(sum(count), 0) FROM devices_reject"
FIRST: Final = "(SELECT min(device_id) FROM devices_frame)"
LOSE: Final = f"DELETE FROM devices_frame WHERE device_id = {FIRST} AND seq = 2"  # noqa: S608
# As the hub would: with the next seq.
COLUMNS: Final = 'ts, received_at, device_ts, flags, "values", mark'
DOUBLE: Final = (
    f"INSERT INTO devices_frame (device_id, seq, {COLUMNS}) SELECT device_id, (SELECT max(seq) + 1 FROM devices_frame"  # noqa: S608
    f" WHERE device_id = {FIRST}), {COLUMNS} FROM devices_frame WHERE device_id = {FIRST} AND seq = 1"
)


class Counts(NamedTuple):
    """What came of what was published."""

    published: int
    acked: int
    stored: int
    lost: int
    twice: int
    strange: int
    holes: int


def postgres(url: str) -> Connect:
    return lambda: psycopg.connect(url)


def sqlite(path: object) -> Connect:
    # Transactions are begun by hand: what is asked here must not wait for the hub's writer.
    return lambda: sqlite3.connect(f"file:{path}", uri=True, timeout=30)


def ask(connect: Connect, query: str) -> list[tuple[Any, ...]]:
    """The rows of one query, on a connection of its own."""
    connection = connect()
    try:
        return list(connection.execute(query).fetchall())
    finally:
        connection.close()


def seqs(connect: Connect) -> dict[str, int]:
    """Device → its newest seq."""
    return dict(ask(connect, SEQS))


def journals(rows: Iterable[tuple[Any, ...]]) -> tuple[dict[str, list[int]], int]:
    """Device → the frames' own numbers in the order of seq, and how many seqs are missing."""
    found: dict[str, list[int]] = {}
    newest: dict[str, int] = {}
    for key, seq, n in rows:
        found.setdefault(key, []).append(int(n))
        newest[key] = seq
    return found, sum(newest[key] - len(numbers) for key, numbers in found.items())


def compare(
    published: dict[str, set[int]], acked: dict[str, set[int]], stored: dict[str, list[int]], holes: int
) -> Counts:
    """Every published frame has to be there once, and nothing else. Lost is what the broker had acknowledged."""
    lost = twice = strange = 0
    for key in published.keys() | stored.keys():
        times = Counter(stored.get(key, ()))
        lost += len(acked.get(key, set()) - times.keys())
        twice += times.total() - len(times)
        strange += len(times.keys() - published.get(key, set()))
    return Counts(
        published=sum(map(len, published.values())),
        acked=sum(map(len, acked.values())),
        stored=sum(map(len, stored.values())),
        lost=lost,
        twice=twice,
        strange=strange,
        holes=holes,
    )


def detects(connect: Connect, published: dict[str, set[int]], acked: dict[str, set[int]]) -> list[str]:
    """What the oracle overlooks when a frame is taken away, and when one is doubled; nothing is changed for good."""
    blind = []
    connection = connect()
    try:
        before = _counted(connection, published, acked)
        for damage, seen in ((LOSE, (1, 0)), (DOUBLE, (0, 1))):
            connection.execute(damage)
            after = _counted(connection, published, acked)
            connection.rollback()
            if (after.lost - before.lost, after.twice - before.twice) != seen:
                blind.append(f"the oracle is blind: {damage}: {before} became {after}")
    finally:
        connection.close()
    return blind


def _counted(connection: Connection, published: dict[str, set[int]], acked: dict[str, set[int]]) -> Counts:
    stored, holes = journals(connection.execute(FRAMES).fetchall())
    return compare(published, acked, stored, holes)
