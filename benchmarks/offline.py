"""Ten minutes without a broker: `python -m benchmarks.offline [--readings 600000] [--seconds 600] [--json FILE]`.

A program with the Python client measures all the time. Its broker is killed (SIGKILL), and comes back when the time is
over; half way the program itself is killed and started again, and once more while it catches up. Then the hub has to
have each reading, once.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import processes
from telemetry_hub.device import Device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub import Production

_TICK_S: Final = 0.02
_POLL_S: Final = 0.1
# Online before the cut, and how long it may take to catch up: four times as long as the hub's limit makes it.
_BEFORE_S: Final = 2.0
_PATIENCE: Final = 4.0
_BOTH: Final = struct.Struct("<qq")


# --- the program: a process of its own


class Ledger:
    """What the program began to publish, and what `publish` has returned for: two numbers that survive a kill."""

    def __init__(self, path: Path) -> None:
        """Open it, and go on behind what was begun."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        said = os.pread(self._file, _BOTH.size, 0)
        self.begun, self.done = _BOTH.unpack(said) if said else (0, 0)
        if self.begun != self.done:  # killed in between: nobody knows whether it was kept
            with path.with_suffix(".open").open("a") as unsure:
                unsure.write(f"{self.begun}\n")

    def note(self, begun: int, done: int) -> None:
        """Write both."""
        os.pwrite(self._file, _BOTH.pack(begun, done), 0)


async def measure(job: dict[str, Any]) -> None:
    """Publish 1, 2, 3, … as fast as is asked, up to the last one; be connected until the pipe on stdin is closed."""
    device = Device(job["key"], job["secret"], job["host"], job["port"], tls=False, buffer=job["buffer"])
    ledger = Ledger(Path(job["ledger"]))
    n, began = ledger.begun, time.monotonic()
    first = n
    async with device:
        while n < job["readings"]:
            due = min(job["readings"], first + int((time.monotonic() - began) * job["rate"]))
            while n < due:
                n += 1
                ledger.note(n, n - 1)
                device.publish(n=n)
                ledger.note(n, n)
            await asyncio.sleep(_TICK_S)
        await asyncio.to_thread(sys.stdin.read)


class Program:
    """The program as its operator sees it."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        """Start it."""
        self._folder = folder
        self._job = job | {"buffer": str(folder / "buffer.db"), "ledger": str(folder / "ledger")}
        self.most_rss = 0
        self.start()

    def start(self) -> None:
        """Start it (again), with the same buffer."""
        with (self._folder / "program.log").open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.offline", "--as-program"],
                stdin=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(self._job).encode() + b"\n")
        self._child.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, in whatever it does."""
        self._child.send_signal(signal.SIGKILL)
        self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()

    def end(self) -> None:
        """Have it leave in order."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(30)

    @property
    def done(self) -> int:
        """What it has published for sure."""
        with contextlib.suppress(OSError):
            self.most_rss = max(self.most_rss, processes.memory(self._child.pid).rss)
        ledger = self._folder / "ledger"
        return _BOTH.unpack(ledger.read_bytes())[1] if ledger.exists() and ledger.stat().st_size else 0

    @property
    def unsure(self) -> set[int]:
        """What it was publishing when it was killed."""
        path = self._folder / "ledger.open"
        return {int(line) for line in path.read_text().split()} if path.exists() else set()


# --- the play


def run(hub: Production, folder: Path, *, readings: int, seconds: float, rate: int | None = None) -> dict[str, Any]:
    """Play it on a running hub; what was found. `rate`: how many frames a second the hub takes of this device."""
    account = hub.add_device(f"offline-{os.urandom(4).hex()}")
    if rate:
        hub.ask("PATCH", f"devices/{account.key}/", json={"rate": rate})
    login = {"key": account.key, "secret": account.secret, "host": hub.mqtt_host, "port": hub.mqtt_port}
    program = Program(folder, login | {"readings": readings, "rate": readings / (seconds + _BEFORE_S)})
    try:
        _until(lambda: _newest(hub, account.key) > 0, 60)
        hub.mosquitto.kill()
        cut = time.monotonic()
        while time.monotonic() - cut < seconds / 2:
            _look(program)
        program.kill()
        program.start()
        while time.monotonic() - cut < seconds or program.done < readings:
            _look(program)
        buffered = program.done
        hub.mosquitto.start()
        back = time.monotonic()
        patience = 60 + _PATIENCE * readings / (rate or 1000)
        _until(lambda: _look(program) and _newest(hub, account.key) > readings * 0.3, patience)
        program.kill()
        program.start()
        _until(lambda: _look(program) and _newest(hub, account.key) >= readings - len(program.unsure), patience)
        caught_up = time.monotonic() - back
        program.end()
    finally:
        program.kill()
    return _found(hub, account.key, program, readings) | {
        "seconds offline": round(back - cut, 1),
        "published when the broker came back": buffered,
        "seconds to catch up": round(caught_up, 1),
        "most memory of the program, MB": round(program.most_rss / 1e6, 1),
        "buffer on the disk, MB": round(sum(path.stat().st_size for path in folder.glob("buffer.db*")) / 1e6, 1),
    }


def _look(program: Program) -> bool:
    time.sleep(_POLL_S)
    return program.done > 0


def _newest(hub: Production, key: str) -> int:
    head: dict[str, Any] = hub.ask("GET", f"devices/{key}/")["head"]
    return int(head["seq"])


def _until(reached: Any, patience_s: float) -> None:  # noqa: ANN401  whatever can be called
    deadline = time.monotonic() + patience_s
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {patience_s:.0f} s")
        time.sleep(_POLL_S)


def _found(hub: Production, key: str, program: Program, readings: int) -> dict[str, Any]:
    counts = collections.Counter(int(row[2]["n"]) for row in hub.frames(key))
    unsure = program.unsure
    refused = hub.ask("GET", "rejects/", params={"device": key, "limit": 1000})["results"]
    return {
        "published": readings,
        "lost": sum(counts[n] == 0 for n in range(1, readings + 1) if n not in unsure),
        "doubled": sum(count > 1 for count in counts.values()),
        "not known to have been published": len(unsure),
        "messages refused for the limit": sum(row["count"] for row in refused),
    }


@contextlib.contextmanager
def _hub(folder: Path) -> Iterator[Production]:
    from tests.hub import running_production  # noqa: PLC0415  the program needs none of it

    with running_production(folder, durable=True) as hub:
        yield hub


def main() -> None:
    """Play it, print what was found; end with 1 if anything is lost or doubled."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=600_000)
    parser.add_argument("--seconds", type=float, default=600, help="without a broker (600)")
    parser.add_argument("--rate", type=int, help="frames a second that the hub takes of this device (1000)")
    parser.add_argument("--json", type=Path, help="write what was found there too")
    parser.add_argument("--as-program", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.as_program:
        asyncio.run(measure(json.loads(sys.stdin.readline())))
        return
    with tempfile.TemporaryDirectory() as folder, _hub(Path(folder)) as hub:
        found = run(hub, Path(folder), readings=asked.readings, seconds=asked.seconds, rate=asked.rate)
    for name, value in found.items():
        print(f"{name:40} {value}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(bool(found["lost"] or found["doubled"]))


if __name__ == "__main__":
    main()
