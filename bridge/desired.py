"""What devices shall keep to: told to those that are awake when it changes, when they come, and until they answer.

What is due, the database says (devices.desired); here it is published, and noted once the broker has it. Several
bridges may tell the same: it is a state, and harms nobody.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from django.db import Error as DatabaseError

from bridge import mqtt
from bridge.threads import now_ms
from devices import desired
from devices.dialects import native

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.sender import Sender
    from bridge.threads import Threads

logger = logging.getLogger(__name__)


class Desired:
    """Publishes on the sender's connection. `tell` is one step; `run` repeats it."""

    def __init__(self, sender: Sender, threads: Threads) -> None:
        """Have nothing to look for."""
        self._sender = sender
        self._threads = threads
        self._rung: set[str] = set()
        self._whoever = False
        self._news = asyncio.Event()

    def ring(self, key: str) -> None:
        """Look at a device of which something is wanted, or that has come."""
        self._rung.add(key)
        self._news.set()

    def look(self) -> None:
        """Look at all devices: for doorbells that were lost, and for those that do not answer."""
        self._whoever = True
        self._news.set()

    async def run(self) -> None:
        """Tell what is due whenever it rings, for ever. Without a connection the next look finds it."""
        while True:
            await self._news.wait()
            self._news.clear()
            keys, self._rung = self._rung, set()
            whoever, self._whoever = self._whoever, False
            try:
                if self._sender.connected and await self.tell(None if whoever else keys) == desired.AT_ONCE:
                    self.look()
            except DatabaseError as error:
                logger.warning("what devices shall keep to waits for the database (%s)", error)

    async def tell(self, keys: Collection[str] | None) -> int:
        """Publish what is due (for these devices); return how many devices the broker has it for."""
        due = await self._threads.run(desired.due, now_ms(), keys)
        taken = await asyncio.gather(*(self._publish(one) for one in due))
        told = [one for one, there in zip(due, taken, strict=True) if there]
        if told:
            await self._threads.run(desired.sent, told, now_ms())
        return len(told)

    async def _publish(self, one: desired.Difference) -> bool:
        """Publish what one device has to be told; whether the broker has all of it."""
        outbound = self._sender.outbound
        if outbound is None:
            return False
        try:
            for publish in native.desired(one.device, one.gateway, one.version, one.values, one.since):
                await outbound.publish(publish.topic, publish.payload, qos=publish.qos, retain=publish.retain)
        except (mqtt.NotSentError, mqtt.UnsureError) as error:
            logger.info("what %s shall keep to is not sent yet: %s", one.device, error)
            return False
        return True
