"""The way out: claim commands, publish them, note what became of that, and never more than was proved.

Batched by nature: a claim takes what was rung for while the last one ran, a note what the broker answered while the
last note ran. None waits for another's answer; those of one device go out in the order of their issue.
"""

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
    from collections.abc import Sequence

    from bridge.threads import Threads
    from devices.dialects import Order, Publish

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
# Stands for "look whose can be sent" among the devices that were rung for.
WHICHEVER: Final = ""
# Commands whose publish the broker has not answered yet. As many as the client library has in flight by itself: what it
# kept back would be in doubt, too, when the connection breaks.
WINDOW: Final = 20
# Devices that one claim asks about.
DEVICES: Final = 500


class Sender:
    """Keeps the outgoing connection. `claim`, `fly` and `note` are steps; `run` repeats them until `stop`."""

    def __init__(self, url: mqtt.MqttUrl, client_id: str, threads: Threads) -> None:
        """Prepare."""
        self.url = url
        self.client_id = client_id
        self.outbound: mqtt.Outbound | None = None
        self._threads = threads
        self._rung: dict[str, None] = {}
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._flying = 0
        self._landed = asyncio.Event()
        # Whether the broker has refused something since somebody last rang: then it is not asked again at once.
        self._refused = False
        self._noting = asyncio.Lock()
        # What is known of publishes, and not noted yet: the broker has them; it has not; nobody knows.
        self._sent: list[Order] = []
        self._unsent: list[Order] = []
        self._lost: list[Order] = []

    def ring(self, device: str = WHICHEVER) -> None:
        """Have a device's commands sent, or look whose can be: a doorbell may have been lost, an answer be missing."""
        self._rung[device] = None
        self._refused = False
        self._news.set()

    def stop(self) -> None:
        """Have `run` finish what is being sent, and return."""
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
        async with asyncio.TaskGroup() as flights:
            while self._may_send(outbound):
                await self._news.wait()
                self._news.clear()
                while self._rung and self._may_send(outbound):
                    if orders := await self.claim():
                        flights.create_task(self.fly(outbound, orders))
                await self.note()

    def _may_send(self, outbound: mqtt.Outbound) -> bool:
        return outbound.is_open and not self._stopping.is_set()

    async def claim(self) -> list[Order]:
        """Take what waits of some who were rung for, as much as the window has room for."""
        while self._flying >= WINDOW:
            self._landed.clear()
            await self._landed.wait()
        if not self.connected or self._stopping.is_set():
            return []  # found by `run` once there is a connection, which looks for whichever
        devices, room = self._next(), WINDOW - self._flying
        try:
            orders = await self._threads.run(commands.claim, devices, now_ms(), room)
        except DatabaseError as error:
            logger.warning("commands wait for the database (%s)", error)  # the sweep rings again
            return []
        if len(orders) == room and not self._refused:
            # There may be more; it is their turn again after everybody else's.
            self._rung |= dict.fromkeys(devices or {WHICHEVER})
        self._flying += len(orders)
        return orders

    def _next(self) -> frozenset[str] | None:
        """Take who is next of those who were rung for; None: whoever it is."""
        some = list(self._rung)[:DEVICES]
        if WHICHEVER in some:
            some = some[: some.index(WHICHEVER)] or [WHICHEVER]
        for device in some:
            del self._rung[device]
        return None if some == [WHICHEVER] else frozenset(some)

    async def fly(self, outbound: mqtt.Outbound, orders: Sequence[Order]) -> None:
        """Publish what was claimed, one behind the other, and note what becomes of each."""
        await asyncio.gather(*(self._publish(outbound, order) for order in orders))

    async def _publish(self, outbound: mqtt.Outbound, order: Order) -> None:
        try:
            await _hand_over(outbound, order)
        except mqtt.NotSentError as error:
            logger.info("command %s is not sent yet: %s", order.cid, error)
            self._unsent.append(order)
            self._refused = True
        except mqtt.UnsureError:
            self._lost.append(order)
        else:
            self._sent.append(order)
        finally:
            self._flying -= 1
            self._landed.set()
        await self.note()

    async def note(self) -> None:
        """Write down what is known by now; once for all whose answer came while others were written down."""
        async with self._noting:
            await asyncio.sleep(0)  # for those whose answer came in the same moment
            sent, self._sent = self._sent, []
            unsent, self._unsent = self._unsent, []
            lost, self._lost = self._lost, []
            try:
                if sent:
                    await self._threads.run(commands.sent, sent, now_ms())
                if lost:
                    await self._threads.run(commands.lost, lost, now_ms())
                if unsent:
                    await self._threads.run(commands.unsent, unsent, now_ms())
            except DatabaseError as error:
                # Noted later, unless its answer settles it first. Who was not given back stays claimed: whether it was
                # given back nobody knows, and twice would be once too often.
                logger.warning("what was sent is noted once the database is back (%s)", error)
                self._sent += sent
                self._lost += lost


async def _hand_over(outbound: mqtt.Outbound, order: Order) -> None:
    """Return once the broker has it. Nothing goes out after its end."""
    left_ms = order.expires_at - now_ms()
    if left_ms <= 0:
        raise mqtt.NotSentError("its time is over")
    if not outbound.is_open:
        raise mqtt.NotSentError("not connected")
    publish = native.encode(order)
    # Rounded down: a broker that keeps it for a sleeper hands it over before its end, or not at all.
    left_s = left_ms // 1000
    await outbound.publish(publish.topic, publish.payload, qos=publish.qos, retain=publish.retain, expiry_s=left_s)
