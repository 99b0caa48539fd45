"""How much the crowd can take: `python -m benchmarks.live.ceiling [--sockets N]`.

A hub that only sends, from texts made once a tick, takes the place of the real one, and doubles the rate until the
crowd takes less than was sent. What benchmarks.dashboards and benchmarks.fanout ask of it has to stay far below.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.live import wire
from benchmarks.live.ask import Child, child
from benchmarks.live.publisher import now_us
from benchmarks.live.scene import Spent
from benchmarks.live.tables import table
from tests.services import LOOPBACK

DEVICES: Final = [f"d{number}" for number in range(100)]
SECONDS: Final = 3.0
MOST_HZ: Final = 640
ROWS: Final = 50  # of as many devices in one message: 1,000 frames/s at 20 messages/s
WELCOME: Final = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + wire.server_frame(wire.TEXT, b'{"type":"welcome"}')
JOINED: Final = wire.server_frame(wire.TEXT, b'{"type":"ok","id":"s"}') + wire.server_frame(
    wire.TEXT, b'{"type":"live","id":"s"}'
)
encode = msgspec.json.Encoder().encode


class Source(asyncio.Protocol):
    """A hub that lets everybody in and only sends."""

    def __init__(self, sockets: set[asyncio.Transport]) -> None:
        """Be one of these once it is live."""
        self._sockets = sockets
        self._asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  whatever it is: an upgrade, a sub, then credit
        """Answer the upgrade and the subscription."""
        self._asked += 1
        if self._asked == 1:
            self._transport.write(WELCOME)
        elif self._asked == 2:
            self._transport.write(JOINED)
            self._sockets.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Send no more."""
        self._sockets.discard(self._transport)


class Told:
    """The texts, one after the other."""

    def __init__(self) -> None:
        """Begin with the first frame of each device."""
        self.heads = dict.fromkeys(DEVICES, 0)
        self._turn = 0

    def next(self, sub: str = "s") -> bytes:
        """Make the next one: a new frame of half of the devices, in turn."""
        self._turn += 1
        keys = DEVICES[:ROWS] if self._turn % 2 else DEVICES[ROWS:]
        values, devices = {"t": now_us(), "temperature": 21.5, "humidity": 40.1}, dict[str, Any]()
        for key in keys:
            prev = self.heads[key]
            devices[key] = {"prev": prev, "frames": [[prev + 1, 1_790_000_000_000, values, 0]]}
            self.heads[key] = prev + 1
        return wire.server_frame(wire.TEXT, encode({"type": "data", "id": sub, "phase": "live", "devices": devices}))


@asynccontextmanager
async def source() -> AsyncIterator[tuple[int, set[asyncio.Transport]]]:
    """A hub that only sends: its port, and the sockets that are live."""
    sockets: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(lambda: Source(sockets), LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], sockets
        for transport in sockets:
            transport.abort()
        await asyncio.sleep(0)


async def measured(crowd: Child, sockets: int) -> list[list[object]]:
    """Double the rate until it is too much."""
    rows, told, hz = list[list[object]](), Told(), 20
    async with source() as (port, live):
        to, ask = [(LOOPBACK, port, "none")], asyncio.to_thread
        await ask(crowd.ask, "open", group="all", count=sockets, to=to, devices=DEVICES)
        while hz <= MOST_HZ:
            await ask(crowd.ask, "report", group="all")
            spent, began, sent = Spent(crowd=crowd.pid), time.monotonic(), 0
            while (passed := time.monotonic() - began) < SECONDS:
                if sent < passed * hz:
                    text = told.next()
                    for transport in live:
                        transport.write(text)
                    sent += 1
                await asyncio.sleep(0)
            percent = spent.percent()["crowd %"]
            said = await ask(crowd.ask, "report", group="all")
            assert not said["faults"], said["faults"]
            took = said["messages"] / SECONDS
            rows.append([str(hz), took, said["frames"] / SECONDS, percent, said["turn ms"]])
            if took < 0.95 * hz * sockets:
                break
            hz *= 2
    return rows


def main() -> None:
    """Measure and print."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, child("benchmarks.live.crowd", Path(folder) / "crowd.log") as crowd:
        rows = asyncio.run(measured(crowd, options.sockets))
    print(table(["messages/s a socket", "messages/s taken", "frames/s taken", "crowd %", "crowd's turn ms"], rows))


if __name__ == "__main__":
    main()
