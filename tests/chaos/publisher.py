"""Many devices in one process of their own, which no scenario kills: `python -m tests.chaos.publisher < job`.

The first line of its input is a Job; the end of the input tells it to publish no more, to wait until everything is
acknowledged (or received), and to end. Each tick makes a group of frames, writes it to the ledger, syncs, then sends.
What the broker has not acknowledged is sent again after a reconnect, as a persistent session demands (MQTT 3.1.1, 4.4).
A device that resends keeps each frame until the hub's receipt says that it is stored, and sends what it still keeps
again after each reconnect; others only note receipts.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from tests.chaos import ledger, packets
from tests.chaos.ledger import Ledger
from tests.chaos.shapes import SHAPES

TICK_S: Final = 0.02
# What one tick makes at most, however far behind it is: the others' packets have to get in between.
MOST: Final = 2000
RETRY_S: Final = 0.1, 0.4
# How long a device that keeps frames waits for their receipts before it sends them again at the end.
AGAIN_S: Final = 3.0
# After that the publisher gives up; the ledger says what was not acknowledged.
PATIENCE_S: Final = 180.0


class Job(msgspec.Struct):
    """What to publish.

    devices    [key, secret, shape] of each
    rate       frames a second of all together; `window` unacknowledged ones of a device are the most
    limit      how many frames in all; None: until told to end
    receipts   listen for the hub's receipts, and note them; resend: keep each frame until its receipt has come
    """

    host: str
    port: int
    ledger: str
    devices: list[tuple[str, str, str]]
    rate: float = 1000
    limit: int | None = None
    window: int = 2000
    receipts: bool = False
    resend: bool = False


class Said(msgspec.Struct):
    """The publisher's last words."""

    published: int
    unacknowledged: int
    unreceived: int
    connects: int
    resent: int
    seconds: float


class Receipt(msgspec.Struct):
    """What the hub says is stored: of this boot everything up to `seq`, and these ranges beyond it."""

    boot: int
    seq: int
    have: list[tuple[int, int]] = []


class Device:
    """One device: what it has made, what the broker has not acknowledged, what the hub has not confirmed."""

    def __init__(self, key: str, secret: str, shape: str, job: Job) -> None:
        self.key, self.secret = key, secret
        self.made = self.connects = self.resent = 0
        self.unacked: dict[int, bytes] = {}
        self.kept: dict[int, bytes] = {}
        # For the ledger, since the last commit.
        self.acks: list[int] = []
        self.receipts: list[int] = []
        self._shape, self._job = SHAPES[shape], job
        self._by_id: dict[int, int] = {}
        self._line: asyncio.Transport | None = None

    def make(self, count: int) -> range:
        """Make the next frames, which are not sent yet."""
        new = range(self.made + 1, self.made + count + 1)
        at = time.time_ns() // 1_000_000
        for n in new:
            suffix, payload = self._shape(n, at)
            self._put(n, packets.publish(f"hub/{self.key}/{suffix}", payload, n))
        self.made += count
        return new

    def send(self, numbers: range) -> None:
        if self._line is not None:
            self._line.write(b"".join([self.unacked[n] for n in numbers]))

    def send_kept(self) -> None:
        """Publish again what the broker took and the hub has not confirmed."""
        if not self._job.resend:
            return
        lost = {n: packet for n, packet in self.kept.items() if n not in self.unacked}
        for n, packet in lost.items():
            self._put(n, packet)
        self.resent += len(lost)
        if self._line is not None and lost:
            self._line.write(b"".join(lost.values()))

    def _put(self, n: int, packet: bytes) -> None:
        self.unacked[n] = packet
        self._by_id[packets.id_of(n)] = n
        if self._job.receipts:
            self.kept[n] = packet

    @property
    def open(self) -> int:
        """How many frames it may not forget yet."""
        return max(len(self.unacked), len(self.kept) if self._job.resend else 0)

    @property
    def room(self) -> int:
        return self._job.window - self.open

    def connected(self, line: asyncio.Transport) -> None:
        self.connects += 1
        line.write(b"".join(packets.again(packet) for packet in self.unacked.values()))
        self._line = line
        if self._job.receipts:
            line.write(packets.subscribe(f"hub/{self.key}/receipt"))
        self.send_kept()

    def disconnected(self) -> None:
        self._line = None

    def acknowledged(self, packet_id: int) -> None:
        n = self._by_id.pop(packet_id, None)
        if n is not None:
            del self.unacked[n]
            self.acks.append(n)

    def heard(self, payload: bytes) -> None:
        """Forget what the hub has stored."""
        receipt = msgspec.json.decode(payload, type=Receipt)
        stored = [n for n in self.kept if n <= receipt.seq or any(lo <= n <= hi for lo, hi in receipt.have)]
        for n in stored:
            del self.kept[n]
        self.receipts += stored

    async def live(self) -> None:
        """Connect, and again whenever the connection is gone."""
        loop, dice = asyncio.get_running_loop(), Random(self.key)
        while True:
            with suppress(OSError):
                _, line = await loop.create_connection(lambda: Line(self), self._job.host, self._job.port)
                await line.ended
            await asyncio.sleep(dice.uniform(*RETRY_S))


class Line(asyncio.Protocol):
    """One connection of a device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffer = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(packets.connect(self._device.key, self._device.secret, 0))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for packet in packets.taken(self._buffer):
            self._take(packet)

    def _take(self, packet: packets.Packet) -> None:
        match packet.kind:
            case packets.CONNACK if packet.body[1] == 0:
                self._device.connected(self._transport)
            case packets.CONNACK:
                self._transport.close()  # the account is not there yet
            case packets.PUBACK:
                self._device.acknowledged(int.from_bytes(packet.body))
            case packets.PUBLISH:
                self._device.heard(packets.topic_and_payload(packet.body)[1])

    def connection_lost(self, _error: Exception | None) -> None:
        self._device.disconnected()
        self.ended.set_result(None)


class Publisher:
    """All devices of a job."""

    def __init__(self, job: Job, book: Ledger) -> None:
        self.job = job
        self.devices = [Device(*device, job) for device in job.devices]
        self._book = book
        self._ended = asyncio.Event()

    @property
    def made(self) -> int:
        return sum(device.made for device in self.devices)

    async def run(self) -> Said:
        began = time.monotonic()
        await asyncio.get_running_loop().connect_read_pipe(lambda: Ear(self._ended), sys.stdin)
        lives = [asyncio.create_task(device.live(), name=device.key) for device in self.devices]
        await self._until(lambda: all(device.connects for device in self.devices), PATIENCE_S)
        await self._produce()
        seconds = time.monotonic() - began
        await self._finish()
        for life in lives:
            life.cancel()
        return self._said(seconds)

    async def _produce(self) -> None:
        clock = time.monotonic()
        owed = 0.0
        while not self._ended.is_set() and (self.job.limit is None or self.made < self.job.limit):
            await asyncio.sleep(TICK_S)
            passed, clock = time.monotonic() - clock, time.monotonic()
            # What a full window kept back is not owed for ever: a real device would be slower, too.
            owed = min(owed + passed * self.job.rate, max(self.job.rate, 1.0))
            left = MOST if self.job.limit is None else min(MOST, self.job.limit - self.made)
            owed -= self._tick(min(int(owed), left))

    def _tick(self, count: int) -> int:
        """Make, note, sync, send; return how many."""
        groups = self._made(count)
        self._note()
        for device, numbers in groups:
            device.send(numbers)
        return sum(len(numbers) for _, numbers in groups)

    def _made(self, count: int) -> list[tuple[Device, range]]:
        ready = [device for device in self.devices if device.room > 0]
        if not count or not ready:
            return []
        each, rest = divmod(count, len(ready))
        # Whoever gets one more than the others is another one each time.
        turn = self.made % len(ready)
        shares = [(device, each + (index < rest)) for index, device in enumerate(ready[turn:] + ready[:turn])]
        groups = [(device, device.make(min(share, device.room))) for device, share in shares if share]
        for device, numbers in groups:
            self._book.note(ledger.PUBLISHED, device.key, numbers)
        return groups

    def _note(self) -> None:
        for device in self.devices:
            for what, numbers in ((ledger.ACKED, device.acks), (ledger.RECEIPT, device.receipts)):
                self._book.note(what, device.key, numbers)
                numbers.clear()
        self._book.commit()

    async def _finish(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not await self._until(self._settled, AGAIN_S) and time.monotonic() < deadline:
            for device in self.devices:
                device.send_kept()
        self._note()

    def _settled(self) -> bool:
        return not any(device.open for device in self.devices)

    async def _until(self, look: Callable[[], bool], patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while not (found := look()) and time.monotonic() < deadline:  # noqa: ASYNC110 - an event for each would be more
            await asyncio.sleep(TICK_S)
        return found

    def _said(self, seconds: float) -> Said:
        return Said(
            published=self.made,
            unacknowledged=sum(len(device.unacked) for device in self.devices),
            unreceived=sum(len(device.kept) for device in self.devices) if self.job.resend else 0,
            connects=sum(device.connects for device in self.devices),
            resent=sum(device.resent for device in self.devices),
            seconds=seconds,
        )


class Ear(asyncio.Protocol):
    """Hears the end of the input."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, _error: Exception | None) -> None:
        self._ended.set()


async def work(job: Job) -> Said:
    with Ledger(Path(job.ledger)) as book:
        return await Publisher(job, book).run()


def main() -> None:
    # Unbuffered: what comes after the first line belongs to the event loop.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as first:
        job = msgspec.json.decode(first.readline(), type=Job)
    print(msgspec.json.encode(asyncio.run(work(job))).decode())  # noqa: T201


if __name__ == "__main__":
    main()
