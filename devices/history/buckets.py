"""PURE. What is kept of the readings in a stretch of time, and which stretches a chart asks for.

A bucket begins at a multiple of its length since the epoch (UTC), so that those of a tier add up to one of the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import msgspec

from devices.values import DAY_MS, Value

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000

# The tiers of roll-ups, each made of the one before it.
TIERS: Final[dict[str, int]] = {"minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS}

# Later than every instant.
FOREVER: Final = 2**63 - 1
_LARGEST: Final = float.fromhex("0x1.fffffffffffffp+1023")

# What people read off an axis. The last is longer than all time that a reading can have.
WIDTHS: Final[tuple[int, ...]] = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(SECOND_MS * count for count in (1, 2, 5, 10, 15, 20, 30)),
    *(MINUTE_MS * count for count in (1, 2, 3, 5, 10, 15, 20, 30)),
    *(HOUR_MS * count for count in (1, 2, 3, 4, 6, 8, 12)),
    *(DAY_MS * count * 10**power for power in range(7) for count in (1, 2, 5)),
)


class Bucket(msgspec.Struct, array_like=True):
    """One metric's readings in one bucket. Booleans count as 0 and 1, texts by their number alone.

    last, at   the newest reading as it was given, and when it was: ms after the bucket's start
    n, sum     how many numbers, and their sum; min, max: among them
    texts      how many texts

    Of a single number all but last and at stays empty, for the minutes of slow devices are full of those: see `whole`.
    """

    last: Value
    at: int
    n: int = 1
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    texts: int = 0

    @property
    def whole(self) -> tuple[float, float, float] | None:
        """Sum, least and largest number; None: there are texts only."""
        if self.sum is not None and self.min is not None and self.max is not None:
            return self.sum, self.min, self.max
        if not self.n:
            return None
        number = float(self.last)
        return number, number, number

    @property
    def avg(self) -> float | None:
        """The mean; never outside of what was measured, as rounding would have it."""
        if (whole := self.whole) is None:
            return None
        total, low, high = whole
        return min(max(total / self.n, low), high)

    def add(self, value: Value, at: int) -> None:
        """Take a reading that came after those taken so far: of two at the same instant it is the last."""
        if isinstance(value, str):
            self.merge(Bucket(value, at, 0, texts=1))
            return
        if (whole := self.whole) is None:
            self.n, self.sum, self.min, self.max = 1, float(value), float(value), float(value)
        else:
            total, low, high = whole
            self.n += 1
            self.sum = total + value
            self.min = low if low <= value else float(value)
            self.max = high if high >= value else float(value)
        if at >= self.at:
            self.last, self.at = value, at

    def merge(self, other: Bucket, shift: int = 0) -> None:
        """Take the readings of another bucket, which begins `shift` ms later and came after those taken so far."""
        mine, theirs = self.whole, other.whole
        if mine is None or theirs is None:
            self.sum, self.min, self.max = mine or theirs or (None, None, None)
        else:
            self.sum, self.min, self.max = mine[0] + theirs[0], min(mine[1], theirs[1]), max(mine[2], theirs[2])
        self.n += other.n
        self.texts += other.texts
        at = other.at + shift
        if at >= self.at:
            self.last, self.at = other.last, at

    def row(self) -> list[object]:
        """Say it as it is stored: without what is at the end and empty."""
        if self.n == 1 and not self.texts:
            return [self.last, self.at]
        whole = [_storable(number) for number in self.whole or (None, None, None)]
        row: list[object] = [self.last, self.at, self.n, *whole]
        return [*row, self.texts] if self.texts else row


# Metric → bucket; and by the start of the buckets.
Buckets: TypeAlias = dict[str, Bucket]
Timeline: TypeAlias = dict[int, Buckets]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Bucket]).decode


def of(value: Value, at: int) -> Bucket:
    """Return the bucket of one reading."""
    return Bucket(value, at, 0, texts=1) if isinstance(value, str) else Bucket(value, at)


def fold(timeline: Timeline, width: int, ts: int, readings: Mapping[str, Value]) -> None:
    """Take readings of one instant into the buckets of this width; those of one device in the order of its journal."""
    start = ts - ts % width
    at = ts - start
    buckets = timeline.setdefault(start, {})
    for name, value in readings.items():
        bucket = buckets.get(name)
        if bucket is None:
            buckets[name] = of(value, at)
        else:
            bucket.add(value, at)


def coarser(timeline: Timeline, width: int) -> Timeline:
    """Return the same readings in wider buckets; the width is a multiple of what it was."""
    wider: Timeline = {}
    for start, buckets in timeline.items():
        into = start - start % width
        merge(wider.setdefault(into, {}), buckets, start - into)
    return wider


def merge(into: Buckets, others: Buckets, shift: int = 0) -> None:
    """Take the readings of other buckets, which begin `shift` ms later."""
    for name, other in others.items():
        bucket = into.get(name)
        if bucket is None:
            into[name] = msgspec.structs.replace(other, at=other.at + shift)
        else:
            bucket.merge(other, shift)


def text_of(buckets: Buckets) -> str:
    """Write buckets as they are stored."""
    return _encode({name: bucket.row() for name, bucket in buckets.items()}).decode()


def read(text: str) -> Buckets:
    """Read them back."""
    return _decode(text)


def of_object(stored: object) -> Buckets:
    """Make them of what JSON was decoded to."""
    return msgspec.convert(stored, dict[str, Bucket])


def widths(start: int, end: int, points: int) -> Iterator[int]:
    """Yield the widths of which at most `points` buckets hold all of [start, end), wherever it begins; narrow first."""
    for width in WIDTHS:
        if (end - 1) // width - start // width < points:
            yield width


def tier_of(width: int) -> str:
    """Name the coarsest tier of which buckets of this width can be made: "raw" is the journal itself."""
    return next((name for name in reversed(TIERS) if width % TIERS[name] == 0), "raw")


def _storable(number: float | None) -> float | None:
    # Beyond what JSON can say only where readings are about the largest numbers there are.
    if number is None or math.isfinite(number):
        return number
    return math.copysign(_LARGEST, number)


def starts(start: int, end: int, width: int) -> Iterable[int]:
    """Return where the buckets that hold [start, end) begin."""
    return range(start - start % width, end, width)
