"""A recorded session, sent again by a shadow: another device, with the shipped client, as fast as one likes."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from devices.values import Value
from simulators import session
from simulators.fleet import Credentials
from simulators.script import Unusable
from simulators.session import Digest, End, Header, Row
from telemetry_hub.device import Device


class Where(NamedTuple):
    """The broker."""

    host: str
    port: int
    tls: bool = False
    ca: str | None = None


class Session:
    """A file of a session, known to be whole."""

    def __init__(self, path: Path) -> None:
        """Read all of it once; Unusable says what is wrong."""
        self._path = path
        digest, self.last = Digest(), 0
        for row, values in self._rows():
            digest.add(row.offset, values)
            self.last = max(self.last, row.offset)
        self.end: End = digest.end()
        with path.open("rb") as file:
            self.header: Header = session.header_of(file.readline())

    def _rows(self) -> Iterator[tuple[Row, dict[str, Value]]]:
        with self._path.open("rb") as file:
            session.header_of(file.readline())
            yield from session.rows(file)

    async def play(self, shadow: Credentials, where: Where, speed: float, stop: asyncio.Event) -> End:
        """Send it; return what was sent and is in the hub's database. Distances in time stay as they were."""
        device = Device(shadow.key, shadow.secret, where.host, where.port, tls=where.tls, ca=where.ca, name=shadow.key)
        for name, described in self.header.metrics.items():
            device.metric(name, unit=described.get("unit", ""), device_class=described.get("class", ""))
        digest, began = Digest(), time.time()
        # So that the last frame is of now when it is sent, at any speed: no hub believes what lies ahead.
        base = round(began * 1000 - self.last * (1 - 1 / speed))
        async with device:
            for row, values in self._rows():
                if await _stopped(stop, began + row.offset / 1000 / speed - time.time()):
                    break
                device.publish(values, at=(base + row.offset) / 1000)
                digest.add(row.offset, values)
            await _either(device.received(), stop.wait())
        if device.refused or device.waiting:
            raise Unusable(f"{device.refused} frames were refused, {device.waiting} are not known to be stored")
        return digest.end()


async def _stopped(stop: asyncio.Event, wait_s: float) -> bool:
    if wait_s > 0 and not stop.is_set():
        try:
            async with asyncio.timeout(wait_s):
                await stop.wait()
        except TimeoutError:
            return False
    return stop.is_set()


async def _either(*waits: object) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
