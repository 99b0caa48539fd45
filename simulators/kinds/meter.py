"""PURE. An electricity meter on one phase: a base load, appliances that come and go, energy that only grows."""

from random import Random
from typing import Any, ClassVar, Final

from devices.values import Value
from simulators.curves import Drift, daily
from simulators.model import Model, Outcome, Sample

# Appliance: W, mean s on, mean s off. Off times are short so that a chart has steps to show.
_APPLIANCES: Final = ((2000.0, 20.0, 70.0), (850.0, 35.0, 60.0), (120.0, 60.0, 40.0))
# A European house connection: 230 V; 0.25 ohm of line makes it sag by 2 V at 2 kW (EN 50160 allows 10 %).
_VOLT, _LINE_OHM = 232.0, 0.25
_J_PER_KWH: Final = 3.6e6


class _Appliance:
    def __init__(self, rng: Random, watts: float, on_s: float, off_s: float) -> None:
        self._rng, self._watts, self._mean = rng, watts, {True: on_s, False: off_s}
        self._on = rng.random() < on_s / (on_s + off_s)
        self._next: float | None = None

    def watts(self, now: float) -> float:
        while self._next is None or now >= self._next:
            self._on = self._on if self._next is None else not self._on
            self._next = (now if self._next is None else self._next) + self._rng.expovariate(1 / self._mean[self._on])
        return self._watts if self._on else 0.0


class Meter(Model):
    """Power in W, voltage in V, current in A, frequency in Hz, energy in kWh."""

    kind = "meter"
    product = "E-1 energy meter"
    places = ("House connection", "Workshop meter", "Heat pump meter", "Charging point", "Kitchen meter")
    metrics: ClassVar = {
        "power": {"unit": "W", "class": "power"},
        "voltage": {"unit": "V", "class": "voltage"},
        "current": {"unit": "A", "class": "current"},
        "frequency": {"unit": "Hz", "class": "frequency"},
        "energy": {"unit": "kWh", "class": "energy"},
    }
    commands: ClassVar[dict[str, dict[str, Any]]] = {
        "interval": {"type": "number", "min": 0.5, "max": 60, "step": 0.5, "unit": "s"},
        "display": {"type": "text"},
    }

    def __init__(self, rng: Random, day_s: float) -> None:
        super().__init__(rng, day_s)
        self._base = rng.uniform(180, 320)
        self._appliances = [_Appliance(rng, *each) for each in _APPLIANCES]
        self._flicker = Drift(rng, 9.0, 4.0)
        self._grid = Drift(rng, 0.9, 25.0)
        self._hertz = Drift(rng, 0.015, 12.0)
        self._energy = rng.uniform(1200, 9000)
        self._power = self._base

    def advance(self, now: float, elapsed: float) -> None:
        """Add up what is on; energy is the integral of power."""
        load = sum(each.watts(now) for each in self._appliances)
        evening = 1 + 0.35 * daily(now, self.day_s)
        self._power = max(5.0, self._base * evening + load + self._flicker.step(elapsed))
        self._energy += self._power * elapsed / _J_PER_KWH
        self._grid.step(elapsed)
        self._hertz.step(elapsed)

    def read(self) -> list[Sample]:
        """Current is what power and voltage make it."""
        volts = _VOLT + self._grid.value - _LINE_OHM * self._power / _VOLT
        readings: dict[str, Value] = {
            "power": round(self._power),
            "voltage": round(volts, 1),
            "current": round(self._power / volts, 2),
            "frequency": round(50 + self._hertz.value, 2),
            "energy": round(self._energy, 4),
        }
        return [Sample(readings)]

    def command(self, name: str, value: Value | None) -> Outcome:
        """`interval` changes how often it measures; `display` shows a text."""
        if name == "interval" and isinstance(value, int | float):
            self.interval = float(value)
            return Outcome(value=value)
        return Outcome(value=value, message=f"shows {value!r}")
