"""Time travel: what is stored comes again at the pace of its arrival, each frame once, in order; then it goes live."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from django.contrib.auth.models import User

from dashboard import protocol, reads, replay, rows
from dashboard.fanout import Fanout
from dashboard.feeds import Feed
from dashboard.replay import Clock, Replay
from devices import groups, registry, telemetry, wire
from devices.models import Device, Fleet, Frame
from tests.django.live import NOW, PATIENCE_S, run, signed_in

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = pytest.mark.django_db(transaction=True)

HOUR_MS = 3_600_000


def arrive(key: str, times: Iterable[int], **values: Any) -> list[Any]:
    """Store a frame for each of these times of arrival (ms since NOW)."""
    frames = [wire.Frame(device=key, values=values or {"temp": at}, received_at=NOW + at) for at in times]
    return [telemetry.record([frame], frame.received_at) for frame in frames]


@pytest.fixture
def mixer(greenhouse: Fleet) -> Device:
    return registry.create("mixer", greenhouse)[0]


class Player:
    """Plays a replay without a socket, on a clock of its own, and keeps what it was told."""

    def __init__(self, user: User, keys: list[str], monkeypatch: pytest.MonkeyPatch, **asked: Any) -> None:
        self.s = 1000.0
        self.now = NOW + HOUR_MS
        self.user = user
        self.keys = keys
        self.asked = protocol.Replay(**asked)
        self.rung = asyncio.Event()
        self.told: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        monkeypatch.setattr(reads, "now_ms", lambda: round(self.now + (self.s - 1000) * 1000))

    async def begin(self, *, metrics: frozenset[str] | None = None) -> list[reads.Start]:
        starts = await run(replay.starts, self.user, self.keys, self.asked)
        self.replay = Replay(self.asked, metrics, self.ring, lambda: self.s)
        self.feeds = {start.key: Feed(start.key, start.pk) for start in starts}
        self.replay.begin(self.feeds, starts)
        return starts

    def ring(self) -> None:
        self.rung.set()

    async def turn(self, seconds: float = 0.0) -> dict[str, Any] | None:
        """Let time pass, and take one parcel."""
        self.s += seconds
        parcel = await self.replay.next_parcel()
        self.notes += parcel.notes
        text = parcel.addressed("r")
        if text is None:
            return None
        message: dict[str, Any] = json.loads(text)
        self.told.append(message)
        return message

    async def play(self, seconds: float, step: float = 0.05) -> None:
        """Take a parcel every so often."""
        for _ in range(round(seconds / step)):
            if self.replay.over or self.replay.cross_seam():
                break
            await self.turn(step)


def seqs(told: list[dict[str, Any]], key: str = "pump-1") -> list[int]:
    parts = [message["devices"][key] for message in told if key in message["devices"]]
    found = [row[0] for part in parts for row in part["frames"]]
    for part, before in zip(parts[1:], parts, strict=False):
        assert part["prev"] == before["frames"][-1][0]
    return found


@pytest.fixture
def playing(alice: User, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*keys: str, **asked: Any) -> Player:
        return Player(alice, list(keys or ["pump-1"]), monkeypatch, **asked)

    return make


def test_the_clock_runs_as_fast_as_asked_and_stands_when_told() -> None:
    clock = Clock(NOW, 10, now=50.0)
    assert clock.shows(51.0) == NOW + 10_000
    assert clock.when(NOW + 20_000) == 52.0
    clock.stood(3.0)
    assert clock.shows(54.0) == NOW + 10_000


@pytest.mark.parametrize("speed", [0.5, 10.0, 1000.0])
async def test_each_frame_of_the_interval_comes_once_in_order_and_at_its_time(
    pump: Device, playing: Any, speed: float
) -> None:
    await run(arrive, "pump-1", range(0, 100_000, 1000))
    player = playing(from_=NOW + 20_000, to=NOW + 70_000, speed=speed)
    (start,) = await player.begin()
    assert (start.cursor, start.head, start.skipped) == (20, 71, None)
    began, step = player.s, 0.05 if speed < 100 else 0.01
    while not player.replay.over:
        message = await player.turn(step)
        if message:
            assert message["phase"] == "replay"
            should = NOW + 20_000 + (player.s - began) * 1000 * speed
            assert message["at"] == pytest.approx(min(should, NOW + 70_000), abs=1)
            for part in message["devices"].values():
                assert all(message["at"] - step * 1000 * speed - 1 <= row[1] <= message["at"] for row in part["frames"])
    assert seqs(player.told) == list(range(21, 72))
    assert player.told[-1]["at"] == NOW + 70_000
    assert player.s - began == pytest.approx(50 / speed, abs=2 * step)


async def test_two_devices_are_merged_on_one_clock(pump: Device, mixer: Device, playing: Any) -> None:
    await run(arrive, "pump-1", range(0, 60_000, 2000))
    await run(arrive, "mixer", range(1000, 60_000, 2000))
    player = playing("pump-1", "mixer", from_=NOW, to=NOW + 59_000, speed=20)
    await player.begin()
    await player.play(10)
    assert player.replay.over
    told = [row[1] for one in player.told for part in one["devices"].values() for row in part["frames"]]
    assert told == sorted(told)
    assert seqs(player.told) == seqs(player.told, "mixer") == list(range(1, 31))


async def test_much_at_once_goes_in_bounded_messages_by_the_time_of_arrival(
    pump: Device, mixer: Device, playing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 10)
    monkeypatch.setattr(replay, "AHEAD", 14)
    await run(arrive, "pump-1", range(0, 50_000, 1000))
    await run(arrive, "mixer", range(500, 50_000, 1000))
    player = playing("pump-1", "mixer", from_=NOW, to=NOW + 49_600, speed=1000)
    await player.begin()
    while not player.replay.over:
        await player.turn(0.05)
        assert sum(len(lane.ahead) for lane in player.replay._lanes.values()) <= 14
    assert seqs(player.told) == seqs(player.told, "mixer") == list(range(1, 51))
    assert max(sum(len(part["frames"]) for part in one["devices"].values()) for one in player.told) == 10
    at = NOW - 1
    for one in player.told:
        told = [row[1] for part in one["devices"].values() for row in part["frames"]]
        assert all(at <= ts <= one["at"] for ts in told)
        at = one["at"]


async def test_the_clock_stands_while_nobody_takes_what_is_due(pump: Device, playing: Any) -> None:
    await run(arrive, "pump-1", range(0, 60_000, 1000))
    player = playing(from_=NOW, speed=10)
    await player.begin()
    await player.play(1.0)
    assert seqs(player.told) == list(range(1, 12))
    at = player.told[-1]["at"]
    stalled = await player.turn(25.0)
    assert stalled["at"] - at <= (0.05 + replay.GRACE_S) * 10_000 + 1500
    await player.play(1.0)
    told = seqs(player.told)
    assert told == list(range(1, len(told) + 1))
    assert len(told) <= 25


async def test_time_is_told_each_second_where_nothing_arrived(pump: Device, playing: Any) -> None:
    await run(arrive, "pump-1", [0, 600_000])
    player = playing(from_=NOW - 1, speed=2)
    await player.begin()
    await player.play(5.0)
    silent = [one for one in player.told if not one["devices"]]
    assert len(silent) in (4, 5)
    ats = [one["at"] for one in player.told]
    assert ats == sorted(ats)
    assert ats[-1] >= NOW + 8000


async def test_it_comes_back_by_itself_when_the_next_frame_is_due(pump: Device, playing: Any) -> None:
    await run(arrive, "pump-1", [0, 100])
    player = playing(from_=NOW, speed=1)
    await player.begin()
    await player.turn()
    assert not player.replay.due
    player.rung.clear()
    await asyncio.wait_for(player.rung.wait(), PATIENCE_S)  # 100 ms
    assert player.replay.due
    player.replay.leave()


async def test_what_retention_deleted_inside_is_told_as_a_gap(pump: Device, playing: Any) -> None:
    await run(arrive, "pump-1", range(0, 30_000, 1000))
    player = playing(from_=NOW + 5000, to=NOW + 29_000, speed=10)
    await player.begin()
    await run(lambda: Frame.objects.filter(device=pump, seq__in=[*range(10, 15), 29, 30]).delete())
    await player.play(4)
    assert player.replay.over
    assert [(one["from"], one["to"], one["cause"]) for one in player.notes] == [
        (10, 14, "retention"),
        (29, 30, "retention"),
    ]
    parts = [one["devices"]["pump-1"] for one in player.told if one["devices"]]
    assert [row[0] for part in parts for row in part["frames"]] == [6, 7, 8, 9, *range(15, 29)]
    # Nothing of before a gap is in a message with what follows it.
    assert all(part["frames"][0][0] == part["prev"] + 1 for part in parts)


@pytest.mark.parametrize(("from_", "skipped"), [(0, (1, 10, "retention")), (10_000, None), (15_000, None)])
async def test_a_beginning_that_is_not_kept_any_more_is_told(
    pump: Device, playing: Any, from_: int, skipped: tuple[int, int, str] | None
) -> None:
    await run(arrive, "pump-1", range(0, 30_000, 1000))
    await run(lambda: Frame.objects.filter(device=pump, seq__lte=10).delete())
    (start,) = await playing(from_=NOW + from_, speed=10).begin()
    assert start.skipped == skipped


async def test_without_an_end_it_catches_up_with_now_while_frames_keep_coming(pump: Device, playing: Any) -> None:
    times = iter(range(HOUR_MS - 100_000, HOUR_MS + 600_000, 500))
    await run(arrive, "pump-1", [next(times) for _ in range(200)])
    player = playing(from_=NOW + HOUR_MS - 100_000, speed=10)
    await player.begin()
    stored = 200
    for _ in range(1000):
        await player.turn(0.05)
        if player.replay.cross_seam():
            break
        while stored * 500 < (player.s - 1000) * 1000 + 100_000:
            await run(arrive, "pump-1", [next(times)])
            player.feeds["pump-1"].moved(stored := stored + 1)
    # 100 s at ten times the pace, while time goes on: 100 / 9.
    assert player.s - 1000 == pytest.approx(100 / 9, abs=0.2)
    assert player.replay.live
    told = seqs(player.told)
    assert told == list(range(1, len(told) + 1))
    assert len(told) >= stored - 1
    await run(arrive, "pump-1", [next(times)])
    player.feeds["pump-1"].moved(stored + 1)
    while (told := seqs(player.told))[-1] < stored + 1:
        await player.turn()
    assert told == list(range(1, stored + 2))
    assert player.told[-1]["phase"] == "live"


async def test_what_begins_in_the_future_is_live_at_once(pump: Device, playing: Any) -> None:
    await run(arrive, "pump-1", [0])
    player = playing(from_=NOW + 2 * HOUR_MS, speed=1)
    await player.begin()
    await player.turn()
    assert player.replay.cross_seam()
    assert seqs(player.told) == []


async def test_metrics_that_were_not_asked_for_stay_out_and_leave_no_hole(pump: Device, playing: Any) -> None:
    await run(arrive, "pump-1", range(0, 5000, 1000))
    await run(arrive, "pump-1", [5000], temp=1, noise=2)
    player = playing(from_=NOW, to=NOW + 5000, speed=10)
    await player.begin(metrics=frozenset({"noise"}))
    await player.play(2)
    found = [row for one in player.told for part in one["devices"].values() for row in part["frames"]]
    assert [(row[0], row[2]) for row in found] == [*((seq, {}) for seq in range(1, 6)), (6, {"noise": 2})]


async def test_rejects_replayed_in_between_come_with_the_frames_beside_which_they_were_stored(
    pump: Device, playing: Any
) -> None:
    await run(arrive, "pump-1", range(0, 10_000, 1000))
    late = [wire.Frame(device="pump-1", values={"temp": 1}, received_at=NOW - 5000, past=True)]
    await run(telemetry.record, late, NOW + 9500)
    await run(arrive, "pump-1", [10_000])
    player = playing(from_=NOW + 8000, to=NOW + 10_000, speed=1)
    await player.begin()
    await player.play(3)
    assert seqs(player.told) == [9, 10, 11, 12]


# -- over the socket


async def test_a_replay_to_an_end_is_told_over_the_socket_and_then_it_is_over(
    hub: Fanout, alice: User, pump: Device
) -> None:
    await run(arrive, "pump-1", range(0, 50_000, 1000))
    async with signed_in(alice) as live:
        await live.sub("pump-1", replay={"from": NOW + 10_000, "to": NOW + 30_000, "speed": 100})
        assert await live.until("ok") == {"type": "ok", "id": "a", "head": {"pump-1": 31}, "recovered": True}
        assert (await live.until("state"))["device"] == "pump-1"
        assert (await live.until("end"))["reason"] == "replay_done"
        assert live.rows["a", "pump-1"] == list(range(11, 32))
        assert {one["phase"] for one in live.heard if one["type"] == "data"} == {"replay"}
        await live.sub("pump-1")  # its id is free again
        await live.until("live")
    assert not any(feed.streams or feed.watched for feed in hub.feeds.values())


async def test_over_the_socket_it_goes_live_while_frames_keep_coming(hub: Fanout, alice: User, pump: Device) -> None:
    now = reads.now_ms() - NOW
    await run(arrive, "pump-1", range(now - 20_000, now, 100))
    came = 200

    async def keep_coming() -> None:
        nonlocal came
        while True:
            for recorded in await run(arrive, "pump-1", [reads.now_ms() - NOW]):
                came += 1
                await groups.announce(*recorded.frames)
            await asyncio.sleep(0.005)

    async with signed_in(alice) as live:
        coming = asyncio.create_task(keep_coming())
        await live.sub("pump-1", replay={"from": now + NOW - 20_000, "speed": 50})
        await live.until("live")
        at_the_seam = live.rows["a", "pump-1"][-1]
        while live.rows["a", "pump-1"][-1] < at_the_seam + 10:
            await live.hear()
        coming.cancel()
        assert await live.until_row(came) == list(range(1, came + 1))
        told = [one["phase"] for one in live.heard if one["type"] == "data"]
        assert told == sorted(told, reverse=True)  # all of the replay, then live
        assert live.skipped == set()


async def test_without_credit_it_waits_and_goes_on_where_it_stood(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CREDIT", 4)
    await run(arrive, "pump-1", range(0, 60_000, 1000))
    async with signed_in(alice) as live:
        live.credits = False
        await live.sub("pump-1", replay={"from": NOW, "to": NOW + 60_000, "speed": 40})
        for _ in range(4):
            await live.until("data")
        stood = live.rows["a", "pump-1"][-1]
        await asyncio.sleep(0.5)  # 20 s of the replay
        assert all(one["type"] != "data" for one in await live.words())
        live.credits = True
        await live.say("credit", n=4)
        first = await live.until("data")
        assert len(first["devices"]["pump-1"]["frames"]) <= 9
        await live.until("end")
        assert stood < 20
        assert live.rows["a", "pump-1"] == list(range(1, 61))


async def test_a_replay_ends_when_it_is_not_wanted_or_not_permitted_any_more(
    hub: Fanout, alice: User, pump: Device, mixer: Device
) -> None:
    await run(arrive, "pump-1", range(0, 60_000, 1000))
    async with signed_in(alice) as live:
        await live.sub("pump-1", id="a", replay={"from": NOW, "speed": 1})
        await live.sub("pump-1", "mixer", id="b", replay={"from": NOW, "speed": 1})
        await live.until("data", lambda one: one["id"] == "a")
        await live.until("data", lambda one: one["id"] == "b")
        await live.say("unsub", id="a")
        await live.words()
        await run(registry.remove, mixer)
        await groups.announce({"type": "registry.changed", "device": "mixer"})
        assert (await live.until("end"))["id"] == "b"
        assert not any(feed.streams or feed.watched for feed in hub.feeds.values())


async def test_who_may_not_see_a_device_may_not_see_its_past(hub: Fanout, charlie: User, pump: Device) -> None:
    async with signed_in(charlie) as live:
        await live.sub("pump-1", replay={"from": NOW, "speed": 1})
        assert (await live.until("err"))["code"] == "device_unknown"
