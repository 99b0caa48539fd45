"""The fuse: a file that says at which point which process is to be killed. Every process of a stack looks at it.

Whoever passes the named point for the n-th time takes the file away (one wins), kills the victim with SIGKILL, and goes
on when that is dead, if it was not itself.
"""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

POLL_S: Final = 0.001


class Passing(Protocol):
    def __call__(self, point: str, /) -> None: ...


class Fault(msgspec.Struct, frozen=True):
    """Which process dies where. `pids`: of the victim, when it is none of those that write their own (see `Lives`)."""

    number: int
    point: str
    victim: str
    nth: int
    pid: int | None = None


class Fuse:
    """The fuse in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._armed = folder / "fuse.json"
        self._passed: Counter[int] = Counter()
        self._lock = threading.Lock()

    def arm(self, fault: Fault) -> None:
        draft = self._folder / "fuse.draft"
        draft.write_bytes(msgspec.json.encode(fault))
        draft.rename(self._armed)

    def disarm(self) -> None:
        self._armed.unlink(missing_ok=True)

    def pid_file(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

    def struck(self, number: int) -> bool:
        """Whether the victim of this fault was killed."""
        return self._done(number).exists()

    def struck_at(self, number: int) -> float:
        return self._done(number).stat().st_mtime

    def passing(self, point: str) -> None:
        """Called at each point."""
        try:
            fault = msgspec.json.decode(self._armed.read_bytes(), type=Fault)
        except FileNotFoundError:
            return
        if fault.point != point:
            return
        with self._lock:
            self._passed[fault.number] += 1
            if self._passed[fault.number] < fault.nth:
                return
            with suppress(FileNotFoundError):  # another one was first
                self._armed.rename(self._folder / f"striking-{fault.number}")
                self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        pid = fault.pid or int(self.pid_file(fault.victim).read_text())
        done = self._done(fault.number)
        if pid == os.getpid():
            done.touch()
            os.kill(pid, signal.SIGKILL)
        for one in [pid, *children(pid)]:
            kill(one)
        done.touch()

    def _done(self, number: int) -> Path:
        return self._folder / f"struck-{number}"


def children(pid: int) -> list[int]:
    """The processes that this one has started and that live."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def kill(pid: int) -> None:
    """Kill, and return once it is dead; who started it may not have noticed yet."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while lives(pid):
        time.sleep(POLL_S)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
