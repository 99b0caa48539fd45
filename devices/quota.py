"""How much one may ask of a process: requests by time, and places that are held (open sockets, streams, long polls).

Each process counts for itself, in memory: N web processes let in N times as much. It needs no Redis, and is enough to
keep one who floods from costing the others anything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from django.conf import settings

from devices.errors import Refusal

# Who asks: ("user", row id), ("token", digest), ("address", text).
Whose = tuple[str, object]
# Of so many some are over for long, and are forgotten.
MANY: Final = 10_000
# When one who has all their places taken may look whether one is free.
PLACE_S: Final = 10


class Bucket:
    """What may still be asked at once, as of a moment (s)."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Start full: `burst` at once, `rate` a second."""
        self.rate, self.burst = rate, burst
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> float:
        """Take one: 0; or return in how many seconds there is one."""
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self.rate
        self._left -= 1
        return 0.0

    def is_full(self, now: float) -> bool:
        """Whether it is as if nothing had been taken."""
        return self._left + (now - self._at) * self.rate >= self.burst


class Requests:
    """A bucket for each who asks, as the settings say."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nobody."""
        self._clock = clock
        self._lock = Lock()  # requests are served in threads
        self._buckets: dict[Whose, Bucket] = {}

    def take(self, whose: Whose) -> float:
        """Count one more: 0; or return in how many seconds it would be taken."""
        rate, burst = settings.HUB_API_RATE, settings.HUB_API_BURST
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(whose)
            if bucket is None or (bucket.rate, bucket.burst) != (rate, burst):
                self._tidy(now)
                bucket = self._buckets[whose] = Bucket(rate, burst, now)
            return bucket.take(now)

    def forget(self) -> None:
        """Know nobody any more."""
        self._buckets.clear()

    def _tidy(self, now: float) -> None:
        """Forget who has asked for nothing for long; of more than is thinkable, whoever came first."""
        if len(self._buckets) >= MANY:
            self._buckets = {whose: bucket for whose, bucket in self._buckets.items() if not bucket.is_full(now)}
            while len(self._buckets) >= MANY:
                del self._buckets[next(iter(self._buckets))]


class Places:
    """Who holds how many. Used on the event loop alone."""

    def __init__(self) -> None:
        """Have all of them free."""
        self._held: Counter[Whose] = Counter()

    def check(self, *whose: Whose) -> None:
        """Refuse one more to whom has all of theirs taken."""
        most = settings.HUB_CONNECTIONS
        for one in whose:
            if self._held[one] >= most:
                text = f"{most} sockets, streams and long polls are open for this {one[0]}; come back in {PLACE_S} s."
                raise Refusal("too_many_requests", text, 429, retry_after_s=PLACE_S)

    def enter(self, *whose: Whose) -> None:
        """Hold a place; refuses who has none."""
        self.check(*whose)
        self.take(*whose)

    def take(self, *whose: Whose) -> None:
        """Hold a place; who does was asked before."""
        self._held.update(whose)

    def leave(self, *whose: Whose) -> None:
        """Give it back."""
        for one in whose:
            self._held[one] -= 1
            if self._held[one] <= 0:
                del self._held[one]

    @contextmanager
    def held(self, *whose: Whose) -> Iterator[None]:
        """Hold a place for a while."""
        self.enter(*whose)
        try:
            yield
        finally:
            self.leave(*whose)


requests: Final = Requests()
places: Final = Places()
