"""A load that is no bottleneck: devices over raw sockets, packets encoded beforehand, PUBACKs counted and not parsed.

`publish` gives each device a connection of its own and returns when the broker has acknowledged everything.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final, NamedTuple

# Packets of a connection that the broker has not acknowledged yet. A PUBACK has four bytes (MQTT 3.1.1, 3.4).
WINDOW: Final = 200
PUBACK: Final = 4


class Login(NamedTuple):
    """A device's account."""

    key: str
    secret: str


def publish(host: str, port: int, logins: Sequence[Login], count: int, payload: bytes, *, rate: float = 0) -> float:
    """Publish `count` messages, dealt to the devices in turn, with QoS 1; `rate` a second in all, 0: no limit.

    `payload` has one %d, which becomes the message's number within its device, from 1. Returns the seconds it took.
    """
    return asyncio.run(_publish(host, port, logins, count, payload, rate))


async def _publish(host: str, port: int, logins: Sequence[Login], count: int, payload: bytes, rate: float) -> float:
    async with AsyncExitStack() as stack:
        lines = [await _connect(stack, host, port, login) for login in logins]
        began = time.monotonic()
        each = count // len(lines)
        await asyncio.gather(*(line.send(each, payload, rate / len(lines)) for line in lines))
        for line in lines:
            line.bid_farewell()
        return time.monotonic() - began


async def _connect(stack: AsyncExitStack, host: str, port: int, login: Login) -> _Line:
    reader, writer = await asyncio.open_connection(host, port)
    stack.push_async_callback(_close, writer)
    writer.write(connect_packet(login))
    answer = await reader.readexactly(4)
    assert answer[3] == 0, f"the broker refuses {login.key}: {answer[3]}"
    return _Line(reader, writer, f"hub/{login.key}/telemetry")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class _Line:
    """One device's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, topic: str) -> None:
        self._reader = reader
        self._writer = writer
        self._topic = _text(topic)

    async def send(self, count: int, payload: bytes, rate: float) -> None:
        began, sent, acknowledged = time.monotonic(), 0, 0
        while acknowledged < count * PUBACK:
            room = min(count, acknowledged // PUBACK + WINDOW)
            if rate:
                room = min(room, int((time.monotonic() - began) * rate) + 1)
            if room > sent:
                self._writer.write(b"".join(self._frames(range(sent + 1, room + 1), payload)))
                sent = room
            if rate and sent * PUBACK == acknowledged:
                await asyncio.sleep(1 / rate)
            else:
                acknowledged += len(await self._reader.read(65536))

    def _frames(self, numbers: Iterable[int], payload: bytes) -> Iterable[bytes]:
        for n in numbers:
            yield _packet(0x32, self._topic + struct.pack("!H", n % 65535 + 1) + payload % n)

    def bid_farewell(self) -> None:
        self._writer.write(b"\xe0\x00")


def connect_packet(login: Login) -> bytes:
    """CONNECT: MQTT 3.1.1, clean session, user name and password, no keepalive."""
    fields = b"".join(_text(text) for text in (login.key, login.key, login.secret))
    return _packet(0x10, _text("MQTT") + b"\x04\xc2\x00\x00" + fields)


def publish_packet(key: str, payload: bytes, n: int, leaf: str = "telemetry") -> bytes:
    """PUBLISH with QoS 1; `n`, from 1, makes the packet's id."""
    return _packet(0x32, _text(f"hub/{key}/{leaf}") + struct.pack("!H", n % 65535 + 1) + payload)


def subscribe_packet(filter_: str) -> bytes:
    """SUBSCRIBE with QoS 1."""
    return _packet(0x82, b"\x00\x01" + _text(filter_) + b"\x01")


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data


def _packet(kind: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([kind]) + length + body
