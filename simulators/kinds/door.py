"""PURE. A door with a contact and a lock: a bool, a text and a counter; the one that can fail an order."""

from random import Random
from typing import Any, ClassVar, Final

from devices.values import Value
from simulators.curves import Battery
from simulators.model import Model, Outcome, Sample

# Doors of offices: opened about twice a minute in the demo's hurry, open for some seconds; sometimes held.
_SHUT_S, _OPEN_S, _HELD_S = 22.0, 5.0, 25.0
_HELD_SHARE: Final = 0.12
# From when on an open door is worth a word.
_HELD_AFTER_S: Final = 12.0


class Door(Model):
    """open (bool), state (closed, open, held open, locked), locked (bool), opened (count), battery in %."""

    kind = "door"
    product = "D-1 door contact"
    places = ("Main entrance", "Loading dock", "Store room", "Roof hatch", "Lab door")
    metrics: ClassVar = {
        "open": {"class": "door"},
        "state": {},
        "locked": {"class": "lock"},
        "opened": {},
        "battery": {"unit": "%", "class": "battery"},
    }
    commands: ClassVar[dict[str, dict[str, Any]]] = {
        "locked": {"type": "bool"},
        "chime": {"type": "action"},
    }

    def __init__(self, rng: Random, day_s: float) -> None:
        super().__init__(rng, day_s)
        self._battery = Battery(rng, day_s)
        self._level = self._battery.step(0)
        self._open = self._locked = False
        self._opened = 0
        self._since = 0.0
        self._next: float | None = None
        self._now = 0.0

    def advance(self, now: float, elapsed: float) -> None:
        """People come and go, unless it is locked."""
        self._now = now
        self._level = self._battery.step(elapsed)
        if self._next is None:
            self._next = now + self.rng.expovariate(1 / _SHUT_S)
        while now >= self._next:
            self._turn(self._next)

    def _turn(self, now: float) -> None:
        if self._locked and not self._open:
            self._next = now + self.rng.expovariate(1 / _SHUT_S)
            return
        self._open = not self._open
        self._since = now
        self._opened += self._open
        held = self._open and self.rng.random() < _HELD_SHARE
        usual = _OPEN_S if self._open else _SHUT_S
        self._next = now + (_HELD_S if held else 1.0 + self.rng.expovariate(1 / usual))

    def read(self) -> list[Sample]:
        """What its contact says."""
        readings: dict[str, Value] = {
            "open": self._open,
            "state": self._state(),
            "locked": self._locked,
            "opened": self._opened,
            "battery": self._level,
        }
        return [Sample(readings)]

    def _state(self) -> str:
        if self._open:
            return "held open" if self._now - self._since >= _HELD_AFTER_S else "open"
        return "locked" if self._locked else "closed"

    def command(self, name: str, value: Value | None) -> Outcome:
        """An open door cannot be locked."""
        if name == "chime":
            return Outcome(message="ding dong")
        if value and self._open:
            return Outcome("error", message="the door is open; close it first")
        self._locked = bool(value)
        return Outcome(value=self._locked)
