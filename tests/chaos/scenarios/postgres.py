"""PostgreSQL stops at once (as `pg_ctl stop -m immediate`): nothing is acknowledged that it may have forgotten."""

import signal

from tests.chaos import oracle
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import streaming
from tests.hub import running_production


def run(plan: Plan) -> Result:
    with (
        running_production(plan.folder, durable=True) as hub,
        streaming(hub, oracle.postgres(hub.postgres.url), plan) as stream,
    ):
        for _ in plan.rounds():
            stream.strike(lambda: hub.postgres.end_with(signal.SIGQUIT), hub.postgres.start)
        return stream.result(SCENARIO.name)


SCENARIO = Scenario("postgres", "immediate stop of PostgreSQL in mid-stream", run, times=30)
