"""A client that says whatever it is told to, also what MQTT forbids: no library would send it.

No wait is endless: silence is an error after PATIENCE_S.
"""

import asyncio
import struct
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, NamedTuple, Self, TypeVar

from tests.chaos.packets import CONNACK, DISCONNECT, PINGREQ, PUBACK, PUBLISH, Packet, packet, taken, text
from tests.system.stands import PATIENCE_S, REFUSED

T = TypeVar("T")

PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, PINGRESP = 0x50, 0x62, 0x70, 0x82, 0x90, 0xD0
V311, V5 = 4, 5
CLEAN, WILL, WILL_RETAIN, PASSWORD, USER = 0x02, 0x04, 0x20, 0x40, 0x80
# MQTT 5's property of a publish that stands for a topic.
ALIAS: Final = 0x23


class Cut(Exception):
    """The broker has ended the connection, or never let us in."""


class Will(NamedTuple):
    topic: bytes
    payload: bytes
    qos: int = 0
    retain: bool = False


class Raw:
    """One connection. `heard` are the topics and payloads that arrived."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._reader = reader
        self._writer = writer
        self._version = version
        self._answers: asyncio.Queue[Packet] = asyncio.Queue()
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._id = 0
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def connect(  # noqa: PLR0913 - what a CONNECT packet has
        cls,
        port: int,
        client_id: str | bytes,
        user: str | bytes | None,
        secret: str | None,
        *,
        will: Will | None = None,
        version: int = V311,
        clean: bool = True,
    ) -> Self:
        """Connect, or raise Cut."""
        flags = CLEAN * clean | USER * (user is not None) | PASSWORD * (secret is not None)
        fields = [text(client_id)]
        properties = b"\0" if version == V5 else b""
        if will is not None:
            flags |= WILL | will.qos << 3 | WILL_RETAIN * will.retain
            fields += [properties, text(will.topic), text(will.payload)]
        fields += [text(each) for each in (user, secret) if each is not None]
        head = text("MQTT") + bytes([version, flags]) + struct.pack("!H", 60) + properties
        async with asyncio.timeout(PATIENCE_S):
            raw = cls(*await asyncio.open_connection("127.0.0.1", port), version)
            try:
                raw._send(packet(0x10, head + b"".join(fields)))
                _check(await raw._answer(CONNACK))
            except BaseException:
                await raw.close()
                raise
        return raw

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._over.is_set():
            self._send(DISCONNECT)
        await self.close()

    async def close(self) -> None:
        """End the connection, without a word."""
        self._listening.cancel()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def vanish(self) -> None:
        """Go away so that the last will speaks, and wait until the broker has ended its side too."""
        self._writer.write_eof()
        await self.end()
        await self.close()

    async def end(self) -> None:
        """Wait for the broker to end the connection."""
        async with asyncio.timeout(PATIENCE_S):
            await self._over.wait()

    async def publish(self, topic: bytes, payload: bytes, qos: int, *, retain: bool = False, alias: int = 0) -> None:
        """Publish, and return once the broker has gone through all that it answers to it; Cut when it hangs up."""
        properties = b"" if self._version != V5 else (struct.pack("!BBH", 3, ALIAS, alias) if alias else b"\0")
        number = self._number() if qos else b""
        self._send(packet(PUBLISH | qos << 1 | retain, text(topic) + number + properties + payload))
        if qos == 0:
            self._send(PINGREQ)
            await self._patiently(self._answer(PINGRESP))
        elif qos == 1:
            await self._patiently(self._answer(PUBACK))
        elif not _refused(await self._patiently(self._answer(PUBREC))):
            self._send(packet(PUBREL, number))
            await self._patiently(self._answer(PUBCOMP))

    async def subscribe(self, filter_: bytes, qos: int = 1) -> bool:
        """Whether the broker granted it; Cut when it hangs up instead."""
        properties = b"\0" if self._version == V5 else b""
        self._send(packet(SUBSCRIBE, self._number() + properties + text(filter_) + bytes([qos])))
        return (await self._patiently(self._answer(SUBACK))).body[-1] < REFUSED

    async def hear(self, payload: bytes) -> None:
        """Wait until this has been heard; Cut when the broker hangs up before."""
        async with asyncio.timeout(PATIENCE_S):
            while payload not in {said for _, said in self.heard}:
                if self._over.is_set():
                    raise Cut(f"cut before {payload!r} was heard")
                self._news.clear()
                await self._news.wait()

    def _number(self) -> bytes:
        self._id = self._id % 0xFFFF + 1
        return struct.pack("!H", self._id)

    def _send(self, what: bytes) -> None:
        self._writer.write(what)

    async def _patiently(self, answer: Awaitable[T]) -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await answer

    async def _answer(self, kind: int) -> Packet:
        """The next answer, which must be of this kind."""
        answer = asyncio.ensure_future(self._answers.get())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait([answer, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            answer.cancel()
            over.cancel()
        if not answer.done() or answer.cancelled():
            raise Cut("the broker ended the connection")
        assert answer.result().kind == kind, f"{answer.result()} instead of {kind:#x}"
        return answer.result()

    async def _listen(self) -> None:
        buffer = bytearray()
        try:
            with suppress(OSError):
                while read := await self._reader.read(65536):
                    buffer += read
                    for each in taken(buffer):
                        self._take(each)
        finally:
            self._over.set()
            self._news.set()

    def _take(self, what: Packet) -> None:
        if what.kind == PUBLISH:
            self._hear(what)
        elif what.first == PUBREL:
            self._send(packet(PUBCOMP, what.body[:2]))
        elif what.kind != DISCONNECT[0]:
            self._answers.put_nowait(what)

    def _hear(self, what: Packet) -> None:
        (length,) = struct.unpack_from("!H", what.body)
        at = 2 + length
        qos = what.first >> 1 & 3
        if qos:
            self._send(packet(PUBACK if qos == 1 else PUBREC, what.body[at : at + 2]))
            at += 2
        if self._version == V5:
            at += 1 + what.body[at]
        self.heard.append((what.body[2 : 2 + length].decode(), what.body[at:]))
        self._news.set()


def _check(answer: Packet) -> None:
    if code := answer.body[1]:
        raise Cut(f"refused with {code}")


def _refused(answer: Packet) -> bool:
    return len(answer.body) > 2 and answer.body[2] >= REFUSED
