"""PURE. Rows and cursors: what is kept of a device for all its watchers, and how its part of a message is written.

A row is [seq, ts, {metric: value}, flags]. It is encoded once for the process and carried as its text; sockets join
texts. `prev` is the cursor before the first row of a message, so that a client can tell a hole from `prev` alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from dashboard.protocol import encode

# Rows of a device kept for all its watchers: 10 s at 50 a second; who is further behind reads the store.
KEPT: Final = 512
# A row may have 500 metrics: what is kept, and what one message carries, is bounded in characters as well.
KEPT_SIZE: Final = 262_144
CHUNK: Final = 1000
CHUNK_SIZE: Final = 131_072

Row = Sequence[Any]


_decode: Final = msgspec.json.Decoder(list[Any]).decode


class Coded(NamedTuple):
    """A row as its JSON."""

    seq: int
    text: str

    @property
    def row(self) -> Row:
        """Read it; rarely needed."""
        return _decode(self.text)


def code(row: Row) -> Coded:
    """Encode a row, once."""
    return Coded(row[0], encode(row).decode())


class Part(NamedTuple):
    """One device's part of a data message: up to which seq, how many frames, of what size, and its JSON.

    merged   how many of the frames went into another one's row (mode latest)
    hops     when the newest row came by; None: no doorbell brought it
    """

    last: int
    amount: int
    size: int
    text: str
    merged: int = 0
    hops: Hops | None = None


Hops = Sequence[int]  # when the newest row of several was received, committed, announced (ms)


class Kept:
    """The newest rows of one device, always without a hole."""

    def __init__(self) -> None:
        """Start empty."""
        # Only their texts: a process keeps tens of thousands of rows, and Python's collector looks at whatever is more.
        self._texts: deque[str] = deque()
        self._first = 1
        self._size = 0
        # How the newest row came here; None: no doorbell brought it.
        self.hops: Hops | None = None
        # Cursor → all that follows it. Who is up to date stands where the others stand.
        self._parts: dict[int, Part] = {}

    def add(self, rows: Iterable[Row], hops: Hops | None = None) -> None:
        """Append rows in order; old news is skipped, and a hole makes what is before it useless."""
        self._parts.clear()
        for row in rows:
            seq = row[0]
            if self._texts and seq <= self.last:
                continue
            if not self._texts or seq != self.last + 1:
                self._texts.clear()
                self._first, self._size = seq, 0
            self._append(code(row).text)
            self.hops = hops

    def _append(self, text: str) -> None:
        self._texts.append(text)
        self._size += len(text)
        while len(self._texts) > KEPT or self._size > KEPT_SIZE:
            self._size -= len(self._texts.popleft())
            self._first += 1

    @property
    def last(self) -> int:
        """Return the seq of the newest row; one less than the first to come: there is none."""
        return self._first + len(self._texts) - 1

    def after(self, cursor: int, limit: int) -> list[Coded]:
        """Return at most `limit` of what follows the cursor without a hole; nothing when that is not here."""
        skip = cursor + 1 - self._first
        if skip < 0:
            return []
        texts = islice(self._texts, skip, skip + limit)
        return [Coded(cursor + 1 + index, text) for index, text in enumerate(texts)]

    def part_after(self, cursor: int) -> Part | None:
        """Return all that follows the cursor, put together once for all who stand there; None when it is not here."""
        part = self._parts.get(cursor)
        if part is None and (coded := self.after(cursor, KEPT)):
            part = self._parts[cursor] = part_of(coded, cursor, None, "all", self.hops)
        return part


def unbroken(rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows up to the first hole. There is none in the journal, unless somebody deleted by hand."""
    if not rows or rows[-1][0] - rows[0][0] == len(rows) - 1:
        return rows
    first = rows[0][0]
    return [row for index, row in enumerate(rows) if row[0] == first + index]


def fitting(rows: list[Coded], size: int) -> list[Coded]:
    """Return as many rows as have room in `size` characters; one at least, or nothing would ever move."""
    for index, coded in enumerate(rows):
        size -= len(coded.text)
        if size < 0:
            return rows[: max(1, index)]
    return rows


def part_of(
    rows: Sequence[Coded], prev: int, metrics: frozenset[str] | None, mode: str, hops: Hops | None = None
) -> Part:
    """Make one device's part of a data message, {"prev":…,"frames":[…]}, of rows, of which there is one at least."""
    size = sum(len(coded.text) for coded in rows)
    last, amount = rows[-1].seq, len(rows)
    merged = amount - 1 if mode == "latest" else 0
    if merged:
        rows = [code(latest([coded.row for coded in rows]))]
    if metrics is None:
        texts = [coded.text for coded in rows]
    else:
        texts = [encode(_only(coded.row, metrics)).decode() for coded in rows]
    came = f',"hops":{encode(hops).decode()}' if hops else ""
    return Part(last, amount, size, f'{{"prev":{prev},"frames":[{",".join(texts)}]{came}}}', merged, hops)


def latest(rows: Sequence[Row]) -> Row:
    """Merge rows into one with each metric's newest value: newest by its time, as a late row is not news."""
    newest: dict[str, tuple[int, Any]] = {}
    for _, ts, values, _ in rows:
        for name, value in values.items():
            if name not in newest or ts >= newest[name][0]:
                newest[name] = (ts, value)
    _, ts, _, flags = max(rows, key=lambda row: (row[1], row[0]))
    return [rows[-1][0], ts, {name: value for name, (_, value) in newest.items()}, flags]


def _only(row: Row, metrics: frozenset[str]) -> Row:
    # A row whose metrics were not asked for still travels, empty: the cursor has no holes.
    return [row[0], row[1], {name: value for name, value in row[2].items() if name in metrics}, row[3]]


def data(phase: str, parts: dict[str, Part], **more: int | bool) -> str:
    """Put one data message together from encoded parts; without its beginning, which names the subscription."""
    devices = ",".join(f'"{key}":{part.text}' for key, part in parts.items())
    tail = "".join(f',"{name}":{encode(value).decode()}' for name, value in more.items())
    return f'"phase":"{phase}","devices":{{{devices}}}{tail}}}'


def addressed(kind: str, sub: str, rest: str) -> str:
    """Put the beginning to a message of a subscription: `rest` is the same for all who get it."""
    return f'{{"type":"{kind}","id":{encode(sub).decode()},{rest}'
