"""A device's MQTT connection: made, greeted, kept, cut. It decides nothing that its talker could.

Connect, subscribe, say hello; then send what the talker wants to send, until the broker has it (QoS 1).
"""

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from telemetry_hub.device.words import Publish, Send

# A SUBACK at or above this is a refusal (MQTT 3.1.1 section 3.9.3).
_REFUSED: Final = 0x80
# Short enough that a broker notices a vanished device within a minute and a half (1.5 times, section 3.1.2.10).
KEEPALIVE_S: Final = 30
# A far broker answers after a while: so many publishes of frames may be without an answer.
_AT_ONCE: Final = 8
_FIRST_PAUSE_S: Final = 0.5


class Cut(Exception):
    """There is no connection (any more). `refused`: the broker does not let this device in."""

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


class Talker(Protocol):
    """What a connection asks what to say, and tells what it heard."""

    @property
    def leaving(self) -> Literal["", "politely", "silently"]:
        """Whether this connection is to end: with a good-bye, or without a word."""

    def topics(self) -> list[str]:
        """What has to be heard."""

    def wishes(self) -> list[str]:
        """What should be heard, if the broker allows it."""

    def will(self) -> Publish:
        """What the broker says when the connection breaks."""

    def hello(self) -> list[Publish]:
        """What is said first."""

    def up(self) -> None:
        """All of that is said: the connection is of use."""

    def next(self) -> Send | None:
        """What is to be sent now."""

    def done(self, send: Send) -> None:
        """The broker has it."""

    def pause_s(self) -> float | None:
        """For how long there will be nothing to send, unless something happens."""

    def hear(self, about: str, payload: bytes, *, retained: bool) -> None:
        """A message came."""


Dial = Callable[[Publish], aiomqtt.Client]


def dialler(
    key: str,
    secret: str,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    keepalive_s: int = KEEPALIVE_S,
) -> Dial:
    """How to reach a broker: a new client each time, for a failed publish stays in the old one."""

    def dial(will: Publish) -> aiomqtt.Client:
        return aiomqtt.Client(
            host,
            port,
            username=key,
            password=secret,
            identifier=key,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,  # a command that waited in the broker could be older than its time
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain),
            keepalive=keepalive_s,
            tls_context=tls,
        )

    return dial


def certificates(ca: str | Path | None = None) -> ssl.SSLContext:
    """Whom to trust: a file of certificates, or those that the system trusts."""
    return ssl.create_default_context(cafile=ca)


def pause_s(failures: int, longest_s: float, rng: random.Random) -> float:
    """Return how long to wait before the next try: longer after each failure, and never the same for all devices."""
    return min(longest_s, _FIRST_PAUSE_S * 2.0 ** min(failures, 16)) * rng.uniform(0.5, 1)


class Link:
    """One device on the wire."""

    def __init__(self, talker: Talker, dial: Dial) -> None:
        self._talker = talker
        self._dial = dial
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something to say, or it is time to leave."""
        self._wake.set()

    async def visit(self) -> None:
        """One connection, from hello to good-bye; Cut says how it ended else."""
        try:
            async with self._dial(self._talker.will()) as client:
                await self._greet(client)
                self._talker.up()
                hearing = asyncio.create_task(self._listen(client), name="hears the broker")
                hearing.add_done_callback(lambda _: self._wake.set())
                speaking = asyncio.create_task(self._speak(client, hearing), name="speaks to the broker")
                try:
                    await asyncio.wait([hearing, speaking], return_when=asyncio.FIRST_COMPLETED)
                    if hearing.done() and not speaking.done() and not self._talker.leaving:
                        # It waits for an answer of the broker, which does not come any more.
                        hearing.result()
                        raise aiomqtt.MqttError("the connection ended")
                    await speaking
                finally:
                    for task in (speaking, hearing):
                        task.cancel()
                    await asyncio.wait([speaking, hearing])
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            if not self._talker.leaving:
                raise Cut(str(error), refused=isinstance(error, MqttConnectError)) from None

    async def _greet(self, client: aiomqtt.Client) -> None:
        # Subscribed before it says that it is online: what waits for that must not be missed.
        for topic in self._talker.topics():
            if not await _granted(client, topic):
                raise aiomqtt.MqttError(f"the broker does not let it subscribe to {topic}")
        for topic in self._talker.wishes():
            await _granted(client, topic)
        for publish in self._talker.hello():
            await _publish(client, publish)

    async def _speak(self, client: aiomqtt.Client, hearing: asyncio.Task[None]) -> None:
        under_way: set[asyncio.Task[None]] = set()
        try:
            while not hearing.done():
                self._wake.clear()
                await self._say_all(client, hearing, under_way)
                if self._talker.leaving:
                    await self._leave(client, hearing)
                    return
                await self._pause(under_way)
            hearing.result()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _say_all(
        self, client: aiomqtt.Client, hearing: asyncio.Task[None], under_way: set[asyncio.Task[None]]
    ) -> None:
        """Send everything that is to be sent now: frames several at a time, all else one after the other."""
        while not hearing.done() and not self._talker.leaving and (send := self._talker.next()):
            if send.what != "frames":
                await self._send(client, send)
                continue
            sending = asyncio.create_task(self._send(client, send), name="sends frames")
            sending.add_done_callback(self._failed)
            under_way.add(sending)
            if len(under_way) >= _AT_ONCE:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            _ended(under_way)
            await asyncio.sleep(0)  # what was heard meanwhile comes first
        if self._talker.leaving == "politely" and under_way:
            await asyncio.wait(under_way)

    async def _send(self, client: aiomqtt.Client, send: Send) -> None:
        await _publish(client, send.publish)
        self._talker.done(send)

    def _failed(self, sending: asyncio.Task[None]) -> None:
        if not sending.cancelled() and sending.exception():
            self._wake.set()

    async def _leave(self, client: aiomqtt.Client, hearing: asyncio.Task[None]) -> None:
        if self._talker.leaving == "politely":
            await _publish(client, self._talker.will())
            return
        vanish(client)
        # Until the client has noticed: it would else try to disconnect in good order.
        await asyncio.wait([hearing])

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            self._talker.hear(message.topic.value, message.payload, retained=message.retain)
            self._wake.set()

    async def _pause(self, under_way: set[asyncio.Task[None]]) -> None:
        """Wait until there may be something to do."""
        pause = self._talker.pause_s()
        alarm = None if pause is None else asyncio.get_running_loop().call_later(pause, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if alarm:
                alarm.cancel()
        _ended(under_way)


def _ended(under_way: set[asyncio.Task[None]]) -> None:
    """Let go of what is done; raise what went wrong."""
    for task in [task for task in under_way if task.done()]:
        under_way.discard(task)
        task.result()


def vanish(client: aiomqtt.Client) -> None:
    """Cut the connection without a word, as a lost network does: the broker then publishes the last will."""
    sock = client._client.socket()  # noqa: SLF001  aiomqtt has no such way out; a test of the last will pins it
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


async def _granted(client: aiomqtt.Client, topic: str) -> bool:
    codes = await client.subscribe(topic, qos=1)
    return all((code if isinstance(code, int) else code.value) < _REFUSED for code in codes)


async def _publish(client: aiomqtt.Client, publish: Publish) -> None:
    await client.publish(publish.topic, publish.payload, qos=1, retain=publish.retain)
