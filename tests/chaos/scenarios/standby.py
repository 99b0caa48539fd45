"""Two bridges of one name: the active one is killed, the other takes over within 5 s, and a new one stands by."""

import time
from typing import Final

from tests.chaos import oracle
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import Stream, streaming
from tests.hub import Bridge, Production, eventually, running_production

PROMISED_S: Final = 5.0
# Long enough for a bridge to have started, so that it stands by when the other one dies.
STARTED_S: Final = 4.0


def run(plan: Plan) -> Result:
    took: list[float] = []
    with (
        running_production(plan.folder, durable=True) as hub,
        streaming(hub, oracle.postgres(hub.postgres.url), plan) as stream,
    ):
        active, standby = hub.bridges[0], another(hub, 2)
        standby.start()
        try:
            for index in plan.rounds():
                time.sleep(STARTED_S)
                stream.strike(active.kill, lambda: took.append(taken_over(stream)))
                active, standby = standby, another(hub, index + 2)
                standby.start()
            result = stream.result(SCENARIO.name)
        finally:
            active.kill()
            standby.kill()
    result.more["takeover_s"] = sorted(took)
    if max(took) > PROMISED_S:
        result.broken.append(f"a takeover took {max(took):.1f} s; {PROMISED_S:g} s are promised")
    return result


def another(hub: Production, index: int) -> Bridge:
    """A bridge of the same name, with a log of its own. It is there at once: whether it works is what is measured."""
    bridge = hub.bridge()
    bridge.log = hub.folder / f"bridge-main-{index}.log"
    bridge._ready = lambda: True
    return bridge


def taken_over(stream: Stream) -> float:
    """How long it takes until frames are stored again."""
    began, before = time.monotonic(), stream.stored()
    eventually(lambda: stream.stored() > before, "the other bridge takes over")
    return time.monotonic() - began


SCENARIO = Scenario("standby", "kill -9 of the active one of two bridges", run, times=20)
