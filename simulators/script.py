"""PURE. What a scenario may say: what a fleet is made of, and what goes wrong. docs/simulators.md has the table."""

from typing import Annotated

import msgspec
from msgspec import Meta

from simulators.kinds import KINDS

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0)]


class Unusable(ValueError):
    """The scenario cannot be used; the message says what to write instead."""


class Dropouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device vanishes without a good-bye, on average every `every_s`, for a time between the two of `away_s`.

    `reboot` of these times it had lost its power: it begins a new boot and knows nothing of before. Otherwise only the
    network was away: what it measured meanwhile comes late, with its own times.
    """

    every_s: Seconds
    away_s: tuple[Seconds, Seconds]
    reboot: Share = 0.0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fleet is made of, and what goes wrong.

    kinds       kind → how many of such; more devices begin again from the start
    interval_s  each device measures every so often: drawn once, between the two
    day_s       how long a simulated day takes
    dropouts    none, or how they go
    duplicate   share of publishes that are sent twice
    bad         share of publishes that are followed by one which no hub can take in
    clockless   share of devices without a clock: they send `dt` instead of `ts`
    """

    kinds: dict[str, Annotated[int, Meta(ge=1, le=100_000)]]
    about: str = ""
    interval_s: tuple[Seconds, Seconds] = (1.0, 2.0)
    day_s: Seconds = 86_400.0
    dropouts: Dropouts | None = None
    duplicate: Share = 0.0
    bad: Share = 0.0
    clockless: Share = 0.0


def decode(text: bytes) -> Scenario:
    """Read a scenario; Unusable names the field and what it must be."""
    try:
        scenario = msgspec.json.decode(text, type=Scenario)
    except msgspec.DecodeError as error:
        raise Unusable(f"{error}; docs/simulators.md lists what a scenario has") from None
    if not scenario.kinds or (unknown := sorted(set(scenario.kinds) - set(KINDS))):
        fault = f"kinds has {', '.join(unknown)}" if scenario.kinds else "kinds is empty"
        raise Unusable(f"{fault}; there are {', '.join(KINDS)}")
    away = scenario.dropouts.away_s if scenario.dropouts else (1.0, 1.0)
    for name, (low, high) in (("interval_s", scenario.interval_s), ("dropouts.away_s", away)):
        if low > high:
            raise Unusable(f"{name} is [{low:g}, {high:g}]; the smaller number comes first")
    return scenario
