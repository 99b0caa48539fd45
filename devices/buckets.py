"""PURE. What is kept of the readings in a stretch of time, and which stretches a chart asks for.

A bucket begins at a multiple of its length since the epoch (UTC), so that those of a tier add up to one of the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import msgspec

from devices.values import DAY_MS, MAX_INTEGER, Value

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
    n, sum     how many numbers, and their sum; min, max: among them; None when there is no number
    texts      how many texts
    """

    last: Value
    at: int
    n: int = 1
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    texts: int = 0

    def __post_init__(self) -> None:
        """Fill in what a single number leaves out where it is stored."""
        self.last = sound(self.last)
        if self.n and self.sum is None:
            self.sum = self.min = self.max = float(self.last)

    @property
    def avg(self) -> float | None:
        """The mean; never outside of what was measured, as rounding would have it."""
        if self.sum is None or self.min is None or self.max is None:
            return None
        return min(max(self.sum / self.n, self.min), self.max)

    def add(self, value: Value, at: int) -> None:
        """Take a reading that came after those taken so far: of two at the same instant it is the last."""
        if at >= self.at:
            self.last, self.at = sound(value), at
        if isinstance(value, str):
            self.texts += 1
        elif self.sum is None or self.min is None or self.max is None:
            self.n, self.sum = 1, float(value)
            self.min = self.max = self.sum
        else:
            self.n += 1
            self.sum += value
            if value < self.min:
                self.min = float(value)
            if value > self.max:
                self.max = float(value)

    def merge(self, other: Bucket, shift: int = 0) -> None:
        """Take the readings of another bucket, which begins `shift` ms later and came after those taken so far."""
        at = other.at + shift
        if at >= self.at:
            self.last, self.at = other.last, at
        self.texts += other.texts
        if other.sum is None or other.min is None or other.max is None:
            return
        if self.sum is None or self.min is None or self.max is None:
            self.n, self.sum, self.min, self.max = other.n, other.sum, other.min, other.max
            return
        self.n += other.n
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def row(self) -> list[object]:
        """Say it as it is stored: of a single number [last, at], for a slow device's minutes are full of those."""
        if self.n == 1 and not self.texts:
            return [self.last, self.at]
        whole: list[object] = [self.last, self.at, self.n, _storable(self.sum), self.min, self.max]
        return [*whole, self.texts] if self.texts else whole


# Metric → bucket; and by the start of the buckets.
Buckets: TypeAlias = dict[str, Bucket]
Timeline: TypeAlias = dict[int, Buckets]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Bucket]).decode


def of(value: Value, at: int) -> Bucket:
    """Return the bucket of one reading."""
    return Bucket(value, at, 0, texts=1) if isinstance(value, str) else Bucket(value, at)


def sound(value: Value) -> Value:
    """Take for a fraction what is too large for an integer: PostgreSQL gives 1e22 back as one."""
    is_large = type(value) is int and not -MAX_INTEGER <= value <= MAX_INTEGER
    return float(value) if is_large else value


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
