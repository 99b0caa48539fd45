"""When something is announced: only what somebody watches, at once, and then at most every so often."""

from typing import Any

import pytest
from channels.layers import get_channel_layer

from bridge import announcer
from bridge.announcer import FLEET_SPACING_S, MOST_ROWS, SPACING_S, WATCH_S, Announcer
from bridge.tally import Tally
from devices import groups


async def summaries(keys: list[str]) -> dict[str, dict[str, object]]:
    return {key: {"seq": 1} for key in keys}


def frames(first: int, last: int, key: str = "pump-1") -> groups.Frames:
    rows: list[groups.FrameRow] = [(seq, seq, {"t": seq}, 0) for seq in range(first, last + 1)]
    return {"type": "device.frames", "device": key, "prev": first - 1, "frames": rows}


def state(presence: str, key: str = "pump-1") -> groups.State:
    return {"type": "device.state", "device": key, "presence": presence, "because": "", "since": 1}


def seqs(message: groups.Message) -> list[int]:
    assert message["type"] == "device.frames"
    return [row[0] for row in message["frames"]]


def test_what_nobody_watches_is_not_announced() -> None:
    ours = Announcer(summaries, Tally(0))
    assert not ours.put(frames(1, 1), "greenhouse", 0)
    assert ours.due(0) == []


def test_a_watch_lasts_a_minute() -> None:
    ours = Announcer(summaries, Tally(0))
    ours.watch("pump-1", 100)
    assert ours.put(frames(1, 1), None, 100 + WATCH_S)
    assert not ours.put(frames(2, 2), None, 100 + WATCH_S + 1)


def test_the_first_is_told_at_once_and_the_next_ones_together_after_a_while() -> None:
    ours = Announcer(summaries, Tally(0))
    ours.watch("pump-1", 100)
    ours.put(frames(1, 1), None, 100)
    assert [seqs(message) for message in ours.due(100)] == [[1]]
    ours.put(frames(2, 2), None, 100)
    ours.put(frames(3, 4), None, 100)
    assert ours.due(100 + SPACING_S / 2) == []
    (told,) = ours.due(100 + 2 * SPACING_S)
    assert seqs(told) == [2, 3, 4]
    assert told["type"] == "device.frames"
    assert told["prev"] == 1


def test_devices_do_not_wait_for_each_other() -> None:
    ours = Announcer(summaries, Tally(0))
    for key in ("pump-1", "pump-2"):
        ours.watch(key, 100)
    ours.put(frames(1, 1), None, 100)
    ours.due(100)
    ours.put(frames(1, 1, "pump-2"), None, 100)
    assert [message["device"] for message in ours.due(100) if message["type"] == "device.frames"] == ["pump-2"]


def test_presence_is_told_at_once_and_the_newest_stands_for_all() -> None:
    ours = Announcer(summaries, Tally(0))
    ours.put(state("online"), None, 0)
    ours.put(state("offline"), None, 0)
    assert ours.due(0) == [state("offline")]
    assert ours.due(0) == []


def test_what_waits_is_bounded_and_says_where_it_begins() -> None:
    ours = Announcer(summaries, Tally(0))
    ours.watch("pump-1", 100)
    for first in range(1, 3 * MOST_ROWS, 100):
        ours.put(frames(first, first + 99), None, 100)
    (told,) = ours.due(100)
    assert told["type"] == "device.frames"
    assert len(told["frames"]) == MOST_ROWS
    assert told["prev"] == told["frames"][0][0] - 1


async def test_a_watched_fleet_is_told_the_newest_state_of_what_moved_twice_a_second() -> None:
    ours = Announcer(summaries, Tally(0))
    ours.watch_fleet("greenhouse", 100)
    ours.put(frames(1, 1), "greenhouse", 100)
    ours.put(frames(2, 2), "greenhouse", 100)
    ours.put(frames(1, 1, "other"), "brewery", 100)
    summary = {"type": "fleet.summary", "fleet": "greenhouse", "devices": {"pump-1": {"seq": 1}}}
    assert await ours.due_fleets(100) == [summary]
    ours.put(state("offline"), "greenhouse", 100)
    assert await ours.due_fleets(100 + FLEET_SPACING_S / 2) == []
    assert await ours.due_fleets(100 + FLEET_SPACING_S) == [summary]


async def test_a_large_fleet_is_told_in_chunks() -> None:
    ours = Announcer(summaries, Tally(0))
    ours.watch_fleet("greenhouse", 100)
    for number in range(announcer.FLEET_CHUNK + 1):
        ours.put(state("online", f"d{number}"), "greenhouse", 100)
    told = await ours.due_fleets(100)
    assert [len(message["devices"]) for message in told if message["type"] == "fleet.summary"] == [200, 1]


# --- what is counted of it


def test_what_nobody_watches_is_counted_so_and_what_has_to_wait_waits() -> None:
    tally = Tally(0)
    ours = Announcer(summaries, tally)
    ours.put(frames(1, 3), None, 0)
    ours.watch("pump-1", 100)
    ours.put(frames(4, 5), None, 100)
    assert (tally.unwatched, ours.waiting, tally.announced, tally.lost) == (3, 2, 0, 0)


@pytest.mark.parametrize("away", [False, True])
async def test_what_the_layer_took_is_announced_and_the_rest_is_lost(
    away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(group: str, message: Any) -> None:
        if away:
            raise ConnectionError("refused")

    monkeypatch.setattr(get_channel_layer(), "group_send", send)
    tally = Tally(0)
    ours = Announcer(summaries, tally)
    ours.watch("pump-1", 100)
    ours.put(frames(1, 3), None, 100)
    await ours.announce([*ours.due(100), state("online")])
    assert (tally.announced, tally.lost, ours.waiting) == ((0, 3, 0) if away else (3, 0, 0))


def test_what_is_too_much_to_wait_is_lost() -> None:
    tally = Tally(0)
    ours = Announcer(summaries, tally)
    ours.watch("pump-1", 100)
    ours.put(frames(1, MOST_ROWS), None, 100)
    ours.put(frames(MOST_ROWS + 1, MOST_ROWS + 7), None, 100)
    assert (tally.lost, ours.waiting) == (7, MOST_ROWS)


def test_of_frames_that_waited_together_the_newest_ones_stamps_count() -> None:
    ours = Announcer(summaries, Tally(0))
    ours.watch("pump-1", 100)
    ours.put({**frames(1, 1), "hops": [10, 11, 0]}, None, 100)
    ours.put({**frames(2, 2), "hops": [20, 21, 0]}, None, 100)
    (told,) = ours.due(100)
    assert told["type"] == "device.frames"
    assert told["hops"] == [20, 21, 0]


def test_what_waits_is_due_when_its_device_was_silent_for_long_enough() -> None:
    ours = Announcer(summaries, Tally(0))
    for key in ("pump-1", "pump-2"):
        ours.watch(key, 100)
        ours.put(frames(1, 1, key), None, 100)
    assert ours.pause(100) == 0
    ours.due(100)
    assert ours.pause(100) is None
    ours.put(frames(2, 2), None, 100)
    assert ours.pause(100) == pytest.approx(SPACING_S)
    ours.put(frames(1, 1, "pump-3"), None, 100)  # nobody watches it
    assert ours.pause(100 + SPACING_S) == pytest.approx(0)
    assert ours.pause(100 + 9 * SPACING_S) == 0
