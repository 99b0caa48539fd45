"""The bridge is killed as a power cut would: what it had not acknowledged comes again, and nothing is stored twice."""

from tests.chaos import oracle
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import streaming
from tests.hub import running_production


def run(plan: Plan) -> Result:
    with (
        running_production(plan.folder, durable=True) as hub,
        streaming(hub, oracle.postgres(hub.postgres.url), plan) as stream,
    ):
        (bridge,) = hub.bridges
        for _ in plan.rounds():
            stream.strike(bridge.kill, bridge.start)
        return stream.result(SCENARIO.name)


SCENARIO = Scenario("bridge", "kill -9 of the bridge in mid-stream", run, times=100)
