"""PURE. What goes wrong for a device, by its scenario's dice: dropouts, doubles, and messages nobody can take in."""

from random import Random
from typing import Final, NamedTuple

from devices.values import MAX_NESTING, Reason
from simulators.script import Scenario


class Bad(NamedTuple):
    """A message that no hub can take in: topic behind hub/<key>/, payload, and the reason a hub should give."""

    level: str
    payload: bytes
    reason: Reason


# What real devices have been seen to send: half a format, a sensor's "nan", another's id, a clock that is a word.
BAD: Final = (
    Bad("telemetry", b"temperature=21.5", "not_json"),
    Bad("telemetry", b'{"temperature":NaN}', "not_json"),
    Bad("telemetry", b'{"temperature":1e999}', "number_out_of_range"),
    Bad("telemetry/temperature", b"nan", "number_out_of_range"),
    Bad("telemetry/temperature", b"\xff\xfe\x15", "not_utf8"),
    Bad("telemetry", b'{"ts":"yesterday","values":{"temperature":21.5}}', "bad_timestamp"),
    Bad("telemetry", b'{"device":"somebody-else","temperature":21.5}', "identity_mismatch"),
    Bad("telemetry", b"[" * (MAX_NESTING + 2) + b"]" * (MAX_NESTING + 2), "nested_too_deep"),
    Bad("telemetry", b"{}", "bad_value"),
    Bad("status", b"maybe", "bad_value"),
    Bad("nonsense", b"1", "topic_unknown"),
)


class Away(NamedTuple):
    """A device is not there until then. `reboot`: without power; `polite`: it says good-bye first."""

    until: float
    reboot: bool
    polite: bool = False


class Fate:
    """The dice of one device."""

    def __init__(self, rng: Random, scenario: Scenario) -> None:
        self._rng = rng
        self._scenario = scenario
        self._dropout_at: float | None = None

    def dropout(self, now: float) -> Away | None:
        """Whether the device vanishes now, and for how long."""
        dropouts = self._scenario.dropouts
        if dropouts is None:
            return None
        if self._dropout_at is None:
            self._dropout_at = now + self._rng.expovariate(1 / dropouts.every_s)
        if now < self._dropout_at:
            return None
        until = now + self._rng.uniform(*dropouts.away_s)
        self._dropout_at = until + self._rng.expovariate(1 / dropouts.every_s)
        return Away(until, reboot=self._rng.random() < dropouts.reboot)

    def doubles(self) -> bool:
        """Whether what was just sent is sent again."""
        return self._rng.random() < self._scenario.duplicate

    def bad(self) -> Bad | None:
        """What nonsense follows."""
        return self._rng.choice(BAD) if self._rng.random() < self._scenario.bad else None
