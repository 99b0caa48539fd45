"""Devices that publish at a steady rate: `python -m benchmarks.live.publisher`, asked through benchmarks.live.ask.

Each device has a connection of its own; the packets are made ahead but for sixteen digits, the time. PUBACKs are
counted and not parsed. `late` is how far it was ever behind its own plan: small, or it was the bottleneck.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from benchmarks import load
from benchmarks.live import ask

TICK_S: Final = 0.002
# So that a time has sixteen digits, on a machine that started a moment ago as well; JavaScript's numbers hold it.
EPOCH_US: Final = 10**15
PAYLOAD: Final = b'{"t":%016d,"temperature":21.5,"humidity":40.1}'
PUBACK: Final = 4
CONNACK: Final = 4
PATIENCE_S: Final = 30.0


def now_us() -> int:
    """Return the time that travels in each frame."""
    return EPOCH_US + time.monotonic_ns() // 1000


class Device(asyncio.Protocol):
    """One device's connection."""

    def __init__(self, login: load.Login) -> None:
        """Be ready to log in."""
        self._login = login
        self._heard = -CONNACK
        self.sent = 0
        self.lost = False
        whole = load.publish_packet(login.key, PAYLOAD % 0, 0)
        self._head, self._tail = whole[: -len(PAYLOAD % 0) - 2], len(PAYLOAD % 0)

    @property
    def acknowledged(self) -> int:
        """How many of its messages the broker has taken."""
        return self._heard // PUBACK

    @property
    def connected(self) -> bool:
        """Whether it was let in."""
        return self._heard >= 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(load.connect_packet(self._login))

    def data_received(self, data: bytes) -> None:
        """Count what is acknowledged."""
        if not self.connected:
            assert data[3] == 0, f"the broker refuses {self._login.key}: {data[3]}"
        self._heard += len(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Say so."""
        self.lost = True

    def publish(self) -> None:
        """Send one message."""
        self.sent += 1
        self.transport.write(self._head + (self.sent % 65535 + 1).to_bytes(2, "big") + PAYLOAD % now_us())


class Publisher:
    """Deals a steady rate to all devices in turn."""

    def __init__(self) -> None:
        """Have no devices yet."""
        self._devices: list[Device] = []
        self._task: asyncio.Task[None] | None = None
        self._late_s = 0.0

    async def connect(self, host: str, port: int, logins: list[tuple[str, str]]) -> int:
        """Connect them, and wait until all were let in."""
        loop = asyncio.get_running_loop()
        for login in logins:
            device = Device(load.Login(*login))
            await loop.create_connection(lambda device=device: device, host, port)  # type: ignore[misc]
            self._devices.append(device)
        async with asyncio.timeout(PATIENCE_S):
            while not all(device.connected for device in self._devices):
                assert not any(device.lost for device in self._devices), "the broker has refused a device"
                await asyncio.sleep(TICK_S)
        return len(self._devices)

    async def start(self, rate: float) -> None:
        """Publish so many a second from now on."""
        self._task = asyncio.create_task(self._publish(rate))

    async def _publish(self, rate: float) -> None:
        began, sent, self._late_s = time.monotonic(), 0, 0.0
        while True:
            planned = int((time.monotonic() - began) * rate)
            self._late_s = max(self._late_s, (planned - sent) / rate - TICK_S)
            for number in range(sent, planned):
                self._devices[number % len(self._devices)].publish()
            sent = max(sent, planned)
            await asyncio.sleep(TICK_S)

    async def stop(self) -> dict[str, float]:
        """Publish no more; say how many there were, once all are acknowledged."""
        assert self._task is not None
        self._task.cancel()
        async with asyncio.timeout(PATIENCE_S):
            while any(device.acknowledged < device.sent for device in self._devices):  # noqa: ASYNC110  of all
                await asyncio.sleep(TICK_S)
        return await self.report()

    async def report(self) -> dict[str, float]:
        """Say how it goes."""
        assert not any(device.lost for device in self._devices), "a device lost its connection"
        sent, taken = (sum(getattr(device, name) for device in self._devices) for name in ("sent", "acknowledged"))
        return {"published": sent, "acknowledged": taken, "late ms": self._late_s * 1000}


if __name__ == "__main__":
    asyncio.run(ask.serve(Publisher()))
