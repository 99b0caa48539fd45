"""The join without a gap, resuming, credit: whatever happens in between, each row comes once and in order."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, get_args, get_type_hints

import pytest
from channels.layers import channel_layers, get_channel_layer
from django.contrib.auth.models import User

from dashboard import fanout, protocol, reads, rows
from dashboard.fanout import Fanout
from devices import commands, groups
from devices.history import retention
from devices.models import Device, Frame, Head, Rolled
from tests.django.live import Live, by_token, publish, run, settle, signed_in, store

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = pytest.mark.django_db(transaction=True)

FROM_THE_START = {"cursor": {"pump-1": 0}}


def between_reads(monkeypatch: pytest.MonkeyPatch, point: int, happens: Callable[[], Awaitable[Any]]) -> list[int]:
    """Let something happen before (even points) or after (odd ones) one of the hub's reads."""
    passed: list[int] = []

    async def run_and_let_happen(read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if len(passed) == point:
            await happens()
        passed.append(len(passed))
        found = await run(read, *args, **kwargs)
        if len(passed) == point:
            await happens()
        passed.append(len(passed))
        return found

    monkeypatch.setattr(reads, "run", run_and_let_happen)
    return passed


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("point", range(6))
async def test_a_frame_that_comes_while_we_join_comes_once(
    hub: Fanout,
    alice: User,
    pump: Device,
    monkeypatch: pytest.MonkeyPatch,
    point: int,
    announced: bool,
) -> None:
    await store("pump-1", 3)
    async with signed_in(alice) as live:
        passed = between_reads(monkeypatch, point, lambda: (publish if announced else store)("pump-1"))
        await live.sub("pump-1", since=FROM_THE_START)
        await live.until("live")
        assert len(passed) > point
        if not announced:
            await hub.check_once()
        assert await live.until_row(4) == [1, 2, 3, 4]
        await publish("pump-1")
        assert await live.until_row(5) == [1, 2, 3, 4, 5]


async def test_without_since_it_begins_now(hub: Fanout, alice: User, pump: Device) -> None:
    await store("pump-1", 3)
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        assert (await live.until("ok"))["head"] == {"pump-1": 3}
        await live.until("live")
        await publish("pump-1")
        assert await live.until_row(4) == [4]


async def test_history_comes_in_bounded_parts_and_says_when_it_ends(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 10)
    await store("pump-1", 35)
    async with signed_in(alice) as live:
        await live.sub("pump-1", since=FROM_THE_START)
        await live.until("live")
    parts = [message for message in live.heard if message["type"] == "data"]
    assert [len(part["devices"]["pump-1"]["frames"]) for part in parts] == [10, 10, 10, 5]
    assert [part.get("more", False) for part in parts] == [True, True, True, False]
    assert {part["phase"] for part in parts} == {"history"}


async def test_long_rows_are_not_sent_in_one_huge_message(hub: Fanout, alice: User, pump: Device) -> None:
    await store("pump-1", 30, **{f"text{index}": "x" * 1000 for index in range(20)})
    async with signed_in(alice) as live:
        await live.sub("pump-1", since=FROM_THE_START)
        await live.until("live")
        assert live.rows["a", "pump-1"] == list(range(1, 31))
    assert sum(message["type"] == "data" for message in live.heard) >= 5


async def test_two_subscriptions_to_one_device_stand_on_their_own(hub: Fanout, alice: User, pump: Device) -> None:
    await store("pump-1", 2)
    async with signed_in(alice) as live:
        await live.sub("pump-1", id="a", since=FROM_THE_START)
        await live.sub("pump-1", id="b")
        await live.until("live", lambda message: message["id"] == "b")
        await publish("pump-1")
        assert await live.until_row(3, sub="a") == [1, 2, 3]
        assert await live.until_row(3, sub="b") == [3]
        await live.say("unsub", id="a")
        await live.words()
        await publish("pump-1")
        assert await live.until_row(4, sub="b") == [3, 4]
        assert live.rows["a", "pump-1"] == [1, 2, 3]


async def test_unsub_while_history_is_read_and_sub_again_under_the_same_id(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store("pump-1", 3)
    async with signed_in(alice) as live:
        reading, go = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            reading.set()
            await go.wait()

        between_reads(monkeypatch, 5, wait)  # history was read, and is not sent yet
        await live.sub("pump-1", since=FROM_THE_START)
        await reading.wait()
        monkeypatch.setattr(reads, "run", run)
        await live.say("unsub", id="a")
        await live.sub("pump-1", since={"cursor": {"pump-1": 2}})
        await live.say("ping")
        await asyncio.sleep(0.05)  # the sender waits for `go`, so that nothing can tell us that both were read
        go.set()
        await live.until("live")
        assert live.rows == {("a", "pump-1"): [3]}


@pytest.mark.parametrize("how", ["kills", "closes"])
async def test_nothing_is_left_of_a_socket_that_goes_while_it_joins(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    joining, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        joining.set()
        await go.wait()

    live = Live(await run(by_token, alice))
    with contextlib.suppress(asyncio.CancelledError):
        await live.__aenter__()
        await live.until("welcome")
        between_reads(monkeypatch, 2, wait)
        await live.sub("pump-1")
        await joining.wait()
        assert hub.feeds["pump-1"].subscribers
        if how == "kills":
            live.wire.future.cancel()
            await asyncio.wait([live.wire.future])
        go.set()
        await live.__aexit__(None, None, None)
    assert not hub.feeds["pump-1"].subscribers
    assert not hub.sessions
    await settle()
    assert "live sender" not in {task.get_name() for task in asyncio.all_tasks()}
    monkeypatch.setattr(reads, "run", run)
    await hub.check_once()
    await hub.check_once()
    assert not hub.feeds
    assert list(get_channel_layer().groups) == [groups.REGISTRY, groups.HUB]  # type: ignore[union-attr]


async def test_who_only_changes_pages_finds_the_feed_still_there(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
    feed = hub.feeds["pump-1"]
    await hub.check_once()
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        await hub.check_once()
        await hub.check_once()
        assert hub.feeds["pump-1"] is feed
        await publish("pump-1")
        assert await live.until_row(1) == [1]


# --- resuming


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("cursor", "deleted", "has", "gap"),
    [
        (3, 0, [4, 5], None),
        (0, 0, [1, 2, 3, 4, 5], None),
        (5, 0, [], None),
        (0, 2, [3, 4, 5], (1, 2, "retention")),
        (1, 2, [3, 4, 5], (2, 2, "retention")),
        (2, 2, [3, 4, 5], None),
        (3, 5, [], (4, 5, "retention")),
        (99, 0, [], (6, 99, "retention")),
        (2**63 - 1, 0, [], (6, 2**63 - 1, "retention")),
    ],
)
async def test_a_cursor_is_resumed_or_honestly_not_recovered(
    alice: User,
    pump: Device,
    cursor: int,
    deleted: int,
    has: list[int],
    gap: tuple[int, int, str] | None,
) -> None:
    await store("pump-1", 5)
    await run(Frame.objects.filter(seq__lte=deleted).delete)
    async with signed_in(alice) as live:
        await live.sub("pump-1", since={"cursor": {"pump-1": cursor}})
        assert (await live.until("ok"))["recovered"] == (gap is None)
        await live.until("live")
        await publish("pump-1")
        assert await live.until_row(6) == [*has, 6]
    gaps = [
        tuple(message[name] for name in ("from", "to", "cause")) for message in live.heard if message["type"] == "gap"
    ]
    assert gaps == ([gap] if gap else [])


@pytest.mark.parametrize("point", range(8))
async def test_what_is_pruned_while_we_read_is_sent_or_told_as_a_gap(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    await store("pump-1", 5)
    await run(Rolled.objects.create, device=pump, seq=3)  # what is not rolled up stays
    await run(Device.objects.filter(pk=pump.pk).update, keep_raw=1)
    long_after = 2**42  # in the year 2109
    async with signed_in(alice) as live:
        passed = between_reads(monkeypatch, point, lambda: run(retention.prune, 1000, long_after))
        await live.sub("pump-1", since=FROM_THE_START)
        await live.until("live")
        await publish("pump-1")
        got = await live.until_row(6)
    gaps = [message for message in live.heard if message["type"] == "gap"]
    assert {gap["cause"] for gap in gaps} <= {"retention"}
    missing = [seq for gap in gaps for seq in range(gap["from"], gap["to"] + 1)]
    assert missing + got == [1, 2, 3, 4, 5, 6]
    assert missing == ([1, 2, 3] if len(got) == 3 else [])
    assert len(passed) > min(point, 3)


async def test_what_is_too_far_behind_is_skipped_and_said(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "MAX_BEHIND", 3)
    monkeypatch.setattr(protocol, "MAX_BEHIND", 3)
    await store("pump-1", 10)
    async with signed_in(alice) as live:
        await live.sub("pump-1", since=FROM_THE_START)
        assert not (await live.until("ok"))["recovered"]
        gap = await live.until("gap")
        assert (gap["from"], gap["to"], gap["cause"]) == (1, 7, "limit")
        await live.until("live")
        await publish("pump-1", 8)
        assert (await live.until("lag"))["devices"] == {"pump-1": 5}
        assert await live.until_row(18) == [8, 9, 10, 16, 17, 18]


async def test_a_device_that_the_cursor_does_not_name_begins_now(hub: Fanout, alice: User, pump: Device) -> None:
    await store("pump-1", 2)
    async with signed_in(alice) as live:
        await live.sub("pump-1", since={"cursor": {}})
        await live.until("live")
        assert live.rows == {}


# --- what is asked for


async def test_rows_without_the_metrics_asked_for_come_empty(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1", metrics=["temp"])
        await live.until("live")
        await publish("pump-1", temp=1, hum=2)
        await publish("pump-1", hum=3)
        assert await live.until_row(2) == [1, 2]
    frames = [
        row for message in live.heard if message["type"] == "data" for row in message["devices"]["pump-1"]["frames"]
    ]
    assert [row[2] for row in frames] == [{"temp": 1}, {}]


async def test_latest_merges_what_has_piled_up(hub: Fanout, alice: User, pump: Device) -> None:
    await store("pump-1", 1, temp=1, hum=1)
    await store("pump-1", 1, temp=2)
    async with signed_in(alice) as live:
        await live.sub("pump-1", mode="latest", since=FROM_THE_START)
        part = (await live.until("data"))["devices"]["pump-1"]
        assert part["prev"] == 0
        assert [(row[0], row[2]) for row in part["frames"]] == [(2, {"temp": 2, "hum": 1})]


# --- credit


async def test_out_of_credit_nothing_is_sent_lost_or_doubled(
    hub: Fanout, alice: User, pump: Device, no_pace: None
) -> None:
    async with signed_in(alice) as live:
        live.credits = False
        await live.sub("pump-1")
        await live.until("live")
        for seq in range(1, protocol.CREDIT + 1):
            await publish("pump-1")
            await live.until_row(seq)
        for _ in range(5):
            await publish("pump-1")
        assert [message["type"] for message in await live.words()] == []
        await live.say("credit", n=1)
        assert await live.until_row(protocol.CREDIT + 5) == list(range(1, protocol.CREDIT + 6))
        await publish("pump-1")
        assert await live.words() == []
        await live.say("credit", n=10**12)  # more than was lent
        await live.until_row(protocol.CREDIT + 6)
        for seq in range(protocol.CREDIT + 7, 2 * protocol.CREDIT + 6):
            await publish("pump-1")
            await live.until_row(seq)
        await publish("pump-1")
        assert await live.words() == []


async def test_little_credit_reaches_every_subscription(
    hub: Fanout, alice: User, pump: Device, no_pace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CREDIT", 1)
    async with signed_in(alice) as live:
        await live.sub("pump-1", id="a")
        await live.sub("pump-1", id="b")
        await live.until("live", lambda message: message["id"] == "b")
        for _ in range(3):
            await publish("pump-1", 2)
        # While `a` always has something new, `b` has its turn.
        while 6 not in live.rows.get(("b", "pump-1"), []):
            await publish("pump-1")
            await live.until("data")


async def test_who_takes_nothing_for_too_long_is_let_go(
    hub: Fanout, alice: User, pump: Device, no_pace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CREDIT", 1)
    monkeypatch.setattr(protocol, "CREDIT_TIMEOUT_S", 0.02)
    async with signed_in(alice) as live:
        live.credits = False
        await live.sub("pump-1")
        await live.until("live")
        await publish("pump-1")
        await live.until_row(1)
        await asyncio.sleep(0.03)
        await live.words()  # with nothing to send there is nothing to take
        await publish("pump-1")
        assert await live.code() == 4408


# --- doorbells and the layer


async def test_doubled_and_disordered_doorbells_change_nothing(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        first, second, third = [(await store("pump-1", 2))[0] for _ in range(3)]
        await groups.announce(third, first, third, second, first)
        await live.until_row(6)
        await publish("pump-1")
        assert await live.until_row(7) == [1, 2, 3, 4, 5, 6, 7]


class Away:
    """A channel layer that cannot be reached."""

    def __init__(self, answer: Callable[[], Awaitable[None]]) -> None:
        self.answer = answer

    async def new_channel(self, prefix: str = "") -> str:
        await self.answer()
        return prefix

    async def group_add(self, *_: object) -> None:
        await self.answer()

    group_discard = group_send = group_add

    async def receive(self, _: str) -> None:
        await self.answer()


async def refuse() -> None:
    raise ConnectionRefusedError


async def hang() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("answer", [refuse, hang])
async def test_with_the_layer_away_sub_answers_and_the_check_brings_the_rows(
    alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Awaitable[None]]
) -> None:
    monkeypatch.setattr(fanout, "LAYER_S", 0.02)
    monkeypatch.setitem(channel_layers.backends, "default", Away(answer))
    hub = fanout.here()
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        await store("pump-1", 2)
        await hub.check_once()
        assert await live.until_row(2) == [1, 2]
        # It comes back: the next check joins, and doorbells are heard again.
        channel_layers.backends.clear()
        hub.layer = get_channel_layer()
        await hub.stop()
        hub.start()
        await hub.check_once()
        await publish("pump-1")
        assert await live.until_row(3) == [1, 2, 3]
    await hub.stop()


async def test_a_forgetful_layer_is_joined_again(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        get_channel_layer().groups.clear()  # type: ignore[union-attr]
        await publish("pump-1")
        await hub.check_once()
        assert await live.until_row(1) == [1]
        await publish("pump-1")
        assert await live.until_row(2) == [1, 2]


async def test_every_member_of_a_group_has_a_method_for_each_message(hub: Fanout) -> None:
    for shape in get_args(groups.Message):
        (kind,) = get_args(get_type_hints(shape)["type"])
        assert callable(getattr(hub, kind.replace(".", "_")))


# --- presence


async def test_presence_that_no_doorbell_told_of_is_found(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        assert (await live.until("state"))["presence"] == "never"
        await live.until("live")
        await run(Head.objects.update, presence="stale", because="no data", since=5)
        await hub.check_once()
        state = await live.until("state")
        assert state == {"type": "state", "device": "pump-1", "presence": "stale", "because": "no data", "since": 5}
        await hub.check_once()
        assert await live.words() == []


@pytest.mark.parametrize("point", [2, 3])
async def test_the_last_word_on_presence_is_the_newest_one(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    new: groups.State = {"type": "device.state", "device": "pump-1", "presence": "online", "because": "new", "since": 9}

    async def change() -> None:
        await run(Head.objects.update, presence="online", because="new", since=9)
        await groups.announce(new)
        await settle()

    async with signed_in(alice) as live:
        between_reads(monkeypatch, point, change)
        await live.sub("pump-1")
        await live.until("live")
        await live.words()
    states = [message["because"] for message in live.heard if message["type"] == "state"]
    assert states[-1] == "new"


# --- where others watch already


async def test_who_comes_to_a_watched_device_costs_one_read(
    alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def counted(read: Any, *args: Any, **more: Any) -> Any:
        asked.append(read.__name__)
        return await run(read, *args, **more)

    await store("pump-1", 3)
    async with signed_in(alice) as first, signed_in(alice) as second:
        await first.sub("pump-1")
        await first.until("live")
        monkeypatch.setattr(reads, "run", counted)
        await second.sub("pump-1")
        await second.until("live")
        assert asked == ["starts_of"]
        await publish("pump-1")
        assert await second.until_row(4) == await first.until_row(4) == [4]


async def test_a_stranger_who_asks_for_a_watched_device_hears_nothing_of_it_meanwhile(
    alice: User, charlie: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_and_ring(read: Any, *args: Any, **more: Any) -> Any:
        state = {"presence": "offline", "because": "secret", "since": 1}
        await groups.announce({"type": "device.state", "device": "pump-1", **state})
        await publish("pump-1")
        await settle()
        return await run(read, *args, **more)

    async with signed_in(alice) as live, signed_in(charlie) as stranger:
        await live.sub("pump-1")
        await live.until("live")
        monkeypatch.setattr(reads, "run", run_and_ring)
        await stranger.sub("pump-1")
        assert (await stranger.until("err"))["code"] == "device_unknown"
        assert await stranger.words() == []
        assert [message["type"] for message in stranger.heard[1:]] == ["err", "pong"]


async def test_who_comes_later_is_told_of_open_commands_from_memory_as_from_the_database(
    alice: User, pump: Device
) -> None:
    device = await run(Device.objects.get, key="pump-1")
    await run(commands.issue, device, "relay", "on", user=alice, now=reads.now_ms())
    async with signed_in(alice) as first, signed_in(alice) as second:
        told = []
        for live in (first, second):
            await live.sub("pump-1")
            told.append(await live.until("cmd_state"))
            await live.until("live")
        assert told[0] == told[1]


async def test_who_watches_while_a_backup_is_restored_is_sent_back_and_told_what_is_gone(
    hub: Fanout, alice: User, pump: Device
) -> None:
    def restore() -> None:
        Frame.objects.filter(device=pump, seq__gt=2).delete()
        Head.objects.filter(device=pump).update(seq=2)

    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        await publish("pump-1", 5)
        await live.until_row(5)
        await hub.check_once()
        await run(restore)
        await hub.check_once()
        assert await live.code() == 4500
    async with signed_in(alice) as live:
        await live.sub("pump-1", since={"cursor": {"pump-1": 5}})
        gap = await live.until("gap")
        assert (gap["from"], gap["to"], gap["cause"]) == (3, 5, "retention")
        await live.until("live")
        await publish("pump-1")
        assert await live.until_row(3) == [3]
