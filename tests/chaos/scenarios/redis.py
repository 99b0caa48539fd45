"""Redis is killed: it costs ingest nothing, and every watcher is complete within 5 s of its return."""

from typing import Final

from tests.chaos import oracle
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import streaming
from tests.hub import running_production

PROMISED_S: Final = 5.0


def run(plan: Plan) -> Result:
    with (
        running_production(plan.folder, durable=True) as hub,
        streaming(hub, oracle.postgres(hub.postgres.url), plan) as stream,
    ):
        for _ in plan.rounds():
            # Frames have to go on being stored while it is away.
            stream.strike(hub.redis.kill, hub.redis.start, stream.flows)
        return stream.result(SCENARIO.name, within_s=PROMISED_S)


SCENARIO = Scenario("redis", "kill -9 of Redis in mid-stream", run, times=50)
