"""One device's MQTT connection. The only module here that knows aiomqtt; it decides nothing that device.py could.

Connect, subscribe, say hello; then send what the device wants to send, one message after the other, each until the
broker has it (QoS 1). A broken connection loses nothing: the message is still the device's next one.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from random import Random
from typing import Final, Protocol

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from devices import wire
from simulators.counts import Counts
from simulators.device import Device, Send
from simulators.firmware import Publish

log = logging.getLogger(__name__)

# A restarted broker is back within seconds, so is a new account; a fleet that knocks every 5 s hurts nobody.
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.2, 5.0
# A SUBACK at or above this is a refusal (MQTT 3.1.1 section 3.9.3).
_REFUSED: Final = 0x80
# Short enough that a broker notices a vanished device within a minute and a half (1.5 times, section 3.1.2.10).
_KEEPALIVE_S: Final = 30


# A broker that goes away fails a thousand devices at once; one of them is worth a line.
_COMPLAIN_EVERY_S: Final = 10.0


class Complaints:
    """Tells that devices cannot connect: one line for all of them, every ten seconds."""

    def __init__(self) -> None:
        self._next = 0.0
        self._unsaid = 0

    def hear(self, key: str, why: object, now: float) -> None:
        """Log it, or count it for the next line."""
        if now < self._next:
            self._unsaid += 1
            return
        log.info("%s: %s; it tries again (failures before that: %d)", key, why, self._unsaid)
        self._next = now + _COMPLAIN_EVERY_S
        self._unsaid = 0


class Dial(Protocol):
    """Makes the client for one connection of a device."""

    def __call__(self, key: str, secret: str, will: Publish) -> aiomqtt.Client:
        """A new one each time: a failed publish stays in the old one and would be sent again."""
        ...


def dialler(host: str, port: int, *, tls: bool = False, ca: str | None = None) -> Dial:
    """How to reach one broker; the key is user name and client id. `ca`: a file of certificates to trust."""
    context = ssl.create_default_context(cafile=ca) if tls else None

    def dial(key: str, secret: str, will: Publish) -> aiomqtt.Client:
        return aiomqtt.Client(
            host,
            port,
            username=key,
            password=secret,
            identifier=key,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,  # a command that waited in the broker could be older than its ttl
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain),
            keepalive=_KEEPALIVE_S,
            tls_context=context,
        )

    return dial


class Link:
    """One device on the wire, until `end`."""

    def __init__(  # its device, its login, its fleet
        self, device: Device, secret: str, dial: Dial, counts: Counts, complaints: Complaints, rng: Random
    ) -> None:
        self._device = device
        self._secret = secret
        self._dial = dial
        self._counts = counts
        self._complaints = complaints
        self._rng = rng
        self._wake = asyncio.Event()
        self._ending = False
        self._failures = 0

    def end(self) -> None:
        """Make `live` say good-bye and return."""
        self._ending = True
        self._wake.set()

    async def live(self) -> None:
        """Connect, and again whenever the connection is gone."""
        while not self._ending:
            try:
                await self._visit()
            except aiomqtt.MqttError as error:
                self._failed(error)
            if self._device.away:
                await self._stay_away()
            elif not self._ending:
                await self._pause(time.time() + self._backoff())

    def _failed(self, error: aiomqtt.MqttError) -> None:
        self._complaints.hear(self._device.key, error, time.monotonic())
        self._failures += 1
        self._counts.refused += isinstance(error, MqttConnectError)

    def _backoff(self) -> float:
        longest = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2.0 ** min(self._failures, 10))
        return longest * self._rng.uniform(0.5, 1)

    async def _stay_away(self) -> None:
        away = self._device.away
        assert away is not None
        self._counts.dropouts += not away.polite
        lost = self._device.firmware.lost
        self._device.leave()
        self._counts.lost += self._device.firmware.lost - lost
        while not self._ending and time.time() < away.until:
            await self._pause(away.until)
        self._device.back(time.time())

    async def _visit(self) -> None:
        """One connection, from hello to good-bye (or to none)."""
        client = self._dial(self._device.key, self._secret, self._device.firmware.will())
        async with client:
            await self._greet(client)
            self._failures = 0
            self._counts.connects += 1
            self._counts.connected += 1
            hearing = asyncio.create_task(self._listen(client), name=f"hears {self._device.key}")
            hearing.add_done_callback(lambda _: self._wake.set())
            try:
                await self._talk(client, hearing)
            finally:
                self._counts.connected -= 1
                hearing.cancel()
                await asyncio.wait([hearing])

    async def _greet(self, client: aiomqtt.Client) -> None:
        # Subscribed before it says that it is online: what waits for that must not be missed.
        commands = wire.topic(self._device.key, wire.CMD, "#")
        granted = await client.subscribe(commands, qos=1)
        if any((code if isinstance(code, int) else code.value) >= _REFUSED for code in granted):
            raise aiomqtt.MqttError(f"the broker does not let it subscribe to {commands}")
        for publish in self._device.firmware.hello():
            await _publish(client, publish)

    async def _talk(self, client: aiomqtt.Client, hearing: asyncio.Task[None]) -> None:
        while not hearing.done():
            self._wake.clear()
            await self._catch_up(client)
            if self._device.away:
                await self._leave(client, hearing)
                return
            if self._ending:
                await _publish(client, self._device.firmware.will())
                return
            await self._pause(self._device.wake_at())
        hearing.result()

    async def _catch_up(self, client: aiomqtt.Client) -> None:
        """Send everything that is to be sent now."""
        lost = self._device.firmware.lost
        self._device.advance(time.time())
        self._counts.lost += self._device.firmware.lost - lost
        while (self._device.away is None) and (send := self._device.next(time.time())):
            await _publish(client, send.publish)
            self._device.done(send)
            self._count(send)

    def _count(self, send: Send) -> None:
        self._counts.answers += send.what == "answer"
        self._counts.frames += send.frames if send.what == "frames" else 0
        self._counts.doubles += send.what == "double"
        self._counts.bad += send.what == "bad"

    async def _leave(self, client: aiomqtt.Client, hearing: asyncio.Task[None]) -> None:
        away = self._device.away
        if away and away.polite:
            await _publish(client, self._device.firmware.will())
            return
        vanish(client)
        # Until the client has noticed: it would else try to disconnect in good order.
        await asyncio.wait([hearing])

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            hear = self._device.firmware.hear
            self._counts.commands += hear(message.topic.value, message.payload, retained=message.retain)
            self._wake.set()

    async def _pause(self, until: float) -> None:
        """Wait for an instant, or until there is something to do before."""
        delay = until - time.time()
        if delay <= 0:
            return
        alarm = asyncio.get_running_loop().call_later(delay, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()
        self._wake.clear()


def vanish(client: aiomqtt.Client) -> None:
    """Cut the connection without a word, as a lost network does: the broker then publishes the last will."""
    sock = client._client.socket()  # noqa: SLF001  aiomqtt has no such way out; a test of the last will pins it
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


async def _publish(client: aiomqtt.Client, publish: Publish) -> None:
    await client.publish(publish.topic, publish.payload, qos=1, retain=publish.retain)
