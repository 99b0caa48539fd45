"""Every process is killed at every point between a command's request and its result; devices come back late.

Each command is carried out once, or it expires: never lost, never twice, never after its end. Several hubs are worked on
side by side, since most of a round is waiting for whoever connects again.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from queue import Empty, SimpleQueue
from random import Random
from typing import Final

from tests.chaos.orders import judge
from tests.chaos.orders.judge import Cell
from tests.chaos.orders.late import come_back_late
from tests.chaos.orders.points import POINTS
from tests.chaos.orders.stack import KINDS_ASKED, VICTIMS, Stack, stacked
from tests.chaos.plan import Plan, Result, Scenario

STACKS: Final = 3
Pairs = SimpleQueue[tuple[str, str]]


def run(plan: Plan) -> Result:
    began = time.monotonic()
    pairs: Pairs = SimpleQueue()
    everything = list(product(POINTS, VICTIMS))
    plan.dice.shuffle(everything)
    for pair in everything:
        pairs.put(pair)
    with ThreadPoolExecutor(STACKS + 1) as pool:
        late = pool.submit(come_back_late, plan.folder / "late", plan.frames, plan.say)
        killing = [pool.submit(_kill, plan, f"s{number}", pairs) for number in range(1, STACKS + 1)]
        cells = sorted(_all(killing), key=lambda cell: _place(everything, cell.name))
        came_late, executed = late.result(), 0
    return _result(plan, cells, came_late, time.monotonic() - began)


SCENARIO = Scenario(
    "commands",
    "kill -9 of each process at each step of a command; devices that come back late",
    run,
    times=20,
    frames=10_000,
)
