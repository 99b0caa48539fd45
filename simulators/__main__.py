"""`python -m simulators`: a job on stdin, so that no secret is a process argument; docs/simulators.md has its form.

It ends with SIGTERM, SIGINT, or when the pipe on stdin is closed: then whoever started it is gone.
"""

import asyncio
import contextlib
import logging
import os
import signal
import stat
import sys
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from simulators import running, scenario
from simulators.counts import Counts
from simulators.fleet import Credentials
from simulators.script import Unusable

# 100,000 devices; a line without an end is no job.
_LONGEST_JOB: Final = 16 * 1024 * 1024


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to simulate and where; `scenario` is a shipped one's name or a file."""

    devices: list[Credentials]
    host: str = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    tls: bool = False
    ca: str | None = None
    scenario: str = "calm"
    rate: Annotated[float, Meta(gt=0, le=1000)] | None = None
    seed: int = 1


class Mistaken(ValueError):
    """The job cannot be done; the message says what to write instead."""


def read(text: bytes) -> Job:
    """Read a job; the message of Mistaken never repeats a secret."""
    try:
        return msgspec.json.decode(text, type=Job)
    except msgspec.DecodeError as error:
        raise Mistaken(
            f'job: {error}; write one line of JSON: {{"host", "port", "devices": [{{"key", "secret"}}]}}'
        ) from None


async def work(job: Job, stop: asyncio.Event) -> None:
    """Do a job, and say a line a minute."""
    counts = Counts()
    telling = asyncio.create_task(running.tell(counts, _say), name="tells how it goes")
    try:
        await running.run(
            job.devices,
            host=job.host,
            port=job.port,
            tls=job.tls,
            ca=job.ca,
            scenario=scenario.load(job.scenario),
            seed=job.seed,
            rate=job.rate,
            stop=stop,
            counts=counts,
        )
    finally:
        telling.cancel()
    _say(str(counts))


async def main() -> None:
    """Take the job, and end when told to."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):
        await work(read(sys.stdin.buffer.read(_LONGEST_JOB)), stop)  # a file has nobody behind it who could be gone
        return
    pipe = asyncio.StreamReader(limit=_LONGEST_JOB)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(pipe), sys.stdin)
    taking = asyncio.create_task(pipe.readline(), name="takes the job")
    stopping = asyncio.create_task(stop.wait(), name="waits for a signal")
    await asyncio.wait([taking, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not taking.done():
        taking.cancel()
        return
    watching = asyncio.create_task(_until_closed(pipe, stop), name="watches the pipe")
    try:
        await work(read(taking.result()), stop)
    finally:
        watching.cancel()


async def _until_closed(pipe: asyncio.StreamReader, stop: asyncio.Event) -> None:
    while await pipe.read(4096):
        pass
    stop.set()


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        print(line, flush=True)  # noqa: T201  this is a command


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("mqtt").setLevel(logging.ERROR)  # aiomqtt's own: what it warns of, the link tells
    try:
        asyncio.run(main())
    except (Mistaken, Unusable) as mistaken:
        sys.exit(str(mistaken))
