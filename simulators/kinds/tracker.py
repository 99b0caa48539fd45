"""PURE. A vehicle on a closed route: it slows down for corners, waits at lights, and says where it is."""

import math
from itertools import accumulate
from random import Random
from typing import Any, ClassVar, Final

from devices import wire
from devices.values import Value
from simulators.curves import Battery, Drift, approach, within
from simulators.model import Model, Outcome, Sample

# Vienna's ring road, once round (WGS 84, read off a map to about 20 m): 5 km with corners worth slowing down for.
_ROUTE: Final = (
    (48.2146, 16.3628),
    (48.2106, 16.3612),
    (48.2079, 16.3596),
    (48.2049, 16.3617),
    (48.2028, 16.3685),
    (48.2018, 16.3745),
    (48.2035, 16.3786),
    (48.2069, 16.3802),
    (48.2113, 16.3836),
    (48.2117, 16.3782),
    (48.2137, 16.3735),
    (48.2172, 16.3702),
    (48.2160, 16.3660),
)
_M_PER_DEGREE: Final = 111_195.0  # on a sphere of 6,371 km
_M_PER_DEGREE_LON: Final = _M_PER_DEGREE * math.cos(math.radians(48.21))
# Town traffic: 50 km/h is the limit; about 25 through a corner, felt 60 m before and behind it.
_CRUISE, _CORNER, _CORNER_M = 46.0, 25.0, 60.0
_LIGHT_S, _BETWEEN_LIGHTS_S = 12.0, 75.0
_SPEED_TAU, _BRAKING_TAU = 4.0, 2.0
_STANDING: Final = 1.5  # km/h below which a receiver's course means nothing
# Longer steps would cut corners that the wheels do not cut, s.
_LONGEST_STEP_S: Final = 1.0
_MOST_STEPS: Final = 120


def _legs() -> tuple[float, ...]:
    ends = (*_ROUTE[1:], _ROUTE[0])
    return tuple(
        math.hypot((b[0] - a[0]) * _M_PER_DEGREE, (b[1] - a[1]) * _M_PER_DEGREE_LON)
        for a, b in zip(_ROUTE, ends, strict=True)
    )


_LEGS: Final = _legs()
_STARTS: Final = (0.0, *accumulate(_LEGS))
LENGTH_M: Final = _STARTS[-1]


class Tracker(Model):
    """Where it is in degrees, speed in km/h, course in degrees from north, trip in km, battery in %."""

    kind = "tracker"
    product = "G-4 GPS tracker"
    places = ("Delivery van", "Night bus", "Tram 2", "Cargo bike", "Service car")
    metrics: ClassVar = {
        "speed": {"unit": "km/h", "class": "speed"},
        "course": {"unit": "°", "class": "course"},
        "trip": {"unit": "km", "class": "distance"},
        "battery": {"unit": "%", "class": "battery"},
    }
    commands: ClassVar[dict[str, dict[str, Any]]] = {
        "interval": {"type": "number", "min": 0.5, "max": 60, "step": 0.5, "unit": "s"},
        "horn": {"type": "action"},
    }

    def __init__(self, rng: Random, day_s: float) -> None:
        super().__init__(rng, day_s)
        self._along = rng.uniform(0, LENGTH_M)  # m from the first corner
        self._speed = rng.uniform(10, 40)
        self._trip = 0.0
        self._course = 0.0
        self._hurry = Drift(rng, 3.0, 20.0)
        self._fix = (Drift(rng, 1.5, 30.0), Drift(rng, 1.5, 30.0))  # m north and east of the truth
        self._battery = Battery(rng, day_s)
        self._level = self._battery.step(0)
        self._red_until = 0.0
        self._red_next: float | None = None

    def advance(self, now: float, elapsed: float) -> None:
        """Drive in small steps."""
        self._lights(now)
        steps = min(_MOST_STEPS, max(1, math.ceil(elapsed / _LONGEST_STEP_S)))
        for _ in range(steps):
            self._drive(elapsed / steps, red=now < self._red_until)
        for drift in (self._hurry, *self._fix):
            drift.step(elapsed)
        self._level = self._battery.step(elapsed)

    def _lights(self, now: float) -> None:
        if self._red_next is None:
            self._red_next = now + self.rng.expovariate(1 / _BETWEEN_LIGHTS_S)
        if now >= self._red_next:
            self._red_until = now + _LIGHT_S
            self._red_next = self._red_until + self.rng.expovariate(1 / _BETWEEN_LIGHTS_S)

    def _drive(self, elapsed: float, *, red: bool) -> None:
        wanted = 0.0 if red else within(8, _allowed(self._along) + self._hurry.value, 50)
        self._speed = approach(self._speed, wanted, elapsed, _BRAKING_TAU if red else _SPEED_TAU)
        metres = self._speed / 3.6 * elapsed
        self._along = (self._along + metres) % LENGTH_M
        self._trip += metres / 1000

    def read(self) -> list[Sample]:
        """Five digits of a degree are a metre: no receiver knows more."""
        (lat, lon), course = _place(self._along)
        north, east = (drift.value for drift in self._fix)
        if self._speed >= _STANDING:
            self._course = course
        place: dict[str, Value] = {
            "lat": round(lat + north / _M_PER_DEGREE, 5),
            "lon": round(lon + east / _M_PER_DEGREE_LON, 5),
            "acc": round(3 + math.hypot(north, east), 1),
        }
        driven: dict[str, Value] = {
            "speed": round(self._speed, 1) if self._speed >= _STANDING else 0.0,
            "course": round(self._course) % 360,
            "trip": round(self._trip, 2),
            "battery": self._level,
        }
        return [Sample(place, wire.LOCATION), Sample(driven)]

    def command(self, name: str, value: Value | None) -> Outcome:
        """`interval` changes how often it reports; the horn may be blown by everybody."""
        if name == "interval" and isinstance(value, int | float):
            self.interval = float(value)
            return Outcome(value=value)
        return Outcome(message="honk")


def _leg(along: float) -> tuple[int, float]:
    """Which leg of the route that is, and how far into it, m."""
    index = next(i for i in reversed(range(len(_LEGS))) if _STARTS[i] <= along)
    return index, along - _STARTS[index]


def _allowed(along: float) -> float:
    index, into = _leg(along)
    near = min(into, _LEGS[index] - into) / _CORNER_M
    return _CORNER + (_CRUISE - _CORNER) * within(0, near, 1)


def _place(along: float) -> tuple[tuple[float, float], float]:
    """The point of the route, and the course there in degrees."""
    index, into = _leg(along)
    start, end = _ROUTE[index], _ROUTE[(index + 1) % len(_ROUTE)]
    share = into / _LEGS[index]
    north, east = end[0] - start[0], end[1] - start[1]
    course = math.degrees(math.atan2(east * _M_PER_DEGREE_LON, north * _M_PER_DEGREE)) % 360
    return (start[0] + share * north, start[1] + share * east), course
