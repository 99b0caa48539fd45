"""Nothing disappears: what a device sent is found again in the numbers of each hop, and what was lost there as well."""

import time
from typing import Any

import pytest

from tests.hub import Device, Hub, Production, eventually
from tests.live import Live
from tests.system.clients import Paho, Publisher
from tests.system.test_path import NewDevice, head

in_production = pytest.mark.parametrize("anywhere", ["production"], indirect=True)

FRAMES, AGAIN, BAD, BATCH = 100, 20, 5, 10


class Watcher:
    """A socket that follows one device, and asks how the path is."""

    def __init__(self, live: Live, device: Device) -> None:
        self.live, self.device = live, device
        live.sub(device.key)
        live.until(type="live")

    @property
    def parts(self) -> list[dict[str, Any]]:
        data = [message for message in self.live.heard if message["type"] == "data"]
        return [part for message in data for key, part in message["devices"].items() if key == self.device.key]

    @property
    def seqs(self) -> list[int]:
        return [row[0] for part in self.parts for row in part["frames"]]

    def until_seq(self, seq: int) -> None:
        while not self.seqs or self.seqs[-1] < seq:
            self.live.until(type="data")

    def ask(self) -> dict[str, Any]:
        self.live.say(kind="path")
        return self.live.until(type="path")

    def fresh(self) -> dict[str, Any]:
        """How the path is, with a pulse that began after this was asked."""
        now = time.time() * 1000

        def heard() -> Any:
            told = self.ask()
            return told if told["bridges"].get("main", {"heard_at": 0})["heard_at"] > now else None

        found: dict[str, Any] = eventually(heard, "a pulse of the bridge")
        return found


def balanced(counts: dict[str, int]) -> bool:
    """Whether all that was heard became something, and all that was stored is announced or known not to be."""
    read = counts["heard"] + counts["batched"]
    became = sum(counts[name] for name in ("frames", "duplicates", "rejects", "refused", "others"))
    told = sum(counts[name] for name in ("announced", "unwatched", "lost", "waiting"))
    return read == became and counts["frames"] == told


def since(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """What the bridge counted in between; of the web process, with `web_` before the name."""
    bridge, web = after["bridges"]["main"]["counts"], after["web"]
    counted = {name: value - before["bridges"]["main"]["counts"][name] for name, value in bridge.items()}
    return counted | {f"web_{name}": value - before["web"][name] for name, value in web.items()}


def test_all_that_was_sent_is_found_again_at_each_hop(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device("counted")
    with anywhere.live() as live, Paho(anywhere, device) as client:
        watcher = Watcher(live, device)
        before = watcher.fresh()
        for number in range(1, FRAMES + 1):
            client.publish("telemetry", {"boot": 1, "seq": number, "values": {"n": number}})
        for number in range(1, AGAIN + 1):
            client.publish("telemetry", {"boot": 1, "seq": number, "values": {"n": number}})
        for _ in range(BAD):
            client.publish("telemetry", "{")
        client.publish("status", "online")
        client.publish("telemetry", [{"n": number} for number in range(BATCH)])
        eventually(lambda: head(anywhere, device)["head"]["seq"] == FRAMES + BATCH)
        watcher.until_seq(FRAMES + BATCH)
        after = watcher.fresh()
    counted, socket = since(before, after), after["socket"]
    assert balanced(before["bridges"]["main"]["counts"])
    assert balanced(after["bridges"]["main"]["counts"])
    assert (counted["frames"], counted["duplicates"], counted["rejects"], counted["batched"]) == (
        FRAMES + BATCH,
        AGAIN,
        BAD,
        BATCH - 1,
    )
    assert (counted["refused"], counted["lost"], counted["web_frames_heard"]) == (0, 0, counted["announced"])
    # The socket has them all, whatever was not announced yet when it came.
    assert watcher.seqs == list(range(1, FRAMES + BATCH + 1))
    assert socket["frames"] == len(watcher.seqs) == counted["web_frames_sent"]
    assert (socket["merged"], socket["skipped"], socket["gone"]) == (0, 0, 0)
    assert after["latency_ms"]["committed"]["p50"] is not None


@in_production
def test_what_redis_lost_is_counted_and_the_socket_has_it_all_the_same(
    production: Production, anywhere: Hub, new_device: NewDevice
) -> None:
    device = new_device("unlucky")
    with production.live() as live, Publisher(production, device) as publisher:
        watcher = Watcher(live, device)
        eventually(lambda: live.until(type="data") and "hops" in watcher.parts[-1], "the doorbell rings")
        before = watcher.fresh()
        production.redis.kill()
        there = watcher.seqs[-1]
        watcher.until_seq(there + 20)
        production.redis.start()
        eventually(lambda: live.until(type="data") and "hops" in watcher.parts[-1], "the doorbell rings again")
        sent = publisher.finish()
        watcher.until_seq(sent)
        after = watcher.fresh()
    counted = since(before, after)
    assert balanced(after["bridges"]["main"]["counts"])
    assert counted["lost"] > 0
    assert counted["web_frames_missed"] > 0
    assert after["socket"]["read_back"] > 0
    assert watcher.seqs == list(range(watcher.seqs[0], sent + 1))
    assert after["socket"]["frames"] == len(watcher.seqs)


@in_production
def test_live_resumes_as_soon_as_a_bridge_is_back(production: Production, anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device("resumed")
    with production.live() as live, Publisher(production, device):
        watcher = Watcher(live, device)
        eventually(lambda: live.until(type="data") and "hops" in watcher.parts[-1], "the doorbell rings")
        (bridge,) = production.bridges
        began = watcher.fresh()["bridges"]["main"]["began"]
        bridge.kill()
        bridge.start()
        eventually(lambda: watcher.ask()["bridges"]["main"]["began"] != began, "its first pulse")
        back = watcher.ask()["bridges"]["main"]
        rung = eventually(
            lambda: live.until(type="data") and [part["hops"][2] for part in watcher.parts if "hops" in part][-1:],
        )
        while rung[0] < back["began"]:
            live.until(type="data")
            rung = [part["hops"][2] for part in watcher.parts if "hops" in part][-1:]
    took = rung[0] - back["heard_at"]
    assert took < 1000, f"{took} ms"  # the check would have come after up to five seconds
