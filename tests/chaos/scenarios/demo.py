"""The whole demo is killed, its broker with it: neither SQLite nor the embedded broker forgets what it acknowledged."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from hub import machine
from tests.chaos import oracle
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import streaming
from tests.hub import Demo, running_demo

# A device's own repetition after a reconnect is told by its number or time; a bare frame cannot be told from a new one.
SHAPES = ("numbered", "timed")


def run(plan: Plan) -> Result:
    with (
        running_demo(plan.folder, simulators=False) as demo,
        streaming(demo, oracle.sqlite(plan.folder / "hub.sqlite3"), plan, SHAPES, receipts=True) as stream,
    ):
        for _ in plan.rounds():
            # Now and then long enough for receipts, which come once a second.
            stream.flows(plan.dice.choice((1, 2 * round(plan.rate))))
            stream.strike(lambda: kill(demo), lambda: start(demo))
        return stream.result(SCENARIO.name)


def kill(demo: Demo) -> None:
    """Kill the demo and all its children."""
    for pid in descendants(demo.part.pid):
        with suppress(ProcessLookupError):  # the kernel ends them with their parent
            os.kill(pid, signal.SIGKILL)
    demo.part.kill()


def start(demo: Demo) -> None:
    """The same command again; its log begins anew, for readiness is read from it."""
    log = demo.part.log
    log.rename(log.with_suffix(f".{log.stat().st_mtime_ns}.log"))
    log.touch()
    demo.part.start()


def descendants(pid: int) -> list[int]:
    """Every process that this one started, and theirs."""
    parents = {int(path.name): machine.process(int(path.name))[0] for path in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


SCENARIO = Scenario("demo", "kill -9 of the whole demo, embedded broker and SQLite", run, times=20, needs=("nats",))
