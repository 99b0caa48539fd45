"""A flood of messages that cannot be taken in, mixed with good ones: each is stored or refused, and nothing grows."""

import threading
import time
from pathlib import Path
from typing import Final

from tests.chaos import oracle, spoilt
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import streaming
from tests.hub import running_production

EVERY_S: Final = 2.0
# Fast, and yet what waits at the broker stays below what it keeps (a million messages, 512 MiB).
PER_SECOND: Final = 5000
# From a quarter of the way to the end: what an allocator does is not growth, a kept message is.
FLAT: Final = 1.10
SHOWN: Final = 12


class Memory(threading.Thread):
    """Samples the resident memory of a process, in MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(name="memory", daemon=True)
        self.samples: list[float] = []
        self._status = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            lines = self._status.read_text().splitlines()
            self.samples.append(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")))

    def end(self) -> list[float]:
        self._ended.set()
        self.join()
        return self.samples


def run(plan: Plan) -> Result:
    with (
        # A device's limit is another promise: here each message is to be looked at.
        running_production(plan.folder, durable=True, HUB_RATE="1000000", HUB_BURST="1000000") as hub,
        streaming(
            hub,
            oracle.postgres(hub.postgres.url),
            plan,
            ["spoilt"],
            rate=PER_SECOND,
            limit=plan.frames,
            window=200,
        ) as stream,
    ):
        (bridge,) = hub.bridges
        memory = Memory(bridge.pid)
        memory.start()
        began = time.monotonic()
        result = stream.result(SCENARIO.name, good=spoilt.good)
        seconds = time.monotonic() - began
        samples = memory.end()
        if not bridge.alive:
            result.broken.append("the bridge ended")
        ((refused,),) = oracle.ask(stream.connect, oracle.REJECTS)
    return judged(result, sum(said.published for said in stream.said), int(refused), samples, seconds)


def judged(result: Result, sent: int, refused: int, samples: list[float], seconds: float) -> Result:
    """Add what was refused and how memory went, and what that says of the promise."""
    result.more |= {"sent": sent, "refused": refused, "sent_per_s": sent / seconds, "rss_mib": thinned(samples)}
    if refused + result.stored != sent:
        result.broken.append(f"{refused} refused and {result.stored} stored are not the {sent} sent")
    settled = samples[len(samples) // 4 :]
    if settled and max(settled) > FLAT * settled[0]:
        result.broken.append(f"the bridge grew from {settled[0]:.0f} to {max(settled):.0f} MiB")
    return result


def thinned(samples: list[float]) -> list[int]:
    """At most SHOWN of them, evenly."""
    return [round(sample) for sample in samples[:: max(1, len(samples) // SHOWN)]]


SCENARIO = Scenario("malformed", "malformed messages with 1 % good ones among them", run, frames=1_000_000)
