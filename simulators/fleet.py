"""PURE. Which devices a fleet has: the same seed gives the same kinds, names, places, batteries and fates."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import msgspec

from simulators.device import Device
from simulators.dice import dice
from simulators.fate import Fate
from simulators.firmware import Firmware
from simulators.kinds import KINDS
from simulators.script import Scenario, Unusable


class Credentials(msgspec.Struct, frozen=True):
    """What a device logs in with; `kind` may be left to the scenario."""

    key: str
    secret: str
    kind: str = ""

    def __repr__(self) -> str:
        """Show it as it may be logged: without the secret."""
        return f"Credentials(key={self.key!r}, kind={self.kind!r})"


def kinds(scenario: Scenario) -> Iterator[str]:
    """Endless: one of each kind first, then of those there are more of, then from the start."""
    most = max(scenario.kinds.values())
    return cycle([kind for turn in range(most) for kind, count in scenario.kinds.items() if turn < count])


def keys(scenario: Scenario, n: int, prefix: str = "sim-") -> list[str]:
    """Keys for n devices: sim-climate-1, sim-pump-1, …"""
    made: dict[str, int] = {}
    found = []
    for kind in islice(kinds(scenario), n):
        made[kind] = made.get(kind, 0) + 1
        found.append(f"{prefix}{kind}-{made[kind]}")
    return found


def kind_of(given: Credentials, usual: str) -> str:
    """The kind that was asked for, else the one in the key, else the scenario's. Unusable: there is no such kind."""
    if given.kind and given.kind not in KINDS:
        raise Unusable(f"{given.key} is a {given.kind!r}; there are {', '.join(KINDS)}")
    if given.kind:
        return given.kind
    return next((part for part in given.key.split("-") if part in KINDS), usual)


def devices(seed: int, n: int, scenario: Scenario) -> list[Device]:
    """The first n devices of the fleet that the seed stands for. Nobody switched them on yet."""
    return assemble(seed, [Credentials(key, "") for key in keys(scenario, n)], scenario)


def assemble(seed: int, given: Sequence[Credentials], scenario: Scenario, rate: float | None = None) -> list[Device]:
    """Make a device for each login. `rate`: measurements a second of each, instead of the scenario's interval."""
    wanted = [kind_of(login, usual) for login, usual in zip(given, kinds(scenario), strict=False)]
    return [_device(seed, login.key, kind, scenario, rate) for login, kind in zip(given, wanted, strict=True)]


def _device(seed: int, key: str, kind: str, scenario: Scenario, rate: float | None) -> Device:
    # By key, not by place: who else is in the fleet must not change what a device is.
    rng = dice(seed, key)
    interval_s = round(rng.uniform(*scenario.interval_s), 2)
    model = KINDS[kind](dice(seed, key, kind), scenario.day_s)
    firmware = Firmware(
        key,
        _name(model.places, key),
        model,
        interval_s=1 / rate if rate else interval_s,
        clockless=rng.random() < scenario.clockless,
    )
    return Device(firmware, Fate(dice(seed, key, "fate"), scenario))


def _name(places: Sequence[str], key: str) -> str:
    """Name it by the number at its key's end: sim-pump-1 is the first place; when all are taken they go on with 2."""
    digits = key.rpartition("-")[2]
    turn, place = divmod(max(0, int(digits) - 1) if digits.isdecimal() else 0, len(places))
    return places[place] + (f" {turn + 1}" if turn else "")
