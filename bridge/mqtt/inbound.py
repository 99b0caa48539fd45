"""The way in: what arrives is acknowledged when we say so, and not before.

aiomqtt acknowledges on arrival and hides packet ids; what is taken here from paho beneath it (private names, pinned by
tests/system/test_mqtt.py) is what "acknowledge after the commit" needs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

import aiomqtt

from bridge.mqtt import link
from bridge.mqtt.link import DisconnectedError
from devices import wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paho.mqtt.client import MQTTMessage

    from bridge.mqtt.address import MqttUrl

# Messages read but not yet stored. The broker bounds neither a flood of QoS 0 nor, while Mosquitto works off a queue,
# QoS 1 (see `subscribe`): beyond this the socket is left unread, and TCP slows the broker down.
BACKLOG: Final = 20_000
# Taken at once: a message of 64 KiB may be 8,000 frames, and a thousand of those more than fits into memory.
MOST_BYTES: Final = 1_048_576
# As many messages as mosquitto.conf has the broker keep. What comes on top is a flood, also when it never lets up.
MOST_KEPT: Final = 1_000_000
# Once nothing waits to be stored this long after connecting, what the broker had kept has come.
SETTLED_S: Final = 2.0


class Inbound:
    """One connection that listens, with a persistent session: what arrives is acknowledged when `ack` says so.

    An object is one generation of the connection: an acknowledgement can reach no other one.
    """

    def __init__(self, url: MqttUrl, client_id: str, away_ms: int = 0) -> None:
        """Prepare; `async with` connects. `away_ms`: for how long nobody was connected."""
        self._away_ms = away_ms
        # MQTT 3.1.1: 28 µs a message instead of 100 with MQTT 5.
        self._client = link.client(url, identifier=client_id, clean_session=False)
        self._paho = self._client._client
        self._paho.manual_ack_set(on=True)
        # Its log lines and its own way of finding callbacks cost a third of reading a message.
        self._paho.disable_logger()
        self._paho._handle_on_message = self._arrived  # type: ignore[method-assign]
        self._backlog: deque[wire.Message] = deque()
        self._news = asyncio.Event()
        self._paused = False
        self._finishing = False
        self._open = False
        self._failed: BaseException | None = None
        self._opened_at = 0.0
        # Whether nothing is left of what the broker kept while nobody listened.
        self.caught_up = False
        self._received = 0

    async def __aenter__(self) -> Self:
        """Connect; DisconnectedError says why not."""
        await link.connect(self._client)
        self._open = True
        self._opened_at = asyncio.get_running_loop().time()
        self._client._disconnected.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect. What was not acknowledged will be sent again to the next connection."""
        self._open = False
        with suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    async def subscribe(self, filters: Iterable[str]) -> None:
        """Listen to these filters with QoS 1. To be awaited beside `receive`, which raises what becomes of it.

        The broker's answer stands behind all that it has in flight for the session, which may be more than is read
        ahead: as soon as we acknowledge in order, Mosquitto 2.0.11 puts everything that waits in flight, whatever
        max_inflight_messages says, and sends all of it again to the next connection before it reads our request.
        """
        try:
            for filter_ in filters:
                if not await link.subscribe(self._client, filter_):
                    raise DisconnectedError(f"the broker does not let this account subscribe to {filter_}")
        except aiomqtt.MqttError as error:
            raise DisconnectedError(str(error)) from error

    async def unsubscribe(self, filters: Iterable[str]) -> None:
        """Listen to these filters no longer, should the session still do so."""
        try:
            for filter_ in filters:
                await self._client.unsubscribe(filter_)
        except aiomqtt.MqttError as error:
            raise DisconnectedError(str(error)) from error

    def fail(self, error: BaseException) -> None:
        """Have `receive` raise this."""
        self._failed = error
        self._news.set()

    @property
    def waiting(self) -> int:
        """How many messages have been read and not yet received."""
        return len(self._backlog)

    async def receive(self, limit: int) -> list[wire.Message]:
        """Wait for messages and take what is there, in order: at most `limit`, and about MOST_BYTES of them.

        None are left: after `finish` alone.
        """
        while not self._backlog:
            if self._finishing:
                return []
            if self._failed is not None:
                raise self._failed
            if self._client._disconnected.done():
                raise DisconnectedError("the broker closed the connection")
            self._news.clear()
            self.caught_up = self.caught_up or asyncio.get_running_loop().time() - self._opened_at >= SETTLED_S
            await self._news.wait()
        self.caught_up = self.caught_up or self._received >= MOST_KEPT
        taken = self._take(limit)
        self._received += len(taken)
        if self._paused and not self._finishing and len(self._backlog) < BACKLOG // 2:
            self._resume()
        return taken

    def _take(self, limit: int) -> list[wire.Message]:
        taken: list[wire.Message] = []
        size = 0
        while self._backlog and len(taken) < limit and size < MOST_BYTES:
            taken.append(self._backlog.popleft())
            size += len(taken[-1].payload)
        return taken

    def finish(self) -> None:
        """Read no more from the broker: `receive` gives what was read already, and then nothing."""
        self._finishing = True
        self._news.set()
        if not self._paused:
            self._pause()

    def ack(self, messages: Iterable[wire.Message]) -> None:
        """Acknowledge, in the order of arrival; nothing happens on a connection that is gone."""
        if not self._open or self._client._disconnected.done():
            return
        for message in messages:
            if message.qos:
                self._paho.ack(message.mid, message.qos)

    def _arrived(self, message: MQTTMessage) -> None:
        self._backlog.append(
            wire.Message(
                topic=message._topic.decode(errors="replace"),
                payload=bytes(message.payload),
                received_at=time.time_ns() // 1_000_000,
                qos=message.qos,
                retain=message.retain,
                dup=message.dup,
                mid=message.mid,
                away_ms=self._away_ms if message.dup else 0,
            ),
        )
        self._news.set()
        if len(self._backlog) >= BACKLOG and not self._paused:
            self._pause()

    def _pause(self) -> None:
        if (socket := self._paho.socket()) is not None:
            self._paused = True
            asyncio.get_running_loop().remove_reader(socket.fileno())

    def _resume(self) -> None:
        self._paused = False
        if (socket := self._paho.socket()) is not None:
            asyncio.get_running_loop().add_reader(socket.fileno(), self._read)
            asyncio.get_running_loop().call_soon(self._read)

    def _read(self) -> None:
        try:
            self._paho.loop_read()
            # What TLS has decoded already does not make the socket readable again.
            while (socket := self._paho.socket()) is not None and getattr(socket, "pending", int)():
                self._paho.loop_read()
        except Exception as error:  # noqa: BLE001  as aiomqtt's own reader: whatever it is, the connection is over
            if not self._client._disconnected.done():
                self._client._disconnected.set_exception(error)
