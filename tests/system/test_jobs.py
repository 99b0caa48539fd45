"""A job on all the parts of production: each device is told once, though the bridge is killed in the middle of it."""

from benchmarks import jobs
from tests.hub import Production


def test_each_device_is_told_once_though_the_bridge_is_killed_twice(production: Production) -> None:
    found = jobs.measured(production, gateways=2, children=150, rate=100, kills=2)
    assert found["counts"].pop("succeeded") + found["counts"].pop("unknown", 0) == 300
    assert not found["counts"]
    once, twice, more = found["devices told once, twice, more"]
    assert (twice, more) == (0, 0)
    assert once >= 290, "only what was being handed over at the moment of a kill may be unknown"
