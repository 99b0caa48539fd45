"""PURE. Latencies as counts for each millisecond: exact enough, and small whatever is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

STEP_US: Final = 1000


class Latencies:
    """How often each latency was seen."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        """Start with none, or with what `told` said."""
        self.counts = Counter({int(step): count for step, count in (counts or {}).items()})

    def add(self, took_us: int, count: int = 1) -> None:
        """Note one, or several of the same."""
        self.counts[took_us // STEP_US] += count

    def __add__(self, other: Latencies) -> Latencies:
        both = Latencies()
        both.counts = self.counts + other.counts
        return both

    def told(self) -> dict[str, int]:
        """Say it in JSON."""
        return {str(step): count for step, count in self.counts.items()}

    @property
    def amount(self) -> int:
        """How many there are."""
        return self.counts.total()

    def ms(self, share: float) -> float:
        """Return the latency that this share of all stays below (1: the longest), in ms; 0 when there are none."""
        wanted, seen, step = share * self.amount, 0, -1
        for step in sorted(self.counts):
            seen += self.counts[step]
            if seen >= wanted:
                break
        return (step + 1) * STEP_US / 1000

    def summary(self) -> dict[str, float]:
        """Median, tails and the longest, in ms."""
        return {"p50 ms": self.ms(0.5), "p99 ms": self.ms(0.99), "p99.9 ms": self.ms(0.999), "max ms": self.ms(1)}
