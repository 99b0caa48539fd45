"""What `python -m benchmarks.offline` plays in ten minutes, in seconds: nothing is lost, nothing comes twice."""

from pathlib import Path

from benchmarks import offline
from tests.hub import Production


def test_a_broker_and_a_program_that_are_killed_cost_no_reading(production: Production, tmp_path: Path) -> None:
    found = offline.run(production, tmp_path, readings=6000, seconds=3)
    assert (found["published"], found["lost"], found["doubled"]) == (6000, 0, 0)
    assert found["not known to have been published"] <= 2  # one for each kill
