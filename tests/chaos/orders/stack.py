"""One hub whose every process can be killed at a point: rounds of kills, and at the end a verdict on each command."""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from hub import machine
from tests.chaos import oracle
from tests.chaos.orders import acts, judge
from tests.chaos.orders.asking import Asked, Asker, Wish
from tests.chaos.orders.fuse import Fault, Fuse
from tests.chaos.orders.judge import Case, Cell, Told
from tests.chaos.orders.kinds import KINDS, Job
from tests.hub import Part, Production, command_of, eventually, running_production
from tests.services import LOOPBACK, ROOT, Service, free_port

OURS: Final = ("web", "bridge", "device")
VICTIMS: Final = (*OURS, "broker", "redis", "postgres")
# What is asked for in each round: of which kind of device, and for how long it is good. The last one is over soon.
ROUND: Final = (("kept", 60), ("clean", 60), ("shipped", 60), ("plain", 10), ("kept", 2))
KINDS_ASKED: Final = ("kept", "clean", "shipped", "plain")
# Whoever remembers is asked again after 5 s, after 15 s, and after 35 s; what is good for less may end in between.
AGAIN_S: Final = 60
# Nobody passed the point with that: more is asked for.
MORE_S: Final = 0.5
PATIENCE_S: Final = 60.0
# Who has no answer yet; the others wait for them.
ASKING: Final = 8
POLL_S: Final = 0.01
LOOK_S: Final = 0.5
# How long a service is away, at most.
AWAY_S: Final = 0.4
# The longest time to live, the hub's last question to who remembers, a busy machine.
SETTLED_S: Final = 150.0
# Nobody does anything any more.
QUIET_S: Final = 3.0
# What was not asked for by a key is known by its id.
STATES: Final = "SELECT coalesce(key, id), id, state, expires_at FROM devices_command"


class Stack:
    """A running hub of this kind."""

    def __init__(self, hub: Production, name: str, stack: ExitStack) -> None:
        self.hub, self.name = hub, name
        self.connect = oracle.postgres(hub.postgres.url)
        self.fuse = Fuse(hub.folder)
        self.acts = hub.folder / "acts"
        self.asked: list[Asked] = []
        self._asking: list[Future[None]] = []
        self.rounds: dict[str, int] = {}
        self.broken: dict[str, str] = {}
        # What is asked for in a round.
        self.asks: Sequence[tuple[str, int]] = ROUND
        self._ready = hub.folder / "device.ready"
        self._services: dict[str, Service] = {"broker": hub.mosquitto, "redis": hub.redis, "postgres": hub.postgres}
        self._numbers = itertools.count(1)
        self._stack = stack
        self._is_ready: dict[str, Callable[[float], bool]] = {}
        self._pool = stack.enter_context(ThreadPoolExecutor(2 * ASKING))

    def begin(self, kinds: Sequence[str]) -> None:
        """Start the web server, the bridge and the devices, a device of each kind."""
        hub = self.hub
        port, alive = free_port(), hub.folder / "bridge-main.alive"
        web = self._ours("web", command_of("web", {"0.0.0.0": LOOPBACK, "8000": str(port)}))
        self._is_ready = {
            "web": lambda _: machine.accepts(LOOPBACK, port),
            "bridge": lambda since: touched(alive, since),
            "device": lambda since: touched(self._ready, since),
        }
        began = time.time()
        bridge = self._ours("bridge", [*command_of("bridge", {}), "--name", "main"])
        for part in (web, bridge):
            part.launch()
        self.keys = {kind: f"{self.name}-{kind}" for kind in kinds}
        devices = [(*hub.add_device(key), kind) for kind, key in self.keys.items()]
        job = Job(hub.mqtt_host, hub.mqtt_port, str(hub.folder), str(self.acts), str(self._ready), devices)
        (hub.folder / "job.json").write_bytes(msgspec.json.encode(job))
        self._ours("device", [Path(__file__).with_name("actor.py"), hub.folder / "job.json"]).launch()
        for name in OURS:
            self._awaits(name, began)
        self._asker = self._stack.enter_context(Asker(f"http://{LOOPBACK}:{port}", hub.token()))

    def _ours(self, name: str, program: Sequence[str | Path]) -> Part:
        command = [sys.executable, "-m", "tests.chaos.orders.faulty", str(self.hub.folder), name, *program]
        part = Part(command, 0, "", self.hub.folder / f"{name}.log", env=self.hub.env | PATHS, ready=lambda: True)
        self._stack.callback(part.kill)
        return part

    def _awaits(self, name: str, since: float) -> None:
        eventually(lambda: self._is_ready[name](since), f"{name} is ready", PATIENCE_S)

    def strike(self, point: str, victim: str, dice: Random, cell: str) -> None:
        """A round: kill this one at this point, while it is being asked for commands; and have it back."""
        number = next(self._numbers)
        pid = self._services[victim].pid if victim in self._services else None
        self.fuse.arm(Fault(number, point, victim, dice.randint(1, 2), pid))
        began = asked = time.monotonic()
        self.ask(self.asks, cell)
        while not self.fuse.struck(number):
            time.sleep(POLL_S)
            now = time.monotonic()
            if now - began > PATIENCE_S:
                self.fuse.disarm()
                self.broken[cell] = f"nobody came to {point} within {PATIENCE_S:g} s"
                return
            if now - asked > MORE_S and all(one.done() for one in self._asking):
                asked = now
                self.ask(self.asks[:1], cell)
        self._back(victim, number, dice)
        self.rounds[cell] = self.rounds.get(cell, 0) + 1
        # Some are still asking, again and again, when the next one dies.
        while len(self._asking) > ASKING:
            self._asking.pop(0).result()

    def ask(self, wanted: Sequence[tuple[str, int]], cell: str) -> None:
        """Ask for all this at once, and do not wait for the answers."""
        wishes = [
            Wish(f"{self.name}-{next(self._numbers)}", self.keys[kind], kind, ttl_s, cell) for kind, ttl_s in wanted
        ]
        self._asking += [self._pool.submit(self._ask, wish) for wish in wishes]

    def _ask(self, wish: Wish) -> None:
        self.asked.append(self._asker.ask(wish))

    def _back(self, victim: str, number: int, dice: Random) -> None:
        """As a supervisor would, start it again; return when it is there."""
        if victim in self._services:
            time.sleep(dice.uniform(0, AWAY_S))
            self._services[victim].start()
        else:
            self._awaits(victim, self.fuse.struck_at(number))

    def settle(self) -> None:
        """Wait until nothing more can come of any command."""
        for asking in self._asking:
            asking.result()
        deadline = time.monotonic() + SETTLED_S
        while self._open() and time.monotonic() < deadline:  # the verdict names what stays open
            time.sleep(LOOK_S)
        size, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            time.sleep(0.1)
            if (now := self.acts.stat().st_size if self.acts.exists() else 0) != size:
                size, since = now, time.monotonic()

    def told(self) -> list[Told]:
        return [Told(*row) for row in oracle.ask(self.connect, STATES)]

    def _open(self) -> list[Told]:
        """What may still change."""
        return [one for one in self.told() if one.state in judge.OPEN]

    def verdict(self) -> list[Cell]:
        """A Cell for each; what is wrong besides is in the last one."""
        told, done = self.told(), acts.times(self.acts)
        cases = [Case(one.wish.key, one.cid, one.wish.cell, asked_again(one.wish)) for one in self.asked]
        cells = judge.judged(dict.fromkeys(case.cell for case in cases), cases, told, done)
        for cell in cells:
            cell.rounds = self.rounds.get(cell.name, 0)
            cell.broken += filter(None, [self.broken.get(cell.name)])
        if made_up := judge.strangers(told, done):
            cells[-1].broken.append(f"carried out, and never asked for: {made_up}")
        return cells


# Ours, and the clients'.
PATHS: Final = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "clients/python")))}


def asked_again(wish: Wish) -> bool:
    """Whether the hub asks its device again, so that it has to know in the end what became of it."""
    return KINDS[wish.kind].remembers and wish.ttl_s >= AGAIN_S


def touched(file: Path, since: float) -> bool:
    return file.exists() and file.stat().st_mtime > since


@contextmanager
def stacked(folder: Path, name: str, kinds: Sequence[str]) -> Iterator[Stack]:
    """A hub whose processes can be killed, with devices; a plain web server besides makes what it needs.

    PostgreSQL does not sync: what a killed process has written is kept by the kernel, and all would wait for the disk.
    """
    folder.mkdir(exist_ok=True)
    with ExitStack() as inner, running_production(folder, bridges=0, HUB_API_RATE="10000") as hub:
        stack = Stack(hub, name, inner)
        stack.begin(kinds)
        yield stack
