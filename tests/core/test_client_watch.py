"""What a program iterates over: credit when rows are taken, rest when they are not, and an end after all was taken."""

import asyncio
import time
from typing import Any

import pytest

from telemetry_hub import errors, watch
from telemetry_hub.commands import Command
from telemetry_hub.items import CommandState, Gap, Missed, Presence, Row
from telemetry_hub.told import Ended
from telemetry_hub.watch import Events, Watch


class Source:
    """A connection that notes what its watch says."""

    def __init__(self) -> None:
        self.credit = 0
        self.said: list[str] = []

    def give(self, credit: int) -> None:
        self.credit += credit

    def hold(self, name: str) -> None:
        self.said.append(f"hold {name}")

    def go_on(self, name: str) -> None:
        self.said.append(f"go on {name}")

    def drop(self, name: str) -> None:
        self.said.append(f"drop {name}")


def row(seq: int, **values: Any) -> Row:
    return Row("p", seq, seq, values or {"t": seq}, 0, "live")


def watching(*, sparse: bool = False) -> tuple[Source, Watch[Any]]:
    source = Source()
    return source, Watch(source, "w", {"p": 0}, sparse=sparse)


async def test_credit_goes_back_when_the_next_one_is_asked_for() -> None:
    source, rows = watching()
    rows.put([row(1), row(2)], 1)
    rows.put([row(3)], 1)
    assert [(await anext(rows)).seq for _ in range(2)] == [1, 2]
    assert (source.credit, rows.cursor) == (0, {"p": 2})
    await anext(rows)
    assert source.credit == 1


async def test_a_cut_holds_what_is_not_taken_until_it_is() -> None:
    source, rows = watching()
    rows.put([row(1)], 1)
    rows.hold_if_stuck(cut=True)
    rows.hold_if_stuck(cut=True)
    assert (source.said, source.credit) == (["hold w"], 1)
    assert (await anext(rows)).seq == 1
    waiting = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0)
    assert (source.said, source.credit) == (["hold w", "go on w"], 1)
    rows.put([row(2)], 1)
    assert (await waiting).seq == 2


async def test_who_takes_nothing_for_long_is_held_and_who_is_up_to_date_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows = watching()
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 100)
    rows.hold_if_stuck(cut=False)
    rows.hold_if_stuck(cut=True)
    rows.put([row(1)], 1)
    rows.hold_if_stuck(cut=False)
    assert source.said == []
    monkeypatch.setattr(time, "monotonic", lambda: began + 100 + watch.STUCK_S + 1)
    rows.hold_if_stuck(cut=False)
    assert source.said == ["hold w"]


async def test_rows_without_the_wanted_metrics_move_the_cursor_only() -> None:
    _, rows = watching(sparse=True)
    rows.put([row(1), Row("p", 2, 2, {}, 0, "live"), Gap("p", 3, 9, "retention")], 1)
    assert [await anext(rows), await anext(rows)] == [row(1), Gap("p", 3, 9, "retention")]
    assert rows.cursor == {"p": 9}


@pytest.mark.parametrize(
    ("ended", "error"),
    [
        (Ended("replay_done", ""), StopAsyncIteration),
        (Ended("permission_revoked", ""), errors.Revoked),
        (Ended("device_unknown", "There is no device 'p'."), errors.Refused),
    ],
)
async def test_the_end_comes_after_what_came_before_it(ended: Ended, error: type[Exception]) -> None:
    _, rows = watching()
    rows.put([row(1)], 1)
    rows.end(ended)
    assert (await anext(rows)).seq == 1
    for _ in range(2):
        with pytest.raises(error):
            await anext(rows)


async def test_who_closes_gives_everything_back() -> None:
    source, rows = watching()
    rows.put([row(1)], 1)
    rows.close()
    assert (source.said, source.credit) == (["drop w"], 1)
    with pytest.raises(StopAsyncIteration):
        await anext(rows)


async def test_of_too_many_events_the_oldest_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVENTS_KEPT", 2)
    events = Events(lambda _: None)
    for since in range(5):
        events.put(Presence("p", "online", "", since))
    events.close()
    assert [event async for event in events] == [
        Missed(3),
        Presence("p", "online", "", 3),
        Presence("p", "online", "", 4),
    ]


def stated(state: str, at: int) -> CommandState:
    return CommandState("id", "p", "relay", None, state, "proof", at, "", "", None)


async def test_a_command_may_be_followed_by_several_and_again() -> None:
    command = Command("key")
    following = [asyncio.ensure_future(command.settled()) for _ in range(2)]
    for at, state in enumerate(["queued", "received", "sent", "succeeded"]):
        await asyncio.sleep(0)
        command.put(stated(state, at))
    assert [(await one).state for one in following] == ["succeeded", "succeeded"]
    assert [one.state async for one in command] == ["queued", "received", "sent", "succeeded"]
    assert command.state == "succeeded"


async def test_a_command_that_is_not_settled_ends_with_its_connection() -> None:
    command = Command("key")
    command.put(stated("queued", 1))
    command.fail(errors.Closed("closed"))
    with pytest.raises(errors.Closed):
        await command.settled()
