"""Sockets that count: `Dashboard` keeps up, and checks that nothing is missing; `Stuck` reads nothing any more.

A text that reaches many sockets is read once. Fields that are not known here are left alone.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from collections import Counter
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.live import wire
from benchmarks.live.latency import STEP_US, Latencies
from benchmarks.live.publisher import EPOCH_US

# The hub lends 32: a client that gives them back by eights never waits for them.
CREDIT_EVERY: Final = 8
_CREDIT: Final = wire.client_frame(wire.TEXT, b'{"type":"credit","n":%d}' % CREDIT_EVERY)
_GOODBYE: Final = wire.client_frame(wire.CLOSE, b"\x03\xe8")
_READ: Final = 128
EXAMPLES: Final = 5
# How long after a failure a client comes back.
AGAIN_S: Final = 0.1, 0.5


def now_us() -> int:
    """Return the machine's time."""
    return time.monotonic_ns() // 1000


def _step(us: int) -> int:
    return us // STEP_US * STEP_US


class Values(msgspec.Struct):
    """What a frame says; `t`: when it was published."""

    t: int = 0


class Row(msgspec.Struct, array_like=True):
    """One frame."""

    seq: int
    ts: int
    values: Values


class Part(msgspec.Struct):
    """One device's rows."""

    prev: int
    frames: list[Row]


class Data(msgspec.Struct):
    """A data message."""

    phase: str
    devices: dict[str, Part]


class Word(msgspec.Struct):
    """Any other message, as far as it counts here."""

    type: str
    head: dict[str, int] | None = None
    recovered: bool = True
    devices: Any = None


_data = msgspec.json.Decoder(Data).decode
_word = msgspec.json.Decoder(Word).decode


class Tally:
    """What a group of sockets has counted."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.frames = self.messages = self.bytes = 0
        self.latencies = Latencies()
        # hole, double, gap, lag, err, end, not recovered: what must not happen to who keeps up
        self.faults: Counter[str] = Counter()
        # What exactly, of the first few.
        self.examples: list[str] = []
        # "open", "refused" (nobody listens), a status, "cut" (in the handshake)
        self.handshakes: Counter[str] = Counter()
        self.closes: Counter[str] = Counter()

    def fault(self, kind: str, example: str) -> None:
        """Note what must not happen."""
        self.faults[kind] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{kind}: {example}")


class Told:
    """A data message, read once for all sockets that get it; how late it came is kept until it is folded."""

    __slots__ = ("frames", "late", "newest", "offsets", "parts", "whole")

    def __init__(self, text: bytes) -> None:
        """Read it."""
        message = _data(text)
        self.parts = [(key, part.prev, part.frames[-1].seq) for key, part in message.devices.items()]
        self.frames = sum(len(part.frames) for part in message.devices.values())
        self.whole = self.frames == sum(last - prev for _, prev, last in self.parts)
        times = [row.values.t - EPOCH_US for part in message.devices.values() for row in part.frames]
        self.newest = max(times)
        self.offsets = Counter(_step(self.newest - at) for at in times) if message.phase == "live" else None
        self.late: dict[Tally, Counter[int]] = {}

    def came(self, tally: Tally, now: int) -> None:
        """Note that a socket of this group has it."""
        if self.offsets is not None:
            self.late.setdefault(tally, Counter())[_step(now - self.newest)] += 1

    def fold(self) -> None:
        """Count each of its frames as late as it came to each socket."""
        for tally, late in self.late.items():
            for took, sockets in late.items():
                for offset, frames in (self.offsets or {}).items():
                    tally.latencies.add(took + offset, sockets * frames)
        self.late = {}


class Texts:
    """The texts that were read lately."""

    def __init__(self) -> None:
        """Know none."""
        self._read: dict[bytes, Told] = {}

    def told(self, text: bytes) -> Told:
        """Return what a text says."""
        found = self._read.get(text)
        if found is None:
            found = self._read[text] = Told(text)
            if len(self._read) > _READ:
                self._read.pop(next(iter(self._read))).fold()
        return found

    async def fold(self) -> None:
        """Have all latencies counted, and meanwhile go on hearing."""
        for told in list(self._read.values()):
            told.fold()
            await asyncio.sleep(0)


class Address(NamedTuple):
    """Where a socket goes, and as whom."""

    host: str
    port: int
    token: str


class Dashboard(asyncio.Protocol):
    """A page that watches devices and keeps up with them, through any number of connections.

    asked_at, ok_at, row_at, live_at: when (µs) it subscribed last, was answered, got its first row, and was live
    """

    def __init__(self, address: Address, devices: list[str], tally: Tally, texts: Texts, last_s: float = 0) -> None:
        """Exist; `stay` connects. `last_s`: how much history the first subscription asks for."""
        self.address, self.devices, self.tally = address, devices, tally
        self.cursors: dict[str, int] = {}
        self.live, self.gone = asyncio.Event(), asyncio.Event()
        self.gone.set()
        self.asked_at = self.ok_at = self.row_at = self.live_at = self.lost_at = 0
        self._texts, self._last_s = texts, last_s
        self._upgrade = wire.upgrade(*address)
        self._owed = 0
        self._transport: asyncio.Transport | None = None
        self._reader = wire.Reader()

    # -- coming and going

    async def stay(self, *, again: bool) -> None:
        """Be there; with `again` for ever, whatever happens."""
        while True:
            failed = not await self._opened()
            if not failed:
                await self.gone.wait()
            if not again:
                return
            if failed:
                await asyncio.sleep(random.uniform(*AGAIN_S))

    async def _opened(self) -> bool:
        """Connect, and wait until it is live; whether it came to that."""
        self.live.clear()
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, self.address.host, self.address.port)
        except OSError:
            self.tally.handshakes["refused"] += 1
            return False
        waits = [asyncio.create_task(event.wait()) for event in (self.live, self.gone)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        status = self._reader.status
        if not self.live.is_set():
            self.tally.handshakes["cut" if status in (None, 101) else str(status)] += 1
        else:
            self.tally.handshakes["open"] += 1
        return self.live.is_set()

    @property
    def name(self) -> str:
        """Tell it from others."""
        return f"socket {id(self):x}"

    def cut(self) -> None:
        """Break the connection off, as a network does (RST)."""
        if self._transport is not None:
            raw: socket.socket = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def leave(self) -> None:
        """Say goodbye; the hub closes."""
        if self._transport is not None:
            self._transport.write(_GOODBYE)

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._reader, self._owed = transport, wire.Reader(), 0
        self.gone.clear()
        transport.write(self._upgrade)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Note when."""
        self._transport, self.lost_at = None, now_us()
        self.live.clear()
        self.gone.set()

    def data_received(self, data: bytes) -> None:
        """Work off each frame."""
        now = now_us()
        self.tally.bytes += len(data)
        for opcode, payload in self._reader.feed(data):
            if opcode == wire.TEXT:
                self._hear(payload, now)
            elif opcode == wire.PING:
                self._send(wire.client_frame(wire.PONG, payload))
            elif opcode == wire.CLOSE:
                self.tally.closes[str(int.from_bytes(payload[:2], "big"))] += 1
                self._send(wire.client_frame(wire.CLOSE, payload[:2]))

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    # -- what the hub says

    def _hear(self, text: bytes, now: int) -> None:
        if text.startswith(b'{"type":"data"'):
            self._rows(self._texts.told(text), now)
            return
        word = _word(text)
        match word.type:
            case "welcome":
                self._subscribe()
            case "ok":
                self._begin(word, now)
            case "live":
                self.live_at = now
                self.live.set()
            case "fleet":
                self._give_back()
            case "gap" | "lag" | "end":
                self.tally.fault(word.type, text[:200].decode())
            case "err":
                self.tally.fault("err", text[:200].decode())
                self.cut()

    def _subscribe(self) -> None:
        self.asked_at, self.row_at = now_us(), 0
        if not self.devices:
            self.live_at = self.asked_at
            self.live.set()
            return
        since: dict[str, Any] | None = {"cursor": self.cursors} if self.cursors else None
        if since is None and self._last_s:
            since = {"last_s": self._last_s}
        self._send(wire.client_frame(wire.TEXT, _subscription(self.devices, since)))

    def _begin(self, ok: Word, now: int) -> None:
        self.ok_at = now
        if not ok.recovered:
            self.tally.fault("not recovered", self.name)
        if not self.cursors and not self._last_s:
            self.cursors = dict(ok.head or {})

    def _rows(self, told: Told, now: int) -> None:
        self.row_at = self.row_at or now
        self.tally.messages += 1
        self.tally.frames += told.frames
        told.came(self.tally, now)
        cursors = self.cursors
        for key, prev, last in told.parts:
            if (cursor := cursors.get(key, prev)) != prev:
                late = (now - self.live_at) / 1e6
                example = (
                    f"{self.name} has {key} up to {cursor}, and is sent {prev + 1} to {last}, {late:.3f} s after live"
                )
                self.tally.fault("hole" if prev > cursor else "double", example)
            cursors[key] = last
        if not told.whole:
            self.tally.fault("hole", f"{self.name} is sent rows that do not follow each other")
        self._give_back()

    def _give_back(self) -> None:
        self._owed += 1
        if self._owed == CREDIT_EVERY:
            self._owed = 0
            self._send(_CREDIT)


def _subscription(devices: list[str], since: dict[str, Any] | None = None) -> bytes:
    return json.dumps({"type": "sub", "id": "s", "devices": devices, "since": since}).encode()


class Stuck:
    """A page that subscribes, and from then on reads nothing; `lying`: it goes on giving credit all the same."""

    RECEIVE_BUFFER: Final = 4096

    def __init__(self, address: Address, devices: list[str], *, lying: bool) -> None:
        """Exist; `stick` connects."""
        self.lying = lying
        self.stuck_at = 0
        self._address, self._devices = address, devices
        self.socket: socket.socket | None = None

    async def stick(self) -> None:
        """Come, subscribe, and stop reading; raises OSError while nobody listens."""
        loop = asyncio.get_running_loop()
        self.socket = came = socket.socket()
        came.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.RECEIVE_BUFFER)
        came.setblocking(False)  # noqa: FBT003  socket's own
        await loop.sock_connect(came, (self._address.host, self._address.port))
        await loop.sock_sendall(came, wire.upgrade(*self._address))
        answer = b""
        while b'"welcome"' not in answer:
            more = await loop.sock_recv(came, 1024)
            if not more:
                raise ConnectionResetError
            answer += more
        await loop.sock_sendall(came, wire.client_frame(wire.TEXT, _subscription(self._devices)))
        self.stuck_at = now_us()

    def lie(self) -> None:
        """Give credit for what was not read."""
        try:
            if self.socket is not None:
                self.socket.send(_CREDIT * 4)
        except OSError:  # full, or cut: whoever watches the socket will see
            pass

    def leave(self) -> None:
        """Go."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
