"""Whoever watches all devices over live sockets, and keeps of each row just enough to compare it with the database."""

import time
from array import array
from collections.abc import Sequence
from typing import Final

from tests.live import Follower, Message

# After that a watcher is given up; the promise is far shorter.
PATIENCE_S: Final = 60.0
POLL_S: Final = 0.02


class Watcher(Follower):
    """Follows through any number of sockets. `numbers`: device → the frames' own numbers, in order of seq.

    lag_ms: how old the newest row was when it came
    """

    def __init__(self, url: str, token: str, *devices: str) -> None:
        super().__init__(url, token, *devices)
        self.numbers = {device: array("q") for device in devices}
        self.lag_ms = 0.0

    def cursor(self) -> dict[str, int]:
        return {device: len(numbers) for device, numbers in self.numbers.items()}

    def _take(self, message: Message) -> None:
        now = time.time() * 1000
        for device, part in message["devices"].items():
            numbers, frames = self.numbers[device], part["frames"]
            if part["prev"] != len(numbers):
                self.faults.append(f"{device}: {part['prev']} does not follow {len(numbers)}")
            numbers.extend(row[2]["n"] for row in frames)
            if frames:
                self.lag_ms = now - frames[-1][2]["at"]


def complete(watchers: Sequence[Watcher], heads: dict[str, int]) -> float:
    """Wait until all watchers have all this; how long it took, in seconds (infinite: in vain)."""
    began = time.monotonic()
    while not all(_has(watcher, heads) for watcher in watchers):
        if time.monotonic() - began > PATIENCE_S:
            return float("inf")
        time.sleep(POLL_S)
    return time.monotonic() - began


def _has(watcher: Watcher, heads: dict[str, int]) -> bool:
    cursor = watcher.cursor()
    return all(cursor[key] >= seq for key, seq in heads.items() if key in cursor)


def faults(watchers: Sequence[Watcher], stored: dict[str, list[int]]) -> list[str]:
    """What the watchers were told wrongly, or told otherwise than it is stored."""
    found: list[str] = []
    for index, watcher in enumerate(watchers, 1):
        found += [f"watcher {index}: {fault}" for fault in watcher.faults[:3]]
        other = [key for key, numbers in watcher.numbers.items() if list(numbers) != stored.get(key, [])]
        found += [f"watcher {index} saw otherwise than what is stored of {', '.join(other)}"] if other else []
    return found
