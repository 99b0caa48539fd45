"""PURE. What a simulated thing is: it goes on in time, is read, and takes orders. No clock, no wire."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar, NamedTuple

from devices import wire
from devices.values import Value
from telemetry_hub.device.words import Status


class Sample(NamedTuple):
    """The readings of one instant; `level` is the topic level they are sent to: telemetry or location."""

    values: dict[str, Value]
    level: str = wire.TELEMETRY


class Outcome(NamedTuple):
    """What became of an order. `accepted` means: under way; `progress` from 0 to 1.

    reboot_s: the device restarts now and is away for so long; the order is done when it is back.
    """

    status: Status = "ok"
    value: Value | None = None
    message: str = ""
    progress: float | None = None
    reboot_s: float | None = None


class Model(ABC):
    """One thing. `step(now)` lets it go on until `now` (s since the epoch) and returns its readings.

    kind      how scenarios call it
    product   what it says it is
    places    what its owners call it; names are taken from here
    metrics   name → {"unit", "class"}; commands name → {"type", …}, as announced (docs/protocol/mqtt.md)
    """

    kind: ClassVar[str]
    product: ClassVar[str]
    places: ClassVar[tuple[str, ...]]
    metrics: ClassVar[Mapping[str, Mapping[str, str]]]
    commands: ClassVar[Mapping[str, Mapping[str, Any]]]

    def __init__(self, rng: Random, day_s: float) -> None:
        """All its chance comes from `rng`; its day takes `day_s`."""
        self.rng = rng
        self.day_s = day_s
        self.interval = 1.0  # s between readings
        self._at: float | None = None

    def step(self, now: float) -> list[Sample]:
        """Go on until `now` and read. A clock that was set back stands still until it is past again."""
        if self._at is None:
            self._at = now
        elapsed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self.advance(self._at, elapsed)
        return self.read()

    @abstractmethod
    def advance(self, now: float, elapsed: float) -> None:
        """Let `elapsed` seconds pass."""

    @abstractmethod
    def read(self) -> list[Sample]:
        """What its sensors show, rounded as its maker would."""

    @abstractmethod
    def command(self, name: str, value: Value | None) -> Outcome:
        """Carry out an order that fits the announced commands."""

    def progress(self, name: str) -> Outcome:  # noqa: ARG002  for those that have something slow
        """How far an accepted order is."""
        return Outcome()

    def restart(self, now: float) -> None:
        """Power was away until `now`, and nothing happened meanwhile."""
        self._at = now
