"""A fleet's summary: who may follow, what is told, what is found when no doorbell rang."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from dashboard import reads
from dashboard.fanout import Fanout
from devices import groups, members, registry, telemetry
from devices.models import Device, Fleet, Head
from tests.django.live import Live, run, signed_in, store

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub")]


async def follow(live: Live, slug: str = "greenhouse") -> dict[str, Any]:
    """Follow a fleet; return its first picture."""
    await live.say("sub", id="f", fleet=slug)
    empty = not (await live.until("ok"))["head"]
    return {} if empty else dict((await live.until("fleet"))["devices"])


async def ring(slug: str, *keys: str) -> None:
    """Tell of devices as a bridge does."""
    devices = await run(telemetry.summaries, list(keys))
    await groups.announce({"type": "fleet.summary", "fleet": slug, "devices": devices})


async def told(live: Live) -> list[dict[str, Any]]:
    return [message["devices"] for message in await live.words() if message["type"] == "fleet"]


async def test_the_first_picture_has_all_devices(alice: User, pump: Device, kettle: Device) -> None:
    await store("pump-1", 2, temp=21.5)
    async with signed_in(alice) as live:
        picture = await follow(live)
        assert live.heard[-2] == {"type": "ok", "id": "f", "head": {"pump-1": 2}, "recovered": True}
        assert set(picture) == {"pump-1"}
        expected = {"name": "Pump", "presence": "online", "seq": 2, "values": {"temp": 21.5}}
        assert {name: picture["pump-1"][name] for name in expected} == expected
        assert set(picture["pump-1"]) == {"name", "presence", "because", "since", "seq", "ts", "values", "times"}


async def test_an_empty_fleet_says_so_and_shows_its_first_device(alice: User, greenhouse: Fleet) -> None:
    async with signed_in(alice) as live:
        await live.say("sub", id="f", fleet="greenhouse")
        assert (await live.until("ok"))["head"] == {}
        await run(registry.create, "new-1", greenhouse)
        assert set((await live.until("fleet"))["devices"]) == {"new-1"}


@pytest.fixture
def one(request: pytest.FixtureRequest) -> User:
    """One of the cast."""
    user: User = request.getfixturevalue(request.param)
    return user


@pytest.mark.parametrize("one", ["alice", "bob", "vera", "root"], indirect=True)
async def test_every_member_may_follow(one: User, pump: Device, kettle: Device) -> None:
    async with signed_in(one) as live:
        assert set(await follow(live)) == {"pump-1"}


async def test_another_fleet_answers_like_none(charlie: User, greenhouse: Fleet) -> None:
    async with signed_in(charlie) as live:
        await live.say("sub", id="f", fleet="greenhouse")
        foreign = await live.until("err")
        await live.say("sub", id="f", fleet="greenhousf")
        unknown = await live.until("err")
        assert foreign["code"] == "fleet_unknown"
        assert json.dumps(unknown).replace("greenhousf", "greenhouse") == json.dumps(foreign)


async def test_a_doorbell_is_passed_on(alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await follow(live)
        await store("pump-1", 1, temp=5)
        await ring("greenhouse", "pump-1")
        assert (await live.until("fleet"))["devices"]["pump-1"]["values"] == {"temp": 5}


async def test_a_big_picture_comes_in_parts(alice: User, greenhouse: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.fleets.FLEET_CHUNK", 2)
    await run(lambda: [registry.create(f"d{index}", greenhouse) for index in range(5)])
    async with signed_in(alice) as live:
        await live.say("sub", id="f", fleet="greenhouse")
        parts = [set((await live.until("fleet"))["devices"]) for _ in range(3)]
        assert parts == [{"d0", "d1"}, {"d2", "d3"}, {"d4"}]


async def test_a_device_that_is_made_renamed_moved_or_deleted_shows(
    hub: Fanout, alice: User, charlie: User, greenhouse: Fleet, brewery: Fleet
) -> None:
    async with signed_in(alice) as live, signed_in(charlie) as other:
        await follow(live)
        await follow(other, "brewery")
        device, _ = await run(registry.create, "new-1", greenhouse)
        assert (await live.until("fleet"))["devices"]["new-1"]["name"] == ""
        await run(registry.change, device, {"name": "Newcomer"})
        assert (await live.until("fleet"))["devices"]["new-1"]["name"] == "Newcomer"
        # Nobody else hears so much as its key, until it is theirs.
        assert await told(other) == []
        await run(registry.change, device, {"fleet": brewery})
        assert (await live.until("fleet"))["devices"] == {"new-1": None}
        assert (await other.until("fleet"))["devices"]["new-1"]["name"] == "Newcomer"
        await run(registry.remove, await run(Device.objects.get, key="new-1"))
        assert (await other.until("fleet"))["devices"] == {"new-1": None}
        assert await told(live) == []


async def test_what_no_doorbell_told_of_is_found(
    hub: Fanout, alice: User, pump: Device, greenhouse: Fleet, brewery: Fleet
) -> None:
    def by_hand() -> None:
        Device.objects.filter(key="pump-1").update(name="Renamed")
        Head.objects.create(device=Device.objects.create(key="made", fleet=greenhouse, secret_box="x"))

    async with signed_in(alice) as live:
        await follow(live)
        await store("pump-1", 1, temp=7)
        await hub.check_once()
        assert (await told(live))[0]["pump-1"]["seq"] == 1
        await run(by_hand)
        await hub.check_once()
        [changed] = await told(live)
        assert (set(changed), changed["pump-1"]["name"]) == ({"pump-1", "made"}, "Renamed")
        await run(Device.objects.filter(key="made").update, fleet=brewery)
        await hub.check_once()
        assert await told(live) == [{"made": None}]
        await hub.check_once()
        assert await told(live) == []


async def test_a_doorbell_for_a_device_that_has_left_is_not_passed_on(
    hub: Fanout, alice: User, pump: Device, kettle: Device
) -> None:
    async with signed_in(alice) as live:
        await follow(live)
        await ring("greenhouse", "kettle")  # a bridge that has not read the registry yet
        await hub.look_up_once()
        assert await told(live) == []


async def test_what_is_told_while_we_join_comes_after_the_first_picture(
    alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_and_ring(read: Any, *args: Any, **kwargs: Any) -> Any:
        found = await run(read, *args, **kwargs)
        if read is reads.summaries:
            monkeypatch.setattr(reads, "run", run)
            await store("pump-1", 1, temp=9)
            await ring("greenhouse", "pump-1")
        return found

    async with signed_in(alice) as live, signed_in(alice) as other:
        await follow(other)
        monkeypatch.setattr(reads, "run", run_and_ring)
        assert (await follow(live))["pump-1"]["values"] == {}
        await other.until("fleet")
        assert (await live.until("fleet"))["devices"]["pump-1"]["values"] == {"temp": 9}


async def test_two_who_follow_are_both_told_and_one_who_left_is_not(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live, signed_in(alice) as other:
        await follow(live)
        await follow(other)
        await other.say("unsub", id="f")
        await other.words()
        await store("pump-1")
        await ring("greenhouse", "pump-1")
        await live.until("fleet")
        assert await told(other) == []
    await hub.check_once()
    await hub.check_once()
    assert not hub.fleets


# --- subscriptions to devices that go


async def test_a_device_that_moves_out_of_sight_ends_its_subscriptions(
    hub: Fanout, alice: User, root: User, pump: Device, brewery: Fleet
) -> None:
    async with signed_in(alice) as live, signed_in(root) as other:
        await live.sub("pump-1")
        await other.sub("pump-1")
        await live.until("live")
        await other.until("live")
        await run(registry.change, pump, {"fleet": brewery})
        assert (await live.until("end"))["id"] == "a"
        assert (await other.until("device"))["fleet"] == "brewery"
        assert await other.words() == []


async def test_a_device_made_again_under_its_key_is_another_device(
    hub: Fanout, alice: User, charlie: User, pump: Device, brewery: Fleet
) -> None:
    await store("pump-1", 5)
    async with signed_in(alice) as live, signed_in(charlie) as other:
        await live.sub("pump-1")
        await live.until("live")
        await run(registry.remove, pump)
        await run(registry.create, "pump-1", brewery)
        await other.sub("pump-1")
        await live.until("end")
        await other.until("live")
        await groups.announce(*await store("pump-1", 2, secret=1))
        assert await other.until_row(2) == [1, 2]
        await live.words()
        assert live.rows == {}


async def test_who_follows_a_fleet_that_is_another_one_by_now_is_told_of_its_end(
    hub: Fanout, alice: User, pump: Device, greenhouse: Fleet
) -> None:
    async with signed_in(alice) as live:
        await follow(live)
        hub.fleet(greenhouse.slug, greenhouse.pk + 1)  # deleted and made again, and somebody was quick to follow it
        assert (await live.until("end"))["reason"] == "permission_revoked"


# --- who may see a part of it


async def test_who_may_see_a_part_of_a_fleet_is_told_of_that_part_alone(
    hub: Fanout, vera: User, alice: User, greenhouse: Fleet, pump: Device
) -> None:
    await run(registry.create, "valve", greenhouse)
    await run(members.except_for, pump, "vera", "none")
    async with signed_in(vera) as live, signed_in(alice) as other:
        assert set(await follow(live)) == {"valve"}
        assert set(await follow(other)) == {"pump-1", "valve"}
        await store("pump-1")
        await store("valve")
        await ring("greenhouse", "pump-1", "valve")
        assert set((await other.until("fleet"))["devices"]) == {"pump-1", "valve"}
        assert set((await live.until("fleet"))["devices"]) == {"valve"}
        await run(registry.remove, pump)
        await hub.check_once()
        assert (await other.until("fleet"))["devices"] == {"pump-1": None}
        await ring("greenhouse", "valve")
        assert all("pump-1" not in told for told in await told(live))


async def test_what_is_hidden_in_mid_stream_is_gone_within_a_look_and_comes_back(
    hub: Fanout, vera: User, greenhouse: Fleet, pump: Device
) -> None:
    await run(registry.create, "valve", greenhouse)
    async with signed_in(vera) as live:
        assert set(await follow(live)) == {"pump-1", "valve"}
        await run(members.except_for, pump, "vera", "none")
        await hub.permits.look_once()
        assert (await live.until("fleet"))["devices"] == {"pump-1": None}
        await run(members.end_exception, pump, "vera")
        await hub.permits.look_once()
        assert (await live.until("fleet"))["devices"]["pump-1"]["name"] == "Pump"


async def test_who_has_a_role_for_one_device_follows_it_in_its_fleet_until_that_ends(
    hub: Fanout, charlie: User, greenhouse: Fleet, pump: Device
) -> None:
    await run(registry.create, "valve", greenhouse)
    await run(members.except_for, pump, "charlie", "viewer")
    async with signed_in(charlie) as live:
        assert set(await follow(live)) == {"pump-1"}
        await live.sub("pump-1", id="p")
        await live.until("live")
        await run(members.end_exception, pump, "charlie")
        await hub.permits.look_once()
        assert {(await live.until("end"))["id"], (await live.until("end"))["id"]} == {"f", "p"}
