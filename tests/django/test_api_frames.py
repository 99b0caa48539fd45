"""devices/<key>/frames/: the journal by cursor, and the long poll that misses nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.test import AsyncClient
from rest_framework.test import APIClient

from devices import groups, registry, telemetry, wire
from devices.api import frames
from devices.models import Device, Frame, Membership, Token

URL = "/api/v1/devices/pump-1/frames/"
NOW = 1_790_000_000_000


def test_frames_come_in_order_with_their_flags(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 2)
    answer = api(vera).get(URL)
    assert answer.json() == {
        "frames": [[1, NOW, {"temperature": 21.5}, 0], [2, NOW + 1000, {"temperature": 21.5}, 0]],
        "gap": None,
        "head": 2,
        "next": None,
    }


def test_following_next_reads_everything_once(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 7)
    client, seen, after = api(vera), [], 0
    while after is not None:
        answer = client.get(URL, {"after": after, "limit": 3}).json()
        seen += [row[0] for row in answer["frames"]]
        assert answer["head"] == 7
        after = answer["next"]
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_that_ends_at_the_head_has_no_next(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 3)
    assert api(vera).get(URL, {"limit": 3}).json()["next"] is None


def test_behind_the_head_there_is_nothing(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 3)
    assert api(vera).get(URL, {"after": 3}).json() == {"frames": [], "gap": None, "head": 3, "next": None}


def ask(client: Any, **asked: int) -> tuple[list[int], Any, int, int | None]:
    """Return the seqs of the frames, the gap, the head, and next."""
    answer = client.get(URL, asked).json()
    return [row[0] for row in answer["frames"]], answer["gap"], answer["head"], answer["next"]


def deleted(*seqs: int) -> None:
    Frame.objects.filter(device__key="pump-1", seq__in=seqs).delete()


def gap(first: int, last: int) -> dict[str, Any]:
    return {"from": first, "to": last, "cause": "retention"}


def test_what_was_deleted_behind_the_cursor_is_said(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 5)
    deleted(1, 2, 3)
    assert ask(api(vera), after=1) == ([4, 5], gap(2, 3), 5, None)
    assert ask(api(vera), after=3) == ([4, 5], None, 5, None)
    deleted(4, 5)
    assert ask(api(vera), after=3) == ([], gap(4, 5), 5, None)
    assert ask(api(vera), after=5) == ([], None, 5, None)


def test_a_hole_among_the_frames_is_said_where_it_is(vera: User, pump: Device, api: Any, say: Any) -> None:
    """Retention goes by time, and what came late has an old time: it leaves holes."""
    say(pump, 6)
    deleted(3, 6)
    client = api(vera)
    assert ask(client) == ([1, 2], None, 6, 2)
    assert ask(client, after=2) == ([4, 5], gap(3, 3), 6, None)
    assert ask(client, after=5) == ([], gap(6, 6), 6, None)
    assert ask(client, limit=1, after=2) == ([4], gap(3, 3), 6, 4)


def test_a_cursor_of_another_journal_is_told_so(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 2)
    assert ask(api(vera), after=50) == ([], gap(3, 50), 2, None)


@pytest.mark.parametrize(
    "asked", ["after=-1", "after=x", f"after={2**63}", "limit=0", "limit=1001", "wait=26", "wait=nan", "wiat=5"]
)
def test_a_wrong_parameter_is_named(asked: str, vera: User, pump: Device, api: Any) -> None:
    answer = api(vera).get(f"{URL}?{asked}")
    assert answer.status_code == 400
    assert asked.split("=", maxsplit=1)[0] in answer.json()["fields"]


def test_it_costs_four_queries(vera: User, pump: Device, api: Any, say: Any, django_assert_num_queries: Any) -> None:
    say(pump, 50)
    client = api(vera)
    with django_assert_num_queries(4):  # token, user, device, frames
        client.get(URL)


def test_without_signing_in_it_is_refused_like_everything_else(pump: Device) -> None:
    answer = APIClient().get(URL)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == "Token"


def test_a_session_opens_it_too(vera: User, pump: Device, client: Any) -> None:
    client.force_login(vera)
    assert client.get(URL).status_code == 200


def test_it_can_only_be_read(alice: User, pump: Device, api: Any) -> None:
    answer = api(alice).post(URL)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


# From here on with threads and commits, as in a server.

Poll = Callable[..., Awaitable[Any]]


@pytest.fixture
def poll(transactional_db: None, vera: User) -> Poll:
    """Ask as Vera, with a long wait, in a layer where nobody else is."""
    layer: Any = get_channel_layer()
    layer.groups.clear()
    headers = {"Authorization": f"Token {Token.objects.create(vera)[1]}"}

    async def asked(after: int = 0, wait: float = 20) -> Any:
        return await AsyncClient().get(URL, {"after": after, "wait": wait}, headers=headers)

    return asked


async def somebody_waits() -> None:
    """Return once a long poll has joined the device's group and read the journal."""
    layer: Any = get_channel_layer()
    async with asyncio.timeout(5):
        while not layer.groups.get(groups.device_group("pump-1")):  # noqa: ASYNC110  the layer has no event
            await asyncio.sleep(0)


async def send(count: int = 1) -> None:
    said = [wire.Frame(device="pump-1", values={"t": 1}, received_at=NOW, ts=NOW + index) for index in range(count)]
    recorded = await sync_to_async(telemetry.record)(said, NOW)
    await groups.announce(*recorded.frames)


async def test_who_waits_gets_the_frame_at_once(pump: Device, poll: Poll) -> None:
    began = time.monotonic()
    waiting = asyncio.create_task(poll())
    await somebody_waits()
    await send()
    answer = await waiting
    assert [row[0] for row in answer.json()["frames"]] == [1]
    assert time.monotonic() - began < frames.HEAL_S


async def test_who_has_something_to_read_does_not_wait(pump: Device, poll: Poll) -> None:
    await send(2)
    answer = await poll(after=1)
    assert [row[0] for row in answer.json()["frames"]] == [2]


@pytest.mark.parametrize("after", [0, 7])
async def test_who_has_missed_something_for_good_does_not_wait_to_be_told(after: int, pump: Device, poll: Poll) -> None:
    await send(2)
    await sync_to_async(deleted)(1, 2)
    answer = await poll(after=after)
    assert answer.json()["gap"] == (gap(1, 2) if after == 0 else gap(3, 7))


async def test_a_wait_that_ends_says_where_the_head_is(pump: Device, poll: Poll) -> None:
    await send()
    answer = await poll(after=1, wait=0.05)
    assert answer.json() == {"frames": [], "gap": None, "head": 1, "next": None}


async def test_a_lost_doorbell_delays_and_loses_nothing(pump: Device, poll: Poll, monkeypatch: Any) -> None:
    monkeypatch.setattr(frames, "HEAL_S", 0.05)
    waiting = asyncio.create_task(poll())
    await somebody_waits()
    await sync_to_async(telemetry.record)([wire.Frame(device="pump-1", values={"t": 1}, received_at=NOW)], NOW)
    assert len((await waiting).json()["frames"]) == 1


async def test_what_else_rings_in_the_group_does_not_end_the_wait(pump: Device, poll: Poll) -> None:
    waiting = asyncio.create_task(poll())
    await somebody_waits()
    await groups.announce({"type": "device.watch", "device": "pump-1"})
    await send()
    assert len((await waiting).json()["frames"]) == 1


async def test_a_watcher_rings_so_that_the_bridge_announces(pump: Device, poll: Poll) -> None:
    layer: Any = get_channel_layer()
    bridge = await layer.new_channel()
    await layer.group_add(groups.device_group("pump-1"), bridge)
    await poll(wait=0.05)
    assert await layer.receive(bridge) == {"type": "device.watch", "device": "pump-1"}
    await layer.group_discard(groups.device_group("pump-1"), bridge)


async def test_who_has_left_is_no_member_any_more(pump: Device, poll: Poll) -> None:
    layer: Any = get_channel_layer()
    await poll(wait=0.05)
    waiting = asyncio.create_task(poll())
    await somebody_waits()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert groups.device_group("pump-1") not in layer.groups


async def test_a_withdrawn_permission_ends_the_wait(pump: Device, poll: Poll, vera: User) -> None:
    waiting = asyncio.create_task(poll())
    await somebody_waits()
    await Membership.objects.filter(user=vera).adelete()
    await send()
    assert (await waiting).json()["code"] == "device_unknown"


async def test_a_deleted_device_ends_the_wait(pump: Device, poll: Poll, monkeypatch: Any) -> None:
    monkeypatch.setattr(frames, "HEAL_S", 0.05)
    waiting = asyncio.create_task(poll())
    await somebody_waits()
    await sync_to_async(registry.remove)(pump)
    assert (await waiting).status_code == 404
