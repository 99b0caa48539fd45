"""The Python client's pure part: each golden conversation leads to what it says, and asks for exactly what it says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from telemetry_hub import items
from telemetry_hub.orders import Ask
from telemetry_hub.state import Answered, Denied, Ended, State, Told

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
