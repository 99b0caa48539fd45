"""The steps of a commit, timed: `python -m benchmarks.stages DEVICES PAYLOAD` in the environment of a hub; prints JSON.

Run by benchmarks.ingest. µs a frame in all, waiting for the database included, for batches of some sizes.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

import django

django.setup()

from devices import intake, journal, registry, telemetry, wire  # noqa: E402 -- the settings come first
from devices.batch import sort  # noqa: E402

SIZES: Final = (1, 100, 1000)
FRAMES: Final = 5000
STEPS: Final = (
    (telemetry, "_locked_heads", "read and lock heads"),
    (telemetry, "_known_marks", "look for duplicates"),
    (journal, "append", "write frames"),
    (journal, "update_heads", "write heads"),
)


def main() -> None:
    """Time what is asked for."""
    devices, payload = int(sys.argv[1]), sys.argv[2].encode()
    spent: Counter[str] = Counter()
    for module, name, label in STEPS:
        _time(module, name, label, spent)
    directory = registry.directory()
    found, number = {}, 10_000_000
    for size in SIZES:
        spent.clear()
        rounds = max(5, FRAMES // size)
        for _ in range(rounds):
            numbers = range(number, number + size)
            _commit([_message(n, devices, payload) for n in numbers], directory, spent)
            number += size
        found[size] = {label: at / rounds / size * 1e6 for label, at in spent.items()}
    print(json.dumps(found))


def _message(n: int, devices: int, payload: bytes) -> wire.Message:
    now = time.time_ns() // 1_000_000
    topic = f"hub/d{n % devices}/telemetry"
    return wire.Message(topic=topic, payload=payload % n, received_at=now, qos=1, mid=n % 65535 + 1)


def _commit(messages: list[wire.Message], directory: Mapping[str, registry.Entry], spent: Counter[str]) -> None:
    began = time.perf_counter()
    batch = sort(messages, wire.read, directory)
    sorted_at = time.perf_counter()
    intake.store(batch, time.time_ns() // 1_000_000)
    spent["decode and sort"] += sorted_at - began
    spent["store, all of it"] += time.perf_counter() - sorted_at


def _time(module: ModuleType, name: str, label: str, spent: Counter[str]) -> None:
    call: Callable[..., object] = getattr(module, name)

    def timed(*args: object) -> object:
        began = time.perf_counter()
        try:
            return call(*args)
        finally:
            spent[label] += time.perf_counter() - began

    setattr(module, name, timed)


if __name__ == "__main__":
    main()
