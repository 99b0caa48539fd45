"""Every part of production dies once in mid-stream: nothing is missing, and nothing is there twice."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.hub import Production, eventually
from tests.live import Follower
from tests.system.clients import Paho, Publisher, Tools
from tests.system.test_path import NewDevice

pytestmark = pytest.mark.parametrize("anywhere", ["production"], indirect=True)

# Frames that have to come through before a part dies, and after it is back.
BEFORE, AFTER = 50, 100


@contextmanager
def streaming(hub: Production, new_device: NewDevice) -> Iterator[tuple[Follower, Callable[[int], None]]]:
    """A device publishes and a client follows; at the end each has to have all that the other had."""
    device = new_device("steady")
    with hub.follower(device.key) as follower, Publisher(hub, device) as publisher:

        def flows(more: int) -> None:
            wanted = len(follower.rows[device.key]) + more
            eventually(lambda: len(follower.rows[device.key]) >= wanted, f"{more} more rows", 60)

        flows(BEFORE)
        yield follower, flows
        flows(AFTER)
        published = publisher.finish()
        eventually(lambda: len(follower.rows[device.key]) >= published, f"all {published} rows", 60)
    assert follower.seqs(device.key) == list(range(1, published + 1))
    assert sorted(row[2]["n"] for row in follower.rows[device.key]) == list(range(1, published + 1))
    assert not follower.faults
    assert stored(hub, device.key) == published


def stored(hub: Production, key: str) -> int:
    """How many rows the database itself counts."""
    query = "SELECT count(*) FROM devices_frame JOIN devices_device ON id = device_id WHERE key = %s"
    with psycopg.connect(hub.postgres.url) as connection:
        (count,) = connection.execute(query, [key]).fetchone() or (0,)
        return int(count)


def test_the_bridge_is_killed(production: Production, new_device: NewDevice) -> None:
    with streaming(production, new_device) as (follower, _):
        (bridge,) = production.bridges
        bridge.kill()
        bridge.start()
    assert follower.cuts == 0


def test_the_bridge_is_asked_to_end(production: Production, new_device: NewDevice) -> None:
    with streaming(production, new_device):
        (bridge,) = production.bridges
        bridge.stop()
        assert bridge.code == 0
        bridge.start()


def test_the_web_server_is_killed(production: Production, new_device: NewDevice) -> None:
    with streaming(production, new_device) as (follower, _):
        (web,) = production.webs
        web.kill()
        web.start()
    assert follower.cuts > 0


def test_redis_is_killed(production: Production, new_device: NewDevice) -> None:
    with streaming(production, new_device) as (follower, flows):
        production.redis.kill()
        # Without the doorbell the check finds what is new, more slowly.
        flows(1)
        production.redis.start()
    assert follower.cuts == 0


def test_the_broker_is_restarted(production: Production, new_device: NewDevice) -> None:
    with streaming(production, new_device) as (follower, _):
        production.mosquitto.stop()
        production.mosquitto.start()
    assert follower.cuts == 0


def test_postgresql_crashes(production: Production, new_device: NewDevice) -> None:
    with streaming(production, new_device):
        production.postgres._finish(signal.SIGQUIT)  # "immediate": as a crash, but for its children
        production.postgres.start()


def test_a_command_given_while_the_bridge_is_away_is_sent_when_it_is_back(
    production: Production, new_device: NewDevice
) -> None:
    device = new_device()
    with Paho(production, device) as client:
        client.said("status", "online")
        eventually(lambda: production.ask("GET", f"devices/{device.key}/")["presence"]["state"] == "online")
        (bridge,) = production.bridges
        bridge.kill()
        cid = production.ask("POST", f"devices/{device.key}/commands/", json={"name": "led", "args": "on"})["id"]
        bridge.start()
        assert client.heard().topic.endswith(cid)
        client.said(f"ack/{cid}", "ok")
        eventually(lambda: production.ask("GET", f"commands/{cid}/")["state"] == "succeeded")


def test_a_device_made_again_while_the_bridge_is_away_has_no_use_for_its_old_secret(
    production: Production, new_device: NewDevice
) -> None:
    old = new_device("reborn")
    eventually(lambda: Tools(production, old).try_publish("telemetry", '{"t": 1}').returncode == 0)
    (bridge,) = production.bridges
    bridge.stop()
    production.ask("DELETE", f"devices/{old.key}/")
    again = production.add_device(old.key)
    bridge.start()
    eventually(lambda: Tools(production, again).try_publish("telemetry", '{"t": 1}').returncode == 0)
    assert Tools(production, old).try_publish("telemetry", '{"t": 1}').returncode != 0
