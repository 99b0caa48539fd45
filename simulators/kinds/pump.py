"""PURE. A pump that holds a pressure: relay, set point, mode, restart. Pressure follows slowly, power follows it."""

import math
from random import Random
from typing import Any, ClassVar, Final

from devices.values import Value
from simulators.curves import Drift, approach, daily, within
from simulators.model import Model, Outcome, Sample

# How fast the drive may turn up in each mode, s; and what that costs in efficiency.
_TAU: Final = {"eco": 2.4, "auto": 1.5, "boost": 0.8}
_EFFICIENCY: Final = {"eco": 0.62, "auto": 0.55, "boost": 0.44}
# Hydraulic power in W is pressure (bar → 1e5 Pa) times flow (L/min → 1/60000 m³/s): 1.667 W for 1 bar and 1 L/min.
_WATT: Final = 1e5 / 60_000
_STANDBY_W: Final = 6.0
_AMBIENT, _DEGREES_PER_WATT, _MOTOR_TAU = 19.0, 0.11, 90.0
# Nobody sees a difference below this on a manometer, bar.
_REACHED: Final = 0.12
_REBOOT_S: Final = 2.0


class Pump(Model):
    """Pressure in bar, flow in L/min, power in W, motor temperature in °C, relay, set point in bar, mode."""

    kind = "pump"
    product = "P-600 booster pump"
    places = ("Well pump", "Booster pump", "Irrigation pump", "Cooling pump", "Cistern pump")
    metrics: ClassVar = {
        "pressure": {"unit": "bar", "class": "pressure"},
        "flow": {"unit": "L/min", "class": "volume_flow_rate"},
        "power": {"unit": "W", "class": "power"},
        "temperature": {"unit": "°C", "class": "temperature"},
        "relay": {},
        "setpoint": {"unit": "bar", "class": "pressure"},
        "mode": {},
    }
    commands: ClassVar[dict[str, dict[str, Any]]] = {
        "relay": {"type": "bool"},
        "setpoint": {"type": "number", "min": 0.5, "max": 6, "step": 0.1, "unit": "bar"},
        "mode": {"type": "enum", "options": ["eco", "auto", "boost"]},
        "reboot": {"type": "action", "dangerous": True},
        "update": {"type": "update"},
    }

    def __init__(self, rng: Random, day_s: float) -> None:
        super().__init__(rng, day_s)
        self._relay = True
        self._setpoint = round(rng.uniform(2.2, 3.8), 1)
        self._mode = "auto"
        self._pressure = 0.0
        self._valve = rng.uniform(9, 14)  # L/min that flow at 1 bar when half of the taps are open
        self._temperature = _AMBIENT + 12
        self._flow = self._power = 0.0
        self._ripple = Drift(rng, 0.02, 1.5)
        self._taps = Drift(rng, 0.16, 15.0)
        self._gap = 1.0  # bar between the pressure and the set point when that was ordered

    def advance(self, now: float, elapsed: float) -> None:
        """Pressure follows the set point while the relay is on, else it leaks away."""
        target = self._setpoint if self._relay else 0.0
        self._pressure = approach(self._pressure, target, elapsed, _TAU[self._mode])
        taps = within(0.05, 0.5 + 0.2 * daily(now, self.day_s) + self._taps.step(elapsed), 1.0)
        self._flow = 2 * taps * self._valve * math.sqrt(self._pressure) if self._relay else 0.0
        drawn = _WATT * self._pressure * self._flow / _EFFICIENCY[self._mode] if self._relay else 0.0
        self._power = _STANDBY_W + drawn
        self._temperature = approach(self._temperature, _AMBIENT + _DEGREES_PER_WATT * drawn, elapsed, _MOTOR_TAU)
        self._ripple.step(elapsed)

    def read(self) -> list[Sample]:
        """What its gauges show."""
        shown = max(0.0, self._pressure + (self._ripple.value if self._relay else 0.0))
        return [
            Sample(
                {
                    "pressure": round(shown, 2),
                    "flow": round(self._flow, 1),
                    "power": round(self._power),
                    "temperature": round(self._temperature, 1),
                    "relay": self._relay,
                    "setpoint": self._setpoint,
                    "mode": self._mode,
                }
            )
        ]

    def command(self, name: str, value: Value | None) -> Outcome:
        """A relay clicks at once; a pressure takes its time; a restart takes it away for two seconds."""
        match name, value:
            case "relay", bool(on):
                self._relay = on
            case "mode", str(mode):
                self._mode = mode
            case "setpoint", int() | float():
                self._setpoint = float(value)
                self._gap = max(_REACHED, abs(self._setpoint - self._pressure))
                return self.progress(name)
            case _:
                return Outcome("accepted", reboot_s=_REBOOT_S)
        return Outcome(value=value)

    def progress(self, name: str) -> Outcome:  # noqa: ARG002  nothing but the set point takes its time
        """How much of the way to the set point is done."""
        if not self._relay:
            return Outcome(value=self._setpoint, message="holds when the relay is on")
        left = abs(self._setpoint - self._pressure)
        if left <= _REACHED:
            return Outcome(value=self._setpoint)
        return Outcome("accepted", self._setpoint, progress=round(within(0, 1 - left / self._gap, 0.99), 2))

    def restart(self, now: float) -> None:
        """Without power the pressure is gone; settings are in flash."""
        super().restart(now)
        self._pressure = 0.0
