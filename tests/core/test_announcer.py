"""When something is announced: only what somebody watches, at once, and then at most every so often."""

from bridge import announcer
from bridge.announcer import FLEET_SPACING_S, MOST_ROWS, SPACING_S, WATCH_S, Announcer
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
    ours = Announcer(summaries)
    assert not ours.put(frames(1, 1), "greenhouse", 0)
    assert ours.due(0) == []


def test_a_watch_lasts_a_minute() -> None:
    ours = Announcer(summaries)
    ours.watch("pump-1", 100)
    assert ours.put(frames(1, 1), None, 100 + WATCH_S)
    assert not ours.put(frames(2, 2), None, 100 + WATCH_S + 1)


def test_the_first_is_told_at_once_and_the_next_ones_together_after_a_while() -> None:
    ours = Announcer(summaries)
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
    ours = Announcer(summaries)
    for key in ("pump-1", "pump-2"):
        ours.watch(key, 100)
    ours.put(frames(1, 1), None, 100)
    ours.due(100)
    ours.put(frames(1, 1, "pump-2"), None, 100)
    assert [message["device"] for message in ours.due(100) if message["type"] == "device.frames"] == ["pump-2"]


def test_presence_is_told_at_once_and_the_newest_stands_for_all() -> None:
    ours = Announcer(summaries)
    ours.put(state("online"), None, 0)
    ours.put(state("offline"), None, 0)
    assert ours.due(0) == [state("offline")]
    assert ours.due(0) == []


def test_what_waits_is_bounded_and_says_where_it_begins() -> None:
    ours = Announcer(summaries)
    ours.watch("pump-1", 100)
    for first in range(1, 3 * MOST_ROWS, 100):
        ours.put(frames(first, first + 99), None, 100)
    (told,) = ours.due(100)
    assert told["type"] == "device.frames"
    assert len(told["frames"]) == MOST_ROWS
    assert told["prev"] == told["frames"][0][0] - 1


async def test_a_watched_fleet_is_told_the_newest_state_of_what_moved_twice_a_second() -> None:
    ours = Announcer(summaries)
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
    ours = Announcer(summaries)
    ours.watch_fleet("greenhouse", 100)
    for number in range(announcer.FLEET_CHUNK + 1):
        ours.put(state("online", f"d{number}"), "greenhouse", 100)
    told = await ours.due_fleets(100)
    assert [len(message["devices"]) for message in told if message["type"] == "fleet.summary"] == [200, 1]
