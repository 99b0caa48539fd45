"""A stream of frames through a running hub, watched from both ends while parts of it are killed.

`with streaming(hub, connect, plan) as stream:` makes devices, starts their publisher and the watchers;
`stream.strike(down, up)` kills in mid-stream; `stream.result(name)` ends the publishing, waits until all is there, and
compares.
"""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.chaos import ledger, oracle, watchers
from tests.chaos.oracle import Connect
from tests.chaos.plan import Plan, Result
from tests.chaos.publisher import Job, Said
from tests.chaos.watchers import Watcher
from tests.hub import PLAIN, Device, Hub, eventually
from tests.services import ROOT, child_setup

DEVICES: Final = 24
WATCHERS: Final = 3
SHAPES: Final = ("numbered", "timed", "bare")
# What has to come through before the next part dies; and the longest pause before the kill, so that kills hit anything.
FLOWING: Final = 200
JITTER_S: Final = 0.5
# A busy machine with two cores, a bridge that starts, a backlog to work off.
PATIENCE_S: Final = 120.0
# Nothing new for so long: nothing more comes. (The slowest that sends again is the embedded broker, after 2 s.)
QUIET_S: Final = 10.0
SHOWN: Final = 5


class Publishing:
    """A publisher's process."""

    def __init__(self, job: Job, log: Path) -> None:
        self.ledger = Path(job.ledger)
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.publisher"],
                cwd=ROOT,
                env=PLAIN,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                preexec_fn=child_setup(),  # noqa: PLW1509 - system calls only
            )
        assert self._child.stdin is not None
        self._child.stdin.write(msgspec.json.encode(job) + b"\n")
        self._child.stdin.flush()
        self.receipts = job.receipts
        self._limited = job.limit is not None
        self._said: Said | None = None

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def finish(self) -> Said:
        """Have it publish no more (or all that its limit says); return once all it sent is acknowledged."""
        if self._said is None and not self._limited:
            assert self._child.stdin is not None
            self._child.stdin.close()
        return self.wait()

    def wait(self) -> Said:
        """What it says in the end; one with a limit ends by itself."""
        if self._said is None:
            assert self._child.stdout is not None
            said = self._child.stdout.read()
            assert self._child.wait() == 0, "the publisher failed; see publisher.log"
            self._said = msgspec.json.decode(said, type=Said)
        return self._said

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()


class Stream:
    """What flows through one hub."""

    def __init__(self, hub: Hub, connect: Connect, plan: Plan, stack: ExitStack) -> None:
        self.hub, self.connect, self.plan = hub, connect, plan
        self.kills = 0
        self.complete_s = 0.0
        self.broken: list[str] = []
        self.made: list[Device] = []
        self.publishers: list[Publishing] = []
        self.said: list[Said] = []
        self.watchers: list[Watcher] = []
        self._stack = stack
        self._names = itertools.count(1)
        self._began = time.monotonic()

    def devices(self, count: int = DEVICES) -> list[Device]:
        """More devices."""
        new = [self.hub.add_device(f"chaos-{next(self._names)}") for _ in range(count)]
        self.made += new
        return new

    def publish(self, devices: Sequence[Device], shapes: Sequence[str] = SHAPES, **more: Any) -> Publishing:
        """Have these devices publish, in a process of their own."""
        each = [(*device, shape) for device, shape in zip(devices, itertools.cycle(shapes), strict=False)]
        path = self.hub.folder / f"ledger-{len(self.publishers) + 1}"
        job = Job(self.hub.mqtt_host, self.hub.mqtt_port, str(path), each, **{"rate": self.plan.rate, **more})
        publishing = Publishing(job, self.hub.folder / "publisher.log")
        self._stack.callback(publishing.kill)
        self.publishers.append(publishing)
        return publishing

    def watch(self, devices: Sequence[Device], count: int = WATCHERS) -> None:
        """Have these devices watched."""
        for _ in range(count):
            watcher = Watcher(self.hub.socket_url, self.hub.token(), *(device.key for device in devices))
            self.watchers.append(self._stack.enter_context(watcher))

    def stored(self) -> int:
        """How many frames the database has now."""
        return sum(oracle.seqs(self.connect).values())

    def arrived(self) -> int:
        """How many messages the database has now: stored or refused."""
        ((refused,),) = oracle.ask(self.connect, oracle.REJECTS)
        return self.stored() + int(refused)

    def flows(self, more: int = FLOWING) -> None:
        """Wait until so many more frames are stored."""
        wanted = self.stored() + more
        eventually(lambda: self.stored() >= wanted, f"{more} more frames in the database", PATIENCE_S)

    def strike(
        self, down: Callable[[], object], up: Callable[[], object], meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """Kill a part in mid-stream, start it again, and see how long the watchers need from then on."""
        self.flows()
        time.sleep(self.plan.dice.uniform(0, JITTER_S))
        down()
        self.kills += 1
        meanwhile()
        up()
        self.returned()

    def returned(self) -> None:
        """Everything is there again: the watchers have to have all that is stored by now."""
        heads = eventually(self._heads, "the database answers")
        self.complete_s = max(self.complete_s, watchers.complete(self.watchers, heads))

    def _heads(self) -> dict[str, int]:
        return oracle.seqs(self.connect)

    def settle(self) -> None:
        """End the publishing, and wait until nothing more comes."""
        self.said = [publishing.finish() for publishing in self.publishers]
        count, since = self.arrived(), time.monotonic()
        published = sum(said.published for said in self.said)
        while time.monotonic() - since < (1 if count >= published else QUIET_S):
            time.sleep(0.1)
            if (now := self.arrived()) != count:
                count, since = now, time.monotonic()
        self.returned()

    def result(
        self,
        scenario: str,
        *,
        may_lose: bool = False,
        within_s: float | None = None,
        good: Callable[[int], bool] = lambda _: True,
    ) -> Result:
        """Settle, compare, and judge. `good`: which messages are frames at all, by their number."""
        self.settle()
        entries = ledger.read((publishing.ledger for publishing in self.publishers), good)
        stored, holes = oracle.journals(oracle.ask(self.connect, oracle.FRAMES))
        counts = oracle.compare(entries.published, entries.acked, stored, holes)
        self.broken += judged(counts, may_lose=may_lose)
        self.broken += self._receipts_broken(entries, stored)
        self.broken += watchers.faults(self.watchers, stored)[:SHOWN]
        if within_s is not None and self.complete_s > within_s:
            self.broken.append(f"a watcher was complete after {self.complete_s:.1f} s; {within_s:g} s are promised")
        self.broken += oracle.detects(self.connect, entries.published, entries.acked)
        return Result(
            scenario=scenario,
            kills=self.kills,
            published=counts.published,
            acked=counts.acked,
            stored=counts.stored,
            lost=counts.lost,
            twice=counts.twice,
            complete_s=self.complete_s if self.watchers else None,
            seconds=time.monotonic() - self._began,
            broken=self.broken,
            more={**summed(self.said), "receipts": sum(map(len, entries.receipts.values()))},
        )

    def _receipts_broken(self, entries: ledger.Entries, stored: dict[str, list[int]]) -> list[str]:
        empty = sum(len(numbers - set(stored.get(key, ()))) for key, numbers in entries.receipts.items())
        unreceived = sum(said.unreceived for said in self.said)
        silent = any(publishing.receipts for publishing in self.publishers) and not entries.receipts
        found = [
            (empty, f"{empty} frames have a receipt and are not stored"),
            (unreceived, f"{unreceived} frames never got their receipt"),
            (silent, "no receipt came at all"),
        ]
        return [sentence for bad, sentence in found if bad]


def summed(said: Sequence[Said]) -> dict[str, Any]:
    """What is worth telling of the publishers."""
    found = {
        "published_per_s": sum(one.published for one in said) / max(one.seconds for one in said),
        "connects": sum(one.connects for one in said),
        "resent": sum(one.resent for one in said),
    }
    return {name: value for name, value in found.items() if value}


def judged(counts: oracle.Counts, *, may_lose: bool) -> list[str]:
    """Each promise that these counts break."""
    found = [
        (counts.lost and not may_lose, f"{counts.lost} acknowledged frames are not stored"),
        (counts.twice, f"{counts.twice} frames are stored twice"),
        (counts.strange, f"{counts.strange} frames are stored that nobody published"),
        (counts.holes, f"{counts.holes} numbers are missing in the hub's own journal"),
        (counts.acked < counts.published, f"{counts.published - counts.acked} frames were never acknowledged"),
        (not counts.stored, "nothing was stored at all"),
    ]
    return [sentence for bad, sentence in found if bad]


@contextmanager
def streaming(hub: Hub, connect: Connect, plan: Plan, shapes: Sequence[str] = SHAPES, **more: Any) -> Iterator[Stream]:
    """The usual stream: DEVICES of these shapes at the plan's rate, all watched."""
    with ExitStack() as stack:
        stream = Stream(hub, connect, plan, stack)
        devices = stream.devices()
        stream.watch(devices)
        stream.publish(devices, shapes, **more)
        yield stream
