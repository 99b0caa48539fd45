"""What the live protocol promises, with the real parts, each as it goes wrong in the field (docs/protocol/live.md)."""

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import pytest
import redis
from websockets.exceptions import ConnectionClosed

from benchmarks.live import scene
from benchmarks.live.ask import child
from tests import hub as hubs
from tests import services
from tests.hub import Device, Production, eventually
from tests.live import Live
from tests.system.clients import Paho, Publisher
from tests.system.test_path import NewDevice

on_production = pytest.mark.parametrize("anywhere", ["production"], indirect=True)

# Longer than a client may be out of credit; with --full as long as live.md says.
SHORT_S: Final = 35.0
MINUTE_S: Final = 60.0


class Quick(Publisher):
    """200 frames a second."""

    EVERY_S = 0.005


@on_production
def test_redis_away_for_five_seconds_of_a_quick_stream_costs_no_frame(
    production: Production, new_device: NewDevice
) -> None:
    device = new_device("quick")
    with production.follower(device.key) as follower, Quick(production, device) as publisher:
        eventually(lambda: len(follower.rows[device.key]) >= 100, "100 rows")
        production.redis.kill()
        away = time.monotonic()
        eventually(lambda: time.monotonic() - away >= 5, "five seconds")
        production.redis.start()
        before = publisher.count
        eventually(lambda: publisher.count >= before + 200, "another second")
        published = publisher.finish()
        eventually(lambda: len(follower.rows[device.key]) >= published, f"all {published} rows", 60)
    assert follower.seqs(device.key) == list(range(1, published + 1))
    assert (follower.cuts, follower.faults) == (0, [])


def latency_of(live: Live, device: Device, since: float) -> float:
    """How long a reading took that was sent after `since` (time.time, s)."""
    while True:
        for *_, values, _ in live.until(type="data")["devices"][device.key]["frames"]:
            if values["at"] >= since:
                return time.time() - float(values["at"])


def flush(hub: Production) -> None:
    with redis.Redis.from_url(hub.redis.url) as client:
        client.flushall()


@on_production
def test_a_redis_that_forgets_everything_is_forgiven_within_five_seconds(
    production: Production, new_device: NewDevice
) -> None:
    device = new_device()
    with production.live() as live, Publisher(production, device):
        live.sub(device.key)
        latency_of(live, device, time.time())
        flush(production)
        began = time.time()
        while latency_of(live, device, time.time()) > 0.5:
            assert time.time() - began < 5


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Production]:
    """Production on a layer that forgets its members after 3 s."""
    try:
        with hubs.running_production(tmp_path, DJANGO_SETTINGS_MODULE="tests.system.core_layer") as running:
            yield running
    except services.Missing as missing:
        pytest.skip(str(missing))


def test_membership_is_a_lease_that_is_renewed_and_a_layer_s_lost_keys_are_made_again(forgetful: Production) -> None:
    device = forgetful.add_device("pump-1")
    with forgetful.live() as live, Publisher(forgetful, device):
        live.sub(device.key)
        began = time.time()
        slowest = 0.0
        while time.time() - began < 10:
            slowest = max(slowest, latency_of(live, device, time.time()))
        # Without a doorbell it would come with the check.
        assert slowest < 1
        flush(forgetful)
        began = time.time()
        while latency_of(live, device, time.time()) > 0.5:
            assert time.time() - began < 5
    seqs = [row[0] for message in live.heard if message["type"] == "data" for row in rows_of(message, device)]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def rows_of(message: dict[str, Any], device: Device) -> list[list[Any]]:
    part: dict[str, list[list[Any]]] = message["devices"].get(device.key, {"frames": []})
    return part["frames"]


def test_a_thousand_sockets_that_break_off_at_once_are_all_back_and_miss_no_frame(production: Production) -> None:
    with scene.on(production, 20, "herd-") as here:
        here.publisher.ask("start", rate=100)
        here.open("herd", 1000, again=True, watch=1)
        began = here.crowd.ask("cut", group="herd")
        back = here.crowd.ask("returned", group="herd", since=began, patience_s=hubs.PATIENCE_S)
        here.quiet()
        whole = here.crowd.ask("level", group="herd", heads=here.heads())
    assert (back["live"], whole["incomplete"], whole["faults"]) == (1000, 0, {})
    assert whole["handshakes"] == {"open": 2000}  # and none was answered with a 5xx


def test_a_web_process_takes_more_sockets_than_it_was_first_allowed_files(production: Production) -> None:
    web = production.web("prlimit", "--nofile=128:4096")
    with services.running(web), child("benchmarks.live.crowd", production.folder / "crowd.log") as crowd:
        to = [(services.LOOPBACK, web.port, production.token())]
        assert crowd.ask("open", group="many", count=300, to=to, devices=[])["live"] == 300


# --- a minute


class Batches:
    """500 frames a second, ten in a message, for as long as it is entered; paced by the clock."""

    SIZE: Final = 10
    EVERY_S: Final = 0.02

    def __init__(self, hub: Production, device: Device) -> None:
        self.count = 0
        self._paho = Paho(hub, device)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._paho.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._paho.__exit__(*error)

    def _run(self) -> None:
        while not self._ended.wait(self.EVERY_S):
            first = self.count + 1
            self.count += self.SIZE
            ts = time.time_ns() // 1_000_000
            frames = [{"ts": ts - self.SIZE + n - first, "n": n} for n in range(first, first + self.SIZE)]
            self._paho.publish("telemetry", frames)


def memory_of(pid: int) -> float:
    """Resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


@on_production
def test_one_hears_nothing_one_reads_nothing_and_a_third_goes_on_for_a_minute(
    production: Production, new_device: NewDevice, request: pytest.FixtureRequest
) -> None:
    """Facts 1: with redis-py 8 every idle socket died after 5 s. Daphne holds whatever a stuck reader does not take."""
    silent, busy = new_device("silent"), new_device("busy")
    (web,) = production.webs
    with (
        production.live() as idle,
        production.live() as stuck,
        production.follower(busy.key) as neighbour,
        Paho(production, silent) as client,
        Batches(production, busy) as publisher,
    ):
        idle.sub(silent.key)
        idle.until(type="live")
        assert stuck.sub(busy.key, since={"cursor": {busy.key: 0}})["type"] == "ok"
        eventually(lambda: len(neighbour.rows[busy.key]) > 1000, "a quick neighbour")
        held = memory_of(web.pid)
        until = time.monotonic() + (MINUTE_S if request.config.getoption("--full") else SHORT_S)
        behind = 0
        while (left := until - time.monotonic()) > 0:
            with pytest.raises(TimeoutError):
                idle.next(min(1.0, left))
            behind = max(behind, publisher.count - len(neighbour.rows[busy.key]))
        assert behind < 1500, f"the neighbour was {behind} frames behind, at 500 a second"
        assert memory_of(web.pid) - held < 20
        client.said("telemetry", {"t": 1})
        assert idle.row(silent.key, t=1)[0] == 1
        catch_up(production, stuck, busy, publisher)
    assert (neighbour.cuts, neighbour.faults) == (0, [])
    seqs = neighbour.seqs(busy.key)
    assert seqs == list(range(1, len(seqs) + 1))


def catch_up(hub: Production, stuck: Live, device: Device, publisher: Batches) -> None:
    """Read what was sent until the hub gave up, then resume: every frame comes, or is told of as skipped."""
    had = 0
    with suppress(ConnectionClosed):
        while True:
            message = stuck.next()
            if message["type"] == "data":
                first = message["devices"][device.key]
                assert first["prev"] == had
                had = first["frames"][-1][0]
    assert stuck.socket.close_code in {4408, 1006}  # who reads nothing is not told either
    with hub.live() as live:
        answer = live.sub(device.key, since={"cursor": {device.key: had}})
        assert answer["recovered"] is (publisher.count - had <= 20_000)
        if not answer["recovered"]:
            gap = live.until(type="gap", device=device.key)
            assert (gap["from"], gap["cause"]) == (had + 1, "limit")
            had = gap["to"]
        live.until(type="live")
        for message in live.heard:
            if message["type"] == "data":
                assert message["devices"][device.key]["prev"] == had
                had = message["devices"][device.key]["frames"][-1][0]
