"""The Python client's pure part: each golden conversation leads to what it says, and asks for exactly what it says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from telemetry_hub import items
from telemetry_hub.orders import Ask
from telemetry_hub.state import ORDERS_KEPT, State
from telemetry_hub.told import Answered, Denied, Ended, Told
from tests.core import test_layers

FOLDER = Path(__file__).resolve().parents[1] / "golden"
GOLDEN = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
NOW = 1_735_689_600_000
WELCOME = {"type": "welcome", "v": 1, "user": "alice", "server_ts": NOW, "heartbeat_s": 20, "credit": 32, "limits": {}}

Message = dict[str, Any]


class Player:
    """A client's user, and its socket."""

    def __init__(self) -> None:
        self.now = NOW
        self.state = State(renewable=True)
        self.given_up = False
        self.owed = 0
        self.taken: dict[str, list[int]] = {}
        self.ended = ""
        self.answers: dict[str, Any] = {}
        self.about: dict[str, Message] = {}
        self.settings: dict[str, dict[str, str]] = {}
        self.hear(WELCOME)

    def hear(self, message: Message) -> None:
        self.learn(self.state.hear(message, self.now))

    def learn(self, told: list[Told]) -> None:
        for one in told:
            self.owed += one.credit
            for item in one.items:
                self.note(item)

    def note(self, item: Any) -> None:
        match item:
            case items.Row(device=device, seq=seq):
                self.taken.setdefault(device, []).append(seq)
            case items.Registration(device, name, fleet, enabled):
                self.about[device] = {"name": name, "fleet": fleet, "enabled": enabled}
            case items.Settings(device, _, rows):
                self.settings.setdefault(device, {}).update({row.name: row.state for row in rows})
            case Ended(code):
                self.ended = code
            case Answered(id_, None):
                self.answers[id_] = "cut"
            case Answered(id_, items.Answer(status, body)):
                self.answers[id_] = {"status": status, "body": body}
            case Denied(id=id_):
                self.answers[id_] = "refused"

    def play(self, step: Message) -> None:
        ((kind, what),) = step.items()
        getattr(self, f"on_{kind}")(what)

    def on_watch(self, request: Message) -> None:
        self.state.want("main", request, self.now)

    def on_client(self, message: Message) -> None:
        assert self.state.say.pop(0) == message

    def on_hub(self, message: Message) -> None:
        self.hear(message)

    def on_rendered(self, _: bool) -> None:
        self.state.give(self.owed)
        self.owed = 0

    def on_pause(self, _: bool) -> None:
        self.state.pause("main")

    def on_resume(self, _: bool) -> None:
        self.state.resume("main", self.now)

    def on_order(self, order: Message) -> None:
        self.state.order(Ask(**order, at=self.now))

    def on_call(self, call: Message) -> None:
        self.state.call(call["id"], call["method"], call["path"], call.get("body"))

    def on_cut(self, code: int) -> None:
        self.now += 500
        again, told = self.state.closed(code)
        assert again
        self.learn(told)
        self.hear(WELCOME)

    def on_refuse(self, code: int) -> None:
        for _ in range(10):
            again, told = self.state.closed(code)
            self.learn(told)
            if not again:
                self.given_up = True
                return


def played(steps: list[Message]) -> Player:
    player = Player()
    for index, step in enumerate(steps):
        if "client" not in step:
            assert not player.state.say, f"before step {index}"
        player.play(step)
    assert not player.state.say, "nothing more was asked"
    return player


# What `expect` says, and how a client's state says it.
LOOKS: dict[str, Callable[[Player], Any]] = {
    "taken": lambda player: player.taken,
    "cursor": lambda player: player.state.subs["main"].cursor,
    "phase": lambda player: player.state.subs["main"].phase,
    "ended": lambda player: player.ended,
    "at": lambda player: player.state.subs["main"].at,
    "counts": lambda player: {
        name: getattr(player.state.counts, name) for name in ("frames", "known", "holes", "coalesced", "lost")
    },
    "orders": lambda player: {
        key: [event.state for event in order.events] for key, order in player.state.orders.items()
    },
    "answers": lambda player: player.answers,
    "fleet": lambda player: {key: one.values for key, one in player.state.subs["main"].summaries.items()},
    "names": lambda player: {key: one.name for key, one in player.state.subs["main"].summaries.items()},
    "about": lambda player: player.about,
    "settings": lambda player: player.settings,
    "link": lambda player: "refused" if player.given_up else "up",
}
# Only pages have it.
NOT_HERE = {"rail"}


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_a_golden_conversation_ends_as_it_says(golden: Message) -> None:
    player = played(golden["steps"])
    expect = {"link": "up", **golden["expect"]}
    assert expect.keys() <= LOOKS.keys() | NOT_HERE
    assert {name: LOOKS[name](player) for name in expect.keys() - NOT_HERE} == {
        name: value for name, value in expect.items() if name not in NOT_HERE
    }


# --- what no golden conversation shows

DEVICES = ["p", "q"]


def joined(since: Message | None = None, heads: tuple[int, int] = (5, 7), *, live: bool = True) -> Player:
    """Somebody watches p and q."""
    player = Player()
    player.on_watch({"devices": DEVICES, "since": since})
    player.on_hub({"type": "ok", "id": "main.1", "head": dict(zip(DEVICES, heads, strict=True)), "recovered": True})
    if live:
        player.on_hub({"type": "live", "id": "main.1"})
    player.state.say.clear()
    return player


def rows(player: Player, device: str, first: int, last: int, phase: str = "live") -> None:
    frames = [[seq, seq, {"t": seq}, 0] for seq in range(first, last + 1)]
    id_ = player.state.subs["main"].id
    part = {device: {"prev": first - 1, "frames": frames}}
    player.on_hub({"type": "data", "id": id_, "phase": phase, "devices": part})


def asked_since(player: Player) -> Any:
    return player.state.say[-1]["since"]


def test_a_device_without_history_misses_nothing_that_it_sends_during_a_cut() -> None:
    player = joined({"last_s": 900}, live=False)
    rows(player, "p", 4, 5, "history")
    player.on_hub({"type": "live", "id": "main.1"})
    player.on_cut(1006)
    assert asked_since(player) == {"cursor": {"p": 5, "q": 7}}


def test_what_was_to_begin_now_does_not_begin_later_after_a_cut_before_the_seam() -> None:
    player = joined(live=False)
    player.on_cut(1006)
    assert asked_since(player) == {"cursor": {"p": 5, "q": 7}}


def test_a_cut_in_the_middle_of_history_begins_where_it_was_to_begin_at_first() -> None:
    """By cursor, q would begin now: it has none yet."""
    player = joined({"last_s": 900}, live=False)
    rows(player, "p", 4, 4, "history")
    player.now += 59_500
    player.on_cut(1006)
    assert asked_since(player) == {"last_s": 960}
    rows(player, "q", 6, 7, "history")
    rows(player, "p", 4, 5, "history")
    assert player.taken == {"p": [4, 5], "q": [6, 7]}


def test_a_device_that_the_cursor_does_not_name_begins_now() -> None:
    player = joined({"cursor": {"p": 3}})
    player.on_cut(1006)
    assert asked_since(player) == {"cursor": {"p": 3, "q": 7}}


def test_a_gap_is_passed_so_that_it_is_told_once() -> None:
    player = joined()
    player.on_hub({"type": "gap", "id": "main.1", "device": "p", "from": 6, "to": 9, "cause": "retention"})
    player.on_cut(1006)
    assert asked_since(player) == {"cursor": {"p": 9, "q": 7}}


def test_rows_that_were_skipped_may_be_had_after_a_cut_all_the_same() -> None:
    player = joined()
    player.on_hub({"type": "lag", "id": "main.1", "devices": {"p": 300}})
    player.on_cut(1006)
    assert asked_since(player) == {"cursor": {"p": 5, "q": 7}}


def test_a_command_that_the_hub_knows_is_asked_after_unless_its_device_is_watched() -> None:
    for watched in (True, False):
        player = joined() if watched else Player()
        player.on_order({"id": "c1", "device": "p", "name": "led", "args": True, "key": "k"})
        player.on_hub({"type": "ok", "id": "c1", "command": "abc", "state": "queued", "new": True})
        player.now += 60_000
        player.on_cut(1006)
        assert any(said["type"] == "cmd" for said in player.state.say) is not watched
        player.on_hub({"type": "ok", "id": "c1", "command": "abc", "state": "succeeded", "new": False})
        assert player.state.orders["abc"].state == "succeeded"


def test_a_command_that_nobody_confirmed_for_long_is_not_given_later() -> None:
    player = Player()
    player.on_order({"id": "c1", "device": "p", "name": "led", "args": True, "key": "k"})
    player.state.say.clear()
    player.now += 31_000
    player.on_cut(1006)
    assert not player.state.say


def test_a_state_that_is_told_twice_is_news_once_and_progress_is_news() -> None:
    player = joined()
    said = {"type": "cmd_state", "command": "abc", "device": "p", "name": "led", "state": "received", "at": NOW}
    news = [player.state.hear({**said, "progress": progress}, NOW) for progress in (0.1, 0.1, 0.5)]
    assert [len(one) for one in news] == [1, 0, 1]


def test_no_more_commands_are_remembered_than_are_worth_it() -> None:
    player = joined()
    for number in range(300):
        said = {"type": "cmd_state", "command": str(number), "device": "p", "name": "led", "state": "sent", "at": NOW}
        player.on_hub(said)
    assert len(player.state.orders) == ORDERS_KEPT


def test_credit_of_a_socket_that_is_gone_counts_for_nothing() -> None:
    player = joined()
    rows(player, "p", 6, 6)
    player.on_cut(1006)
    player.state.say.clear()
    player.on_rendered(True)
    assert not player.state.say


def test_a_call_that_nobody_waits_for_any_more_is_not_made_later() -> None:
    player = Player()
    player.state.closed(1006)
    player.on_call({"id": "k1", "method": "DELETE", "path": "devices/p/"})
    player.state.forget("k1")
    player.hear(WELCOME)
    assert not player.state.say


def test_what_says_pure_is_pure() -> None:
    sources = Path(items.__file__).parent.glob("*.py")
    modules = [test_layers.module(path.stem, path.read_text(encoding="utf-8")) for path in sources]
    pure = [one for one in modules if test_layers.is_pure(one)]
    assert {"state", "subs", "orders", "items", "errors"} <= {one.name for one in pure}
    assert [wrong for one in pure for wrong in test_layers.pure_means_pure(one)] == []
