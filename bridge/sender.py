"""The way out: claim a command, publish it, note what became of that, and never more than was proved."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from django.db import Error as DatabaseError

from bridge import mqtt
from bridge.threads import now_ms
from devices import commands
from devices.dialects import native

if TYPE_CHECKING:
    from bridge.threads import Threads
    from devices.dialects import Order, Publish

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
# Stands for "look which ones can be sent" among the commands that were rung for.
WHICHEVER: Final = ""


class Sender:
    """Keeps the outgoing connection. `send` is one step; `run` repeats it until `stop`."""

    def __init__(self, url: mqtt.MqttUrl, client_id: str, threads: Threads) -> None:
        """Prepare."""
        self.url = url
        self.client_id = client_id
        self.outbound: mqtt.Outbound | None = None
        self._threads = threads
        self._rung: dict[str, None] = {}
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()

    def ring(self, cid: str = WHICHEVER) -> None:
        """Have one command sent, or look which ones can be: a doorbell may have been lost, a device have come."""
        self._rung[cid] = None
        self._news.set()

    def stop(self) -> None:
        """Have `run` finish the command that is being sent, and return."""
        self._stopping.set()
        self._news.set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to publish on."""
        return self.outbound is not None and self.outbound.is_open

    async def say(self, publish: Publish) -> None:
        """Publish what may get lost (QoS 0)."""
        if self.outbound is not None:
            with suppress(mqtt.NotSentError):
                await self.outbound.publish(publish.topic, publish.payload, qos=0, retain=False)

    async def run(self) -> None:
        """Keep the connection, and send what is rung for, until told to stop."""
        while not self._stopping.is_set():
            try:
                async with mqtt.outbound(self.url, self.client_id) as self.outbound:
                    self.outbound.when_closed(self._news.set)
                    self.ring()
                    await self._send_while_open(self.outbound)
            except mqtt.DisconnectedError as error:
                logger.warning("cannot publish (%s); connecting again", error)
            finally:
                self.outbound = None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RETRY_S)

    async def _send_while_open(self, outbound: mqtt.Outbound) -> None:
        while self._may_send(outbound):
            await self._news.wait()
            self._news.clear()
            # What is not sent of it, because the connection went away, is found by `run`, which looks for whichever.
            rung, self._rung = list(self._rung), {}
            for cid in rung:
                if self._may_send(outbound):
                    await self._send_patiently(cid)

    def _may_send(self, outbound: mqtt.Outbound) -> bool:
        return outbound.is_open and not self._stopping.is_set()

    async def _send_patiently(self, cid: str) -> None:
        try:
            await (self.send_waiting() if cid == WHICHEVER else self.send(cid))
        except DatabaseError as error:
            # A command that is claimed and not noted as sent becomes `unknown`, or its answer settles it.
            logger.warning("commands wait for the database (%s)", error)

    async def send_waiting(self) -> None:
        """Send every command that can be sent now."""
        for _, cid in await self._threads.run(commands.waiting, now_ms()):
            if self._stopping.is_set():
                return
            await self.send(cid)

    async def send(self, cid: str) -> None:
        """Claim one command and publish it."""
        if (outbound := self.outbound) is None:
            return
        order = await self._threads.run(commands.claim, cid, now_ms())
        if order is not None:
            await self._publish(outbound, order)

    async def _publish(self, outbound: mqtt.Outbound, order: Order) -> None:
        publish = native.encode(order)
        # Rounded down: a broker that keeps it for a sleeper hands it over before its end, or not at all.
        left_s = (order.expires_at - now_ms()) // 1000
        try:
            await outbound.publish(
                publish.topic, publish.payload, qos=publish.qos, retain=publish.retain, expiry_s=left_s
            )
        except mqtt.NotSentError as error:
            logger.info("command %s is not sent yet: %s", order.cid, error)
            await self._threads.run(commands.unsent, order.cid)
        except mqtt.UnsureError:
            await self._threads.run(commands.lost, order.cid, now_ms())
        else:
            await self._threads.run(commands.sent, order.cid, now_ms())
