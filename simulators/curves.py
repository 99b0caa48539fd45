"""PURE. The few curves that physics needs: a day, a decay, a wandering noise, a battery.

All are exact for any step, so a model that was not asked for a minute does not explode. Times in s.
"""

import math
from random import Random
from typing import Final

# The air is warmest about 15:00: it follows the sun by three hours.
_WARMEST: Final = 15 / 24
# A coin cell or a door sensor's pair of AA cells lasts about a year; a battery that is empty gets changed.
_DAYS_OF_BATTERY: Final = 365.0
_CHANGED_BELOW: Final = 5.0


def daily(now: float, day_s: float) -> float:
    """The time of day as a wave: 1 when it is warmest, -1 twelve hours later; a day takes `day_s`."""
    return math.cos(2 * math.pi * (now / day_s - _WARMEST))


def approach(value: float, target: float, elapsed: float, tau: float) -> float:
    """First-order lag: after `tau` 63 % of the way is done."""
    return target + (value - target) * math.exp(-elapsed / tau)


def within(low: float, value: float, high: float) -> float:
    """The value, held between two limits."""
    return min(high, max(low, value))


class Drift:
    """A noise that wanders and comes back (Ornstein-Uhlenbeck): `spread` is its standard deviation."""

    def __init__(self, rng: Random, spread: float, tau: float) -> None:
        self._rng = rng
        self._spread = spread
        self._tau = tau
        self.value = rng.gauss(0, spread)

    def step(self, elapsed: float) -> float:
        """Wander on, and return where it is."""
        kept = math.exp(-elapsed / self._tau)
        self.value = self.value * kept + self._spread * math.sqrt(1 - kept * kept) * self._rng.gauss(0, 1)
        return self.value


class Battery:
    """A battery that empties in a year of simulated days and is then changed."""

    def __init__(self, rng: Random, day_s: float) -> None:
        self._level = rng.uniform(35, 100)
        self._per_s = 100 / (_DAYS_OF_BATTERY * day_s)

    def step(self, elapsed: float) -> int:
        """What is left, in %."""
        self._level -= elapsed * self._per_s
        if self._level < _CHANGED_BELOW:
            self._level = 100.0
        return round(self._level)
