"""A sample of `manage.py chaos --only commands`: each process dies once amid a command, which is done once."""

from collections.abc import Iterator
from contextlib import ExitStack
from random import Random

import pytest

from tests.chaos.orders.stack import Stack
from tests.hub import Production

# Where, who; each point's neighbours are in the whole matrix.
SAMPLE = (
    ("issued", "web"),
    ("published", "redis"),
    ("taken", "bridge"),
    ("acted", "device"),
    ("heard", "postgres"),
    ("received", "broker"),
)
GOOD_FOR_S = 60


@pytest.fixture
def own_bridge(production: Production) -> Iterator[Production]:
    """The others' bridge stands back, so that the stack's own one works."""
    production.bridges[0].stop()
    yield production
    production.bridges[0].start()


def test_a_command_is_carried_out_once_whoever_dies_on_its_way(own_bridge: Production) -> None:
    with ExitStack() as until_the_end:
        stack = Stack(own_bridge, "sample", until_the_end)
        stack.begin(["kept", "clean", "amnesiac"])
        stack.asks = [("kept", GOOD_FOR_S), ("clean", GOOD_FOR_S)]
        for point, victim in SAMPLE:
            stack.strike(point, victim, Random(point), f"{point} × {victim}")
        stack.settle()
        # The judge is no proof unless it sees this one: it says that it remembers, and does not.
        stack.asks = [("amnesiac", GOOD_FOR_S)]
        stack.strike("acted", "device", Random(0), "a device forgets")
        stack.settle()
        *cells, forgetful = stack.verdict()
    assert [sentence for cell in cells for sentence in cell.broken] == []
    assert [(cell.rounds, cell.once >= 2) for cell in cells] == [(1, True)] * len(SAMPLE)
    assert forgetful.twice > 0
