"""The ways in which things go wrong, one a module, in the order in which they are run."""

from typing import Final

from tests.chaos.plan import Scenario
from tests.chaos.scenarios import bridge, broker, commands, demo, disk, drain, malformed, postgres, redis, standby

SCENARIOS: Final[tuple[Scenario, ...]] = (
    bridge.SCENARIO,
    postgres.SCENARIO,
    redis.SCENARIO,
    broker.RECEIPTS,
    broker.GAPS,
    demo.SCENARIO,
    standby.SCENARIO,
    disk.DISK,
    disk.READ_ONLY,
    disk.DISK_SQLITE,
    drain.SCENARIO,
    malformed.SCENARIO,
    commands.SCENARIO,
)
