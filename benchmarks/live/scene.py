"""The whole hub as compose starts it, devices that publish, and a crowd that watches: what each scenario plays on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks import load, processes
from benchmarks.live.ask import Child, child
from tests.hub import Production, eventually, running_production
from tests.services import LOOPBACK

SAMPLE_S: Final = 10.0
MB: Final = 1e6
Figures = dict[str, Any]


class Scene:
    """What a scenario has to do with."""

    def __init__(self, hub: Production, keys: list[str], publisher: Child, crowd: Child) -> None:
        """Take it over; `keys`: the devices."""
        self.hub, self.keys, self.publisher, self.crowd = hub, keys, publisher, crowd

    @property
    def to(self) -> list[tuple[str, int, str]]:
        """Where sockets go, and as whom: a member of the fleet, not a superuser."""
        return [(LOOPBACK, web.port, self.hub.token("mandy")) for web in self.hub.webs]

    @property
    def web_pid(self) -> int:
        """The first web process."""
        return self.hub.webs[0].pid

    def web_mb(self) -> dict[str, float]:
        """What the web processes hold, in MB."""
        found = [processes.memory(web.pid) for web in self.hub.webs]
        return {"rss MB": sum(one.rss for one in found) / MB, "pss MB": sum(one.pss for one in found) / MB}

    def heads(self) -> dict[str, int]:
        """How many frames each device has in the database."""
        query = "SELECT key, seq FROM devices_head JOIN devices_device ON devices_device.id = device_id"
        with psycopg.connect(self.hub.env["DATABASE_URL"]) as connection:
            return {key: seq for key, seq in connection.execute(query) if key in self.keys}

    def open(self, group: str, count: int, **how: object) -> Figures:
        """Open sockets, all of which have to be live then."""
        found: Figures = self.crowd.ask("open", group=group, count=count, to=self.to, devices=self.keys, **how)
        assert found["live"] == count, f"only {found['live']} of {count} {group} sockets are live: {found}"
        return found

    def quiet(self) -> dict[str, float]:
        """Publish no more, and wait until everything is stored."""
        before = self.publisher.ask("stop")
        eventually(lambda: sum(self.heads().values()) >= before["published"], "everything published is stored", 60)
        stored = sum(self.heads().values())
        return {**before, "stored": stored}


@contextmanager
def running(devices: int, *, webs: int = 1) -> Iterator[Scene]:
    """Start everything, PostgreSQL syncing."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_production(Path(folder), durable=True, webs=webs, HUB_RATE="1000000", HUB_BURST="100000000") as hub,
        on(hub, devices) as scene,
    ):
        yield scene


@contextmanager
def on(hub: Production, devices: int, prefix: str = "d") -> Iterator[Scene]:
    """Play on a hub that runs already."""
    made = [hub.add_device(f"{prefix}{number}", user="mandy") for number in range(devices)]
    logins = [load.Login(device.key, device.secret) for device in made]
    eventually(lambda: admitted(hub, logins), "all devices may connect", 60)
    with (
        child("benchmarks.live.publisher", hub.folder / "publisher.log") as publisher,
        child("benchmarks.live.crowd", hub.folder / "crowd.log") as crowd,
    ):
        publisher.ask("connect", host=hub.mqtt_host, port=hub.mqtt_port, logins=logins)
        yield Scene(hub, [device.key for device in made], publisher, crowd)


def admitted(hub: Production, logins: Sequence[load.Login]) -> bool:
    """Whether the broker lets all of them in."""
    try:
        load.publish(hub.mqtt_host, hub.mqtt_port, logins, 0, b"%d")
    except (AssertionError, OSError, EOFError):
        return False
    return True


class Spent:
    """What processes spend from now on: their share of a core."""

    def __init__(self, **pids: int) -> None:
        """Look at each."""
        self._pids = pids
        self._began, self._before = time.monotonic(), self._now()

    def _now(self) -> dict[str, float]:
        return {name: processes.own_cpu_s(pid) for name, pid in self._pids.items()}

    def seconds(self) -> dict[str, float]:
        """How many s of CPU each has spent."""
        return {name: spent - self._before[name] for name, spent in self._now().items()}

    @property
    def passed_s(self) -> float:
        """How long it was looked at."""
        return time.monotonic() - self._began

    def percent(self) -> dict[str, float]:
        """Percent of one core that each took."""
        return {f"{name} %": spent / self.passed_s * 100 for name, spent in self.seconds().items()}


def each_while(seconds: float, sample: Callable[[float], None], every_s: float = SAMPLE_S) -> None:
    """Take a sample now and then for so long; it is told how many s have passed."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(every_s, seconds - passed))
        sample(time.monotonic() - began)
