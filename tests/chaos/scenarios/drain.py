"""The bridge is away while many frames queue at the broker; then it works them off faster than new ones come."""

import time
from typing import Final

from tests.chaos import oracle
from tests.chaos.oracle import Connect
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import Stream, streaming
from tests.hub import Production, eventually, running_production

# Of the whole: what comes in, and what is worked off, per second.
PROMISED: Final = 2.0
LAG_MS: Final = 1000
WATCHED_S: Final = 10.0
PATIENCE_S: Final = 1800.0
NEWEST: Final = "SELECT max((\"values\" -> 'at' ->> 0)::bigint) FROM devices_head"
AS_FAST_AS_IT_GOES: Final = 1e6


def run(plan: Plan) -> Result:
    with running_production(plan.folder, durable=True) as hub:
        (bridge,) = hub.bridges
        connect = oracle.postgres(hub.postgres.url)
        with streaming(hub, connect, plan) as stream:
            devices = stream.devices()
            # Each account is at the broker before the bridge goes.
            stream.publish(devices, limit=0).wait()
            stream.flows()
            bridge.stop()
            queued = stream.publish(devices, rate=AS_FAST_AS_IT_GOES, limit=plan.frames, window=500).wait()
            seconds, stored = drained(stream, hub, plan.frames)
            lags = live_lags(stream)
            result = stream.result(SCENARIO.name)
    return judged(result, queued.published / queued.seconds, stored / seconds, max(lags), plan.rate)


def drained(stream: Stream, hub: Production, frames: int) -> tuple[float, int]:
    """Start the bridge, and wait until what is stored is what was published a moment ago: seconds, and how many."""
    before = stream.stored()
    hub.bridges[0].start()
    began = time.monotonic()
    eventually(
        lambda: stream.stored() - before >= frames and lag_ms(stream.connect) <= LAG_MS,
        f"{frames} frames are worked off",
        PATIENCE_S,
    )
    return time.monotonic() - began, stream.stored() - before


def lag_ms(connect: Connect) -> float:
    """How old the newest stored frame is."""
    ((newest,),) = oracle.ask(connect, NEWEST)
    return time.time() * 1000 - float(newest)


def live_lags(stream: Stream) -> list[float]:
    """How old the rows are when they reach the watchers, sampled for a while."""
    stream.returned()
    lags, ends = [], time.monotonic() + WATCHED_S
    while time.monotonic() < ends:
        time.sleep(0.1)
        lags += [watcher.lag_ms for watcher in stream.watchers]
    return lags


def judged(result: Result, queued: float, drained: float, lag: float, rate: float) -> Result:
    """Add what was measured, and what it says of the promise."""
    result.more = {"queued_per_s": queued, "drained_per_s": drained, "lag_ms": lag}
    if drained < PROMISED * rate:
        result.broken.append(f"drained at {drained:,.0f} frames/s while {rate:,.0f} came in")
    if lag > LAG_MS:
        result.broken.append(f"a row was {lag:,.0f} ms old when it reached a watcher, after the drain")
    return result


SCENARIO = Scenario("drain", "the bridge is down while frames queue at the broker", run, frames=600_000)
