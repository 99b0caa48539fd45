"""What the kernel says of a process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

TICKS: Final = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """What a process holds, in bytes: resident, and its fair share of that."""

    rss: int
    pss: int


def memory(pid: int) -> Memory:
    """Look at it."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, size = line.partition(":")
        sizes[name] = int(size.split()[0]) * 1024
    return Memory(sizes["Rss"], sizes["Pss"])


def handles(pid: int) -> int:
    """How many files and sockets it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  only how many


def own_cpu_s(pid: int) -> float:
    """What a process' threads, as many as there are now, have spent, in s; to the ns."""
    total = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has just ended
            total += int(stat.read_text().split()[0])
    return total / 1e9


def cpu_s(pid: int) -> float:
    """What a process and all its children have spent, in s; to a tick."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / TICKS
    return total
