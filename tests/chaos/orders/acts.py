"""What devices did: a line for each act, on the disk (fsync) before anything else happens. The act IS its record.

So a device that is killed has either acted and knows it, or neither. One whose act is something in the world would have
to bring that about: no protocol can (docs/chaos.md).
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Act(NamedTuple):
    """`cid` was carried out by this device at `at` (ms)."""

    cid: str
    device: str
    at: int


class Acts:
    """The file; appended to by one process at a time."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)

    def note(self, act: Act) -> None:
        os.write(self._file, f"{act.cid} {act.device} {act.at}\n".encode())
        os.fsync(self._file)


def read(path: Path) -> Iterator[Act]:
    """All acts, in order."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        cid, device, at = line.split()
        yield Act(cid, device, int(at))


def times(path: Path) -> dict[str, list[int]]:
    """cid → when it was carried out, each time."""
    found: dict[str, list[int]] = defaultdict(list)
    for act in read(path):
        found[act.cid].append(act.at)
    return found
