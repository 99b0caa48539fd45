"""Devices that come back when the time of their commands is over: none of those may be carried out.

Each of the ways in which a device is away has its devices, in a process of their own. At the end each gets one more
command: that it carries it out proves that it is back, and has seen what came before.
"""

import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from tests.chaos import oracle
from tests.chaos.orders import acts, judge
from tests.chaos.orders.asking import Asked, Asker, Wish
from tests.chaos.orders.judge import Case, Cell, Told
from tests.chaos.orders.kinds import Job, refusals
from tests.chaos.orders.stack import PATHS, STATES
from tests.hub import Device, Part, Production, eventually, running_production

# As many as may wait for one device.
EACH: Final = 50
TTL_S: Final = 2, 8
PATIENCE_S: Final = 120.0
# The last answers of all, and a sweep.
SETTLING_S: Final = 5.0
PRESENT: Final = (
    "SELECT count(*) FROM devices_head h JOIN devices_device d ON d.id = h.device_id"
    " WHERE presence = 'online' AND key LIKE '{}%'"
)


class Way(NamedTuple):
    """How devices are away: `stop` before they are asked, `cut` while it is on its way, `back` when it is over."""

    name: str
    kind: str
    stop: Callable[[Part], None]
    cut: Callable[[Part], None]
    back: Callable[[Part], None]


def pause(part: Part) -> None:
    os.kill(part.pid, signal.SIGSTOP)


def go_on(part: Part) -> None:
    os.kill(part.pid, signal.SIGCONT)


def nothing(_: Part) -> None:
    pass


WAYS: Final = (
    Way("away", "kept", Part.kill, nothing, Part.launch),
    Way("cut, session kept", "kept", pause, Part.kill, Part.launch),
    Way("cut, clean session", "clean", pause, Part.kill, Part.launch),
    Way("stopped, session kept", "kept", pause, nothing, go_on),
    Way("stopped, clean session", "clean", pause, nothing, go_on),
    Way("stopped, the shipped client", "shipped", pause, nothing, go_on),
)


ISSUE: Final = """
import json, os, random, time
from devices import commands
from devices.models import Command, Device
prefix, times, *ttl_s = json.loads(os.environ["HUB_TEST"])
devices = list(Device.objects.filter(key__startswith=prefix).select_related("fleet"))
for _ in range(times):
    now = time.time_ns() // 1_000_000
    given = commands.issue_many(devices, "act", None, user=None, now=now, ttl_s=random.randint(*ttl_s))
    print(*(one.pk for one in given if isinstance(one, Command)))
"""


class Absence:
    """The devices that are away in one way."""

    def __init__(self, hub: Production, way: Way, place: int, count: int, kind: str) -> None:
        self.way, self.prefix = way, f"late{place}-"
        self.folder = hub.folder / f"late-{place}"
        self.folder.mkdir()
        self.acts = self.folder / "acts"
        self.asked: list[Asked] = []
        self._hub = hub
        devices: list[Device] = [hub.add_device(f"{self.prefix}{number}") for number in range(count)]
        self.keys = [device.key for device in devices]
        job = Job(
            hub.mqtt_host, hub.mqtt_port, str(self.folder), str(self.acts), str(self.folder / "ready"),
            [(*device, kind) for device in devices],
        )  # fmt: skip
        file = self.folder / "job.json"
        file.write_bytes(msgspec.json.encode(job))
        program: list[str | Path] = [sys.executable, Path(__file__).with_name("actor.py"), file]
        self.part = Part(program, 0, "", self.folder / "log", env=hub.env | PATHS, ready=lambda: True)

    def leave(self) -> None:
        """Come, be known as online, and go."""
        self.part.launch()
        self._until_present(len(self.keys))
        self.way.stop(self.part)
        if self.way.stop is Part.kill:
            self._until_present(0)

    def ask(self) -> None:
        """Give them commands that are over soon, as a job would."""
        cids = self._hub.manage("shell", "-v", "0", "-c", ISSUE, HUB_TEST=json.dumps([self.prefix, EACH, *TTL_S]))
        self.asked += [Asked(Wish(cid, "", self.way.kind, 0, self.way.name), cid) for cid in cids.split()]

    def come_back(self, asker: Asker) -> None:
        """Be back once all of them are over, and carry one more out."""
        self.way.cut(self.part)
        while time.time() * 1000 <= max(one.expires_at for one in self.told()):
            time.sleep(0.1)
        self.way.back(self.part)
        last = [asker.ask(self._wish(key, 60)) for key in self.keys]
        wanted = {one.cid for one in last}
        self.asked += last
        eventually(lambda: wanted <= self._closed(), f"{self.way.name}: each is back", PATIENCE_S)

    def verdict(self) -> Cell:
        """Its row of the table. The last command of each is counted, too: once."""
        done = acts.times(self.acts)
        cases = [Case(one.wish.key, one.cid, one.wish.cell, again=False) for one in self.asked]
        (cell,) = judge.judged([self.way.name], cases, self.told(), done)
        cell.rounds, cell.refused = len(self.keys), len(acts.times(refusals(self.acts)))
        if cell.once != len(self.keys):
            cell.broken.append(
                f"{cell.once} were carried out, where only the last of each of {cell.rounds} was in time"
            )
        return cell

    def told(self) -> list[Told]:
        known = {one.wish.key for one in self.asked}
        rows = (Told(*row) for row in oracle.ask(oracle.postgres(self._hub.postgres.url), STATES))
        return [one for one in rows if one.key in known]

    def _closed(self) -> set[str]:
        return {one.cid for one in self.told() if one.state not in judge.OPEN}

    def _wish(self, key: str, ttl_s: int) -> Wish:
        return Wish(secrets.token_hex(8), key, self.way.kind, ttl_s, self.way.name)

    def _until_present(self, count: int) -> None:
        query = PRESENT.format(self.prefix)
        connect = oracle.postgres(self._hub.postgres.url)
        eventually(lambda: oracle.ask(connect, query) == [(count,)], f"{self.way.name}: {count} online", PATIENCE_S)


def come_back_late(folder: Path, frames: int, say: Callable[[str], None], careless: str = "") -> list[Cell]:
    """So many commands, for devices that are away in each of the WAYS. `careless`: another kind, to try the judge."""
    folder.mkdir()
    folder.chmod(0o755)
    count = -(-frames // (EACH * len(WAYS)))
    with ExitStack() as stack, running_production(folder, durable=True, HUB_API_RATE="10000") as hub:
        absences = [Absence(hub, way, place, count, careless or way.kind) for place, way in enumerate(WAYS)]
        for absence in absences:
            stack.callback(absence.part.kill)
        asker = stack.enter_context(Asker(hub.url, hub.token()))
        for absence in absences:
            absence.leave()
        say(f"{count * len(absences)} devices are away")
        with ThreadPoolExecutor(len(absences)) as pool:
            each(pool.submit(absence.ask) for absence in absences)
            say("they come back")
            each(pool.submit(absence.come_back, asker) for absence in absences)
        time.sleep(SETTLING_S)
        return [absence.verdict() for absence in absences]


def each(futures: Iterable[Any]) -> None:
    """Wait for all, and raise what one raised."""
    for future in list(futures):
        future.result()
