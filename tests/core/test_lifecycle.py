"""The table of moves: every pair of states, so that a new arrow has to be drawn here too."""

from itertools import product
from typing import get_args

import pytest

from devices import lifecycle
from devices.lifecycle import State

STATES: tuple[State, ...] = get_args(State)
ANSWERS = {"succeeded", "failed", "rejected"}
ALLOWED = {
    ("queued", "sent"),
    ("queued", "cancelled"),
    ("queued", "expired"),
    ("queued", "unknown"),
    ("sent", "received"),
    ("sent", "expired"),
    ("sent", "unknown"),
    ("received", "timed_out"),
    ("unknown", "received"),
    ("unknown", "expired"),
    ("expired", "received"),
    *product(("sent", "received", "unknown", "expired", "timed_out"), ANSWERS),
}


@pytest.mark.parametrize(("source", "target"), list(product(STATES, STATES)))
def test_a_command_moves_along_the_arrows_only(source: State, target: State) -> None:
    assert lifecycle.may(source, target) == ((source, target) in ALLOWED)
    assert (source in lifecycle.sources(target)) == ((source, target) in ALLOWED)


def test_no_state_is_entered_twice() -> None:
    def reachable(state: State) -> set[State]:
        return set(lifecycle.MOVES[state]).union(*(reachable(target) for target in lifecycle.MOVES[state]))

    assert all(state not in reachable(state) for state in STATES)


def test_every_state_but_the_first_can_be_entered() -> None:
    assert [state for state in STATES if not lifecycle.sources(state)] == ["queued"]


def test_nothing_more_is_expected_of_what_is_neither_queued_nor_sent_nor_received() -> None:
    assert set(STATES) - {"queued", "sent", "received"} == lifecycle.CLOSED


def test_an_answer_of_the_device_is_final() -> None:
    assert all(not lifecycle.MOVES[answer] for answer in STATES if answer in ANSWERS)
