"""Two bridges of one name, as real processes on a real broker and database: one works, and the other takes over."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

import psycopg
import pytest

from tests import services
from tests.hub import Bridge, Device, Production, eventually, running_production
from tests.services import LOOPBACK
from tests.system.clients import Paho

# Promised in docs/production.md.
TAKEOVER_S: Final = 5.0
# How often the lock is cut off in mid-stream, and what has to be stored in between.
CUTS, BETWEEN = 6, 150


class Pair(NamedTuple):
    hub: Production
    bridges: tuple[Bridge, Bridge]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    try:
        with running_production(tmp_path_factory.mktemp("standby"), bridges=0) as running:
            yield running
    except services.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def pair(hub: Production, tmp_path: Path) -> Iterator[Pair]:
    """Two of one name, each with a log of its own; which one works is decided by who came first."""
    bridges = tuple(another(hub, tmp_path / f"bridge-{index}.log") for index in range(2))
    with services.running(bridges[0]):
        eventually(lambda: works(bridges[0]), "the first one works")
        with services.running(bridges[1]):
            eventually(lambda: "standing by" in bridges[1].said(), "the second one stands by")
            yield Pair(hub, (bridges[0], bridges[1]))


def another(hub: Production, log: Path) -> Bridge:
    bridge = hub.bridge()
    bridge.log = log
    bridge._ready = lambda: bridge.alive
    return bridge


def works(bridge: Bridge) -> bool:
    return "listening to" in bridge.said()


@contextmanager
def publishing(hub: Production, key: str) -> Iterator["Plain"]:
    """A device that sends plain readings, by which nothing but the packet id tells a repetition: 1, 2, 3, …"""
    with Plain(hub, hub.add_device(key)) as device:
        yield device


class Plain(Paho):
    """Publishes numbers with QoS 1, as fast as they are acknowledged, and a few ahead."""

    AHEAD: Final = 50

    def __init__(self, hub: Production, device: Device) -> None:
        super().__init__(hub, device, persistent=True)
        self.hub, self.count = hub, 0

    def __enter__(self) -> Self:
        self.connect()
        eventually(lambda: self.connected, f"{self.device.key} is let in")
        return self

    def send(self, more: int) -> None:
        for _ in range(more):
            eventually(lambda: self.count - self.acknowledged < self.AHEAD, "the broker takes them")
            self.count += 1
            self.publish("telemetry/n", str(self.count))

    def values(self) -> list[int]:
        """What is stored."""
        query = """SELECT (values ->> 'n')::int FROM devices_frame
            JOIN devices_device ON id = device_id WHERE key = %s"""
        with psycopg.connect(self.hub.postgres.url) as connection:
            return [value for (value,) in connection.execute(query, [self.device.key])]

    def check(self) -> None:
        """Wait until as many are stored as were sent, and then look whether it is each of them, once."""
        eventually(lambda: len(set(self.values())) == self.count, f"all {self.count} are stored")
        assert sorted(self.values()) == list(range(1, self.count + 1))


def test_a_standby_is_healthy_and_not_connected(pair: Pair) -> None:
    standby = pair.bridges[1]
    assert "listening" not in standby.said()
    assert standby.said().count("standing by") == 1
    alive = pair.hub.folder / "bridge-main.alive"
    pair.bridges[0].kill()
    eventually(lambda: works(standby))
    seen = alive.stat().st_mtime
    eventually(lambda: alive.stat().st_mtime > seen, "the other one touches the file")
    assert standby.said().count("event=active") == 1


def test_the_standby_takes_over_within_five_seconds_of_a_kill(pair: Pair) -> None:
    active, standby = pair.bridges
    with publishing(pair.hub, "steady") as device:
        device.send(BETWEEN)
        active.kill()
        killed = time.monotonic()
        before = len(device.values())
        device.send(BETWEEN)
        eventually(lambda: len(device.values()) > before, "the standby stores")
        took = time.monotonic() - killed
        device.check()
    assert works(standby)
    assert took < TAKEOVER_S


def test_whoever_is_asked_to_end_hands_over(pair: Pair) -> None:
    active, standby = pair.bridges
    with publishing(pair.hub, "handed") as device:
        device.send(BETWEEN)
        active.stop()
        assert active.code == 0
        device.send(BETWEEN)
        device.check()
    assert works(standby)


def test_an_active_one_that_is_cut_from_its_lock_costs_nothing_and_doubles_nothing(pair: Pair) -> None:
    """The race: its other connections live, and it works on for as long as it takes to notice."""
    with publishing(pair.hub, "raced") as device:
        for _ in range(CUTS):
            device.send(BETWEEN)
            cut(pair.hub)
            device.send(BETWEEN)
            eventually(lambda: len(device.values()) > device.count - BETWEEN, "somebody stores")
        device.check()
    assert all(bridge.alive for bridge in pair.bridges)


def cut(hub: Production) -> None:
    """Cut the lock's connection, and that alone, of whoever is active."""
    query = """SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND application_name = 'telemetry-hub bridge main'"""
    with psycopg.connect(hub.postgres.url, autocommit=True) as connection:
        eventually(lambda: connection.execute(query).fetchall(), "somebody has the lock")


def test_a_bridge_of_another_name_does_not_stand_by(pair: Pair, tmp_path: Path) -> None:
    other = pair.hub.bridge("other")
    with services.running(other):
        eventually(lambda: works(other))
    assert LOOPBACK in other.said()
