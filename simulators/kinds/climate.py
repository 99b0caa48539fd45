"""PURE. A room sensor: temperature and humidity follow the day, and somebody opens a window now and then."""

from random import Random
from typing import Any, ClassVar, Final

from devices.values import Value
from simulators.curves import Battery, Drift, approach, daily, within
from simulators.model import Model, Outcome, Sample

# A room cools by an open window in about a minute and warms again in three.
_AIRING_S: Final = 25.0
_BETWEEN_AIRINGS_S: Final = 150.0
_COOLING_TAU, _WARMING_TAU = 30.0, 60.0
# Relative humidity falls by about 4 % of its scale for each degree that the same air gets warmer.
_HUMIDITY_PER_DEGREE: Final = -4.0


class Climate(Model):
    """Temperature in °C, humidity in %, battery in %."""

    kind = "climate"
    product = "TH-2 climate sensor"
    places = ("Greenhouse", "Cold room", "Server room", "Cellar", "Attic", "Workshop", "Library", "Kitchen")
    metrics: ClassVar = {
        "temperature": {"unit": "°C", "class": "temperature"},
        "humidity": {"unit": "%", "class": "humidity"},
        "battery": {"unit": "%", "class": "battery"},
    }
    commands: ClassVar[dict[str, dict[str, Any]]] = {
        "interval": {"type": "number", "min": 0.5, "max": 60, "step": 0.5, "unit": "s"},
        "display": {"type": "text"},
    }

    def __init__(self, rng: Random, day_s: float) -> None:
        super().__init__(rng, day_s)
        self._mean = rng.uniform(18, 23)
        self._swing = rng.uniform(1.5, 3.5)
        self._damp = rng.uniform(45, 58)
        self._drift = Drift(rng, 0.15, 20.0)
        self._humid = Drift(rng, 0.6, 30.0)
        self._battery = Battery(rng, day_s)
        self._aired = 0.0  # degrees below what it would be with windows shut
        self._window_until = 0.0
        self._window_next: float | None = None
        self._read = (self._mean, self._damp, 100)

    def advance(self, now: float, elapsed: float) -> None:
        """Follow the day, the window and the noise."""
        self._window(now, elapsed)
        warmth = self._swing * daily(now, self.day_s) - self._aired + self._drift.step(elapsed)
        damp = self._damp + _HUMIDITY_PER_DEGREE * warmth + self._humid.step(elapsed)
        self._read = (self._mean + warmth, within(15, damp, 95), self._battery.step(elapsed))

    def _window(self, now: float, elapsed: float) -> None:
        if self._window_next is None:
            self._window_next = now + self.rng.expovariate(1 / _BETWEEN_AIRINGS_S)
        if now >= self._window_next:
            self._window_until = now + _AIRING_S
            self._window_next = self._window_until + self.rng.expovariate(1 / _BETWEEN_AIRINGS_S)
        is_open = now < self._window_until
        self._aired = approach(self._aired, 3.0 if is_open else 0.0, elapsed, _COOLING_TAU if is_open else _WARMING_TAU)

    def read(self) -> list[Sample]:
        """Two digits of temperature, as the common sensors give."""
        temperature, humidity, battery = self._read
        return [Sample({"temperature": round(temperature, 2), "humidity": round(humidity, 1), "battery": battery})]

    def command(self, name: str, value: Value | None) -> Outcome:
        """`interval` changes how often it measures; `display` shows a text."""
        if name == "interval" and isinstance(value, int | float):
            self.interval = float(value)
            return Outcome(value=value)
        return Outcome(value=value, message=f"shows {value!r}")
