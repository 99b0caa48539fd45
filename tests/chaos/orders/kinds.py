"""PURE. The kinds of devices that carry commands out, and what their process is told."""

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

REMEMBERS: Final = 256


class Kind(NamedTuple):
    """remembers: says so to the hub; keeps: does so; persistent: its session at the broker; clock: looks at it."""

    remembers: bool
    keeps: bool
    persistent: bool
    clock: bool = True


KINDS: Final = {
    "kept": Kind(remembers=True, keeps=True, persistent=True),
    "clean": Kind(remembers=True, keeps=True, persistent=False),
    "plain": Kind(remembers=False, keeps=False, persistent=False),
    # The Python client that programs use (clients/python), which remembers for itself.
    "shipped": Kind(remembers=True, keeps=True, persistent=True),
    # Faults, for the judge to find.
    "amnesiac": Kind(remembers=True, keeps=False, persistent=True),
    "careless": Kind(remembers=True, keeps=True, persistent=True, clock=False),
}


class Job(msgspec.Struct):
    """devices: [key, secret, kind] of each; `ready`: a file that is touched whenever one of them has subscribed."""

    host: str
    port: int
    folder: str
    acts: str
    ready: str
    devices: list[tuple[str, str, str]]


def refusals(path: str | Path) -> Path:
    """Where devices note what came when its time was over."""
    return Path(f"{path}.refused")
