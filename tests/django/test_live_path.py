"""What the hub says of its own path: whatever a socket was sent is counted, and so is what was lost on the way."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import User

from bridge.tally import Tally
from dashboard import path, protocol, reads
from dashboard.fanout import Fanout
from devices import groups
from devices.models import Device, Frame
from tests.django.live import Live, publish, run, settle, signed_in, store

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_pace")]

FROM_THE_START = {"cursor": {"pump-1": 0}}


@pytest.fixture(autouse=True)
def counts() -> Iterator[path.Counts]:
    """This process's, from zero on: numbers that earlier tests left would be in the way."""
    before = vars(path.counts).copy()
    vars(path.counts).update(vars(path.Counts(reads.now_ms())))
    yield path.counts
    vars(path.counts).update(before)


async def ask(live: Live) -> dict[str, Any]:
    await live.say("path")
    return await live.until("path")


async def pulse(began: int, **counted: int) -> None:
    tally = Tally(began)
    vars(tally).update(counted)
    await groups.announce(
        {
            "type": "hub.pulse",
            "bridge": "main",
            "began": began,
            "counts": tally.told(waiting=0),
            "hearing": True,
            "holding_since": None,
            "held": 0,
            "because": "",
            "at": 0,
        }
    )


def received(live: Live) -> int:
    """How many rows this client took."""
    return sum(len(rows) for rows in live.rows.values())


async def test_whoever_asks_is_told_what_the_hub_has_counted(hub: Fanout, alice: User, pump: Device) -> None:
    await store("pump-1", 3)
    async with signed_in(alice) as live:
        await live.sub("pump-1", since=FROM_THE_START)
        await live.until("live")
        await pulse(7, heard=9, frames=5)
        await publish("pump-1", 2)
        await live.until_row(5)
        told = await ask(live)
    assert told["bridges"]["main"]["counts"]["heard"] == 9
    assert (told["bridges"]["main"]["began"], told["bridges"]["main"]["hearing"]) == (7, True)
    assert (told["web"]["doorbells"], told["web"]["frames_heard"], told["web"]["sockets"]) == (1, 2, 1)
    assert told["socket"] == {"messages": 2, "frames": 5, "merged": 0, "read_back": 0, "skipped": 0, "gone": 0}
    assert received(live) == told["socket"]["frames"] == told["web"]["frames_sent"]
    assert told["latency_ms"]["announced"]["p50"] is not None


async def test_what_no_doorbell_brought_is_missed_and_read_back(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        await publish("pump-1")
        await live.until_row(1)
        await store("pump-1", 4)
        await publish("pump-1")
        await live.until_row(6)
        told = await ask(live)
    assert (told["web"]["frames_heard"], told["web"]["frames_missed"]) == (2, 4)
    # The part of the doorbell that closed the hole is read back together with the hole.
    assert (told["socket"]["frames"], told["socket"]["read_back"] in (4, 5)) == (6, True)


async def test_a_lost_last_doorbell_is_missed_as_well(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        await publish("pump-1")
        await live.until_row(1)
        await store("pump-1", 2)
        for _ in range(3):
            await hub.check_once()
        await live.until_row(3)
        told = await ask(live)
    assert (told["web"]["frames_missed"], told["socket"]["read_back"]) == (2, 2)


async def test_what_is_merged_jumped_over_or_gone_is_counted_until_the_cursor_is_explained(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_BEHIND", 10)
    await store("pump-1", 20)
    await run(Frame.objects.filter(seq__lte=5).delete)
    async with signed_in(alice) as live:
        await live.sub("pump-1", id="a", since=FROM_THE_START)
        await live.until("live")
        await live.sub("pump-1", id="b", mode="latest")
        await live.until("live")
        await publish("pump-1", 15)
        await live.until_row(35)
        await live.until_row(35, sub="b")
        socket = (await ask(live))["socket"]
    # Where both cursors are, since where they began.
    assert socket["frames"] + socket["merged"] + socket["skipped"] + socket["gone"] == 35 + 15
    assert (socket["merged"], socket["gone"], socket["skipped"]) == (9, 5, 2 * 5)
    assert received(live) == socket["frames"]


async def test_a_socket_is_counted_while_it_is_open(hub: Fanout, alice: User, counts: path.Counts) -> None:
    async with signed_in(alice), signed_in(alice) as live:
        assert (await ask(live))["web"]["sockets"] == 2
    await settle()
    assert (counts.sockets, counts.sockets_opened) == (0, 2)


# --- a bridge that begins


async def test_a_bridge_that_begins_is_told_at_once_what_is_watched(hub: Fanout, alice: User, pump: Device) -> None:
    layer: Any = get_channel_layer()
    bridge = await layer.new_channel("bridge")
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        await pulse(1)
        await settle(100)
        await layer.group_add(groups.device_group("pump-1"), bridge)
        await pulse(1)
        await settle(100)
        await pulse(2)
        async with asyncio.timeout(1):  # the check comes after five
            assert await layer.receive(bridge) == {"type": "device.watch", "device": "pump-1"}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await layer.receive(bridge)
