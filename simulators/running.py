"""A whole fleet on the wire: one task a device, until it is told to stop."""

import asyncio
import resource
import time
from collections.abc import Callable, Sequence
from typing import Final

from simulators import fleet
from simulators.counts import Counts
from simulators.dice import dice
from simulators.fleet import Credentials
from simulators.link import Complaints, Hub, Link
from simulators.script import Scenario
from telemetry_hub.device.link import certificates

# Good-byes take milliseconds; whoever is with a broker that does not answer leaves without one.
_GOODBYE_S: Final = 3.0
# A connection takes three descriptors (its socket, and a pair with which paho wakes itself); 100 for all the rest.
_FILES_EACH, _FILES_BESIDES = 3, 100
_TELL_EVERY_S: Final = 60.0


async def run(  # noqa: PLR0913  what a person may choose, each by its name
    credentials: Sequence[Credentials],
    *,
    host: str,
    port: int,
    tls: bool = False,
    ca: str | None = None,
    scenario: Scenario,
    seed: int = 1,
    rate: float | None = None,
    stop: asyncio.Event,
    counts: Counts | None = None,
) -> Counts:
    """Let a device live for each login until `stop`; return what they did.

    rate    measurements a second of each device; None: as the scenario says
    counts  is kept up to date while it runs, for who wants to tell of it
    """
    counts = Counts() if counts is None else counts
    counts.devices = len(credentials)
    _allow_files(len(credentials))
    hub, complaints = Hub(host, port, tls, certificates(ca) if tls or ca else None), Complaints()
    links = []
    for login, device in zip(credentials, fleet.assemble(seed, credentials, scenario, rate), strict=True):
        rng = dice(seed, login.key, "link")
        device.start(time.time(), rng.uniform(0, device.firmware.interval))
        links.append(Link(device, hub, login.secret, counts, complaints))
    await _live(links, stop)
    return counts


async def _live(links: list[Link], stop: asyncio.Event) -> None:
    stopped = asyncio.create_task(stop.wait(), name="waits for the end")
    lives = [asyncio.create_task(link.live(), name=f"link {index}") for index, link in enumerate(links)]
    try:
        # A task that ends before its time has met a fault of ours: it is to be heard, not hidden.
        await asyncio.wait([stopped, *lives], return_when=asyncio.FIRST_COMPLETED)
        for link in links:
            link.end()
        if lives:
            await asyncio.wait(lives, timeout=_GOODBYE_S)
    finally:
        for task in (stopped, *lives):
            task.cancel()
        results = await asyncio.gather(stopped, *lives, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def tell(counts: Counts, say: Callable[[str], None], every_s: float = _TELL_EVERY_S) -> None:
    """Say once a minute how it goes; cancel it to end it."""
    while True:
        await asyncio.sleep(every_s)
        say(str(counts))


def _allow_files(devices: int) -> None:
    """Raise this process's limit of open files as far as it may be and has to be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_EACH * devices + _FILES_BESIDES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
