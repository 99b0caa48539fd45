"""Every process is killed at every point between a command's request and its result; devices come back late.

Each command is carried out once, or it expires: never lost, never twice, never after its end. Several hubs are worked
on side by side, since most of a round is waiting for whoever connects again.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
EVERYTHING: Final = list(product(POINTS, VICTIMS))
SHOWN: Final = 20

# Points and victims that nobody has taken yet.
Pairs = SimpleQueue[tuple[str, str]]


def run(plan: Plan) -> Result:
    began = time.monotonic()
    pairs: Pairs = SimpleQueue()
    for pair in plan.dice.sample(EVERYTHING, len(EVERYTHING)):
        pairs.put(pair)
    with ThreadPoolExecutor(STACKS + 1) as pool:
        late = pool.submit(come_back_late, plan.folder / "late", plan.frames, plan.say)
        killing = [pool.submit(kill, plan, f"s{number}", pairs) for number in range(1, STACKS + 1)]
        cells = [cell for future in killing for cell in future.result()]
        cells.sort(key=lambda cell: [name_of(*pair) for pair in EVERYTHING].index(cell.name))
        return result([*cells, *late.result()], time.monotonic() - began)


def kill(plan: Plan, name: str, pairs: Pairs) -> list[Cell]:
    """Take one pair after the other, on a hub of its own; what came of all of them."""
    with stacked(plan.folder / name, name, KINDS_ASKED) as stack:
        while True:
            try:
                point, victim = pairs.get_nowait()
            except Empty:
                break
            one_cell(stack, point, victim, plan)
        stack.settle()
        return stack.verdict()


def one_cell(stack: Stack, point: str, victim: str, plan: Plan) -> None:
    cell, began = name_of(point, victim), time.monotonic()
    dice = Random(cell)
    for _ in range(plan.times):
        stack.strike(point, victim, dice, cell)
    plan.say(f"{stack.name}: {cell} ({time.monotonic() - began:.0f} s)")


def name_of(point: str, victim: str) -> str:
    return f"{point} × {victim}"


def result(cells: Sequence[Cell], seconds: float) -> Result:
    """What came of it all."""
    everything = judge.total(cells)
    commands = sum(
        getattr(everything, name) for name in ("once", "expired", "interrupted", "unknown", "lost", "untrue")
    )
    return Result(
        scenario=SCENARIO.name,
        kills=everything.rounds,
        published=commands,
        acked=commands,
        stored=everything.once,
        lost=everything.lost,
        twice=everything.twice,
        seconds=seconds,
        broken=everything.broken[:SHOWN],
        cells=list(cells),
    )


SCENARIO: Final = Scenario(
    "commands", "kill -9 of each process at each step of a command; late devices", run, times=20, frames=10_000
)
