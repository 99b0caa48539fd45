"""What a scenario is, what it is given, and what comes of it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from tests.chaos.orders.judge import Cell

# How many of the kills of a scenario are told of while it runs.
STEPS: Final = 10


class Result(msgspec.Struct, kw_only=True):
    """One line of the table. None: does not apply.

    broken     each promise that was not kept, in a sentence; empty: all were
    missing    why it was not run; empty: it was
    more       what else was measured, name → value
    cells      of commands: what became of them, by where who was killed
    """

    scenario: str
    kills: int = 0
    published: int = 0
    acked: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    gaps: int | None = None
    complete_s: float | None = None
    seconds: float = 0
    broken: list[str] = []
    missing: str = ""
    more: dict[str, Any] = {}
    cells: list[Cell] = []


class Plan:
    """How a scenario is to be run."""

    def __init__(self, folder: Path, *, times: int, frames: int, rate: float, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.times = times
        self.frames = frames
        self.rate = rate
        self.say = say
        # The same pauses each time, as far as the machine allows.
        self.dice = Random(20_260)

    def rounds(self) -> Iterator[int]:
        """Count the kills, telling of some."""
        began = time.monotonic()
        for index in range(1, self.times + 1):
            yield index
            if index % max(1, self.times // STEPS) == 0:
                self.say(f"{index} of {self.times} ({time.monotonic() - began:.0f} s)")


class Scenario(NamedTuple):
    """One way in which things go wrong. `times` kills, or `frames`, are what the project promises for."""

    name: str
    about: str
    run: Callable[[Plan], Result]
    times: int = 0
    frames: int = 0
    # What this machine must have, by the names of services.HOW_TO_GET.
    needs: tuple[str, ...] = ("mosquitto", "redis-server", "postgres")
    # Whether it mounts a file system.
    root: bool = False
