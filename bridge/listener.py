"""The way in: hear the broker, store, acknowledge, tell. In this order, always."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from django.conf import settings
from django.db import Error as DatabaseError

from bridge import holding, mqtt
from bridge.lead import Alone, Fence
from bridge.limits import Limits
from bridge.threads import Threads, now_ms
from devices import telemetry
from devices.batch import Batch, Rejected, sort
from devices.dialects import native
from devices.intake import Stored, store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bridge.book import Book
    from devices import wire

logger = logging.getLogger(__name__)

# One commit takes at most this many messages: half of what Mosquitto lets be in flight.
MOST: Final = 1000
RETRY_S: Final = 1.0


class Listener:
    """Keeps the incoming connection. `take` is one step; `run` repeats it until `stop`."""

    def __init__(
        self,
        url: mqtt.MqttUrl,
        client_id: str,
        book: Book,
        tell: Callable[[Stored], Awaitable[None]],
        lead: Fence | None = None,
    ) -> None:
        """Prepare; `tell` is called with what was stored, once that is acknowledged; `lead`: None: nobody else is."""
        self.url = url
        self.client_id = client_id
        # Set once the broker has taken our subscription for the first time.
        self.ready = asyncio.Event()
        self.inbound: mqtt.Inbound | None = None
        # From when on (ms) a device that was not heard has sent nothing; before, it may have.
        self._hearing_since = 0
        # What cannot be stored at this moment.
        self.holding: holding.Holding | None = None
        # Set with each change of `hearing` and `holding`.
        self.changed = asyncio.Event()
        self._book = book
        self._tell = tell
        self._lead = lead or Alone()
        self._left_at: int | None = None
        # The term in which the connection was made.
        self._term = self._lead.term
        self._limits = Limits(settings.HUB_RATE, settings.HUB_BURST)
        self._stopping = asyncio.Event()
        # A thread of its own: page views and ingest do not wait for each other in the one-process demo.
        self._thread = Threads("bridge-store", 1)

    @property
    def hearing(self) -> bool:
        """Whether the broker reaches us now."""
        return self.inbound is not None

    @property
    def hearing_since(self) -> int | None:
        """From when on whatever devices sent has been stored (ms); None: it is not now."""
        return None if self.inbound is None or self.holding else self._hearing_since

    def stop(self) -> None:
        """Have `run` store what has been read already, and return."""
        self._stopping.set()
        if self.inbound is not None:
            self.inbound.finish()

    def abandon(self) -> None:
        """Wait for nothing: `run` was cancelled."""
        self._thread.abandon()

    async def run(self) -> None:
        """Hear the broker, again and again, until told to stop."""
        while not self._stopping.is_set():
            try:
                await self._hear()
            except mqtt.DisconnectedError as error:
                logger.warning("the broker is away (%s); connecting again", error)
                await self._pause()
        self._thread.end()

    async def _hear(self) -> None:
        if (term := self._lead.term) is None:
            await self._pause()
            return
        self._term = term
        try:
            away_ms = now_ms() - await self._left()
        except DatabaseError as error:
            logger.warning("the database is away (%s); trying again", error)
            await self._pause()
            return
        try:
            async with mqtt.Inbound(self.url, self.client_id, away_ms) as inbound:
                self._hears(inbound)
                subscribing = asyncio.create_task(self._subscribe(inbound), name="bridge subscribes")
                try:
                    while not self._ending and (messages := await inbound.receive(MOST)):
                        await self.take(inbound, messages)
                    await self._empty(inbound)
                finally:
                    subscribing.cancel()
        finally:
            if self.inbound is not None:
                self._left_at = now_ms()
            self._hears(None)

    async def _left(self) -> int:
        """Tell when somebody heard the broker for us last (ms): we ourselves, or whoever stored the newest frame."""
        if self._left_at is None:
            self._left_at = await self._thread.run(telemetry.newest_arrival) or now_ms()
        return self._left_at

    async def _subscribe(self, inbound: mqtt.Inbound) -> None:
        # Beside the messages: what the session has in flight comes first, and has to be stored for the rest to come.
        try:
            await inbound.subscribe(native.filters(settings.BRIDGE_SHARE))
            if settings.BRIDGE_SHARE:
                await inbound.unsubscribe(native.FILTERS)  # a session remembers what it was subscribed to before
        except mqtt.DisconnectedError as error:
            inbound.fail(error)
        else:
            self._hears(inbound)
            logger.info("listening to %r as %s", self.url, self.client_id)
            self.ready.set()

    def _hears(self, inbound: mqtt.Inbound | None) -> None:
        self.inbound = inbound
        self._hearing_since = now_ms()
        self.changed.set()

    @property
    def _ending(self) -> bool:
        return self._stopping.is_set() or self._outlived

    @property
    def _outlived(self) -> bool:
        """Whether another term began on this connection: another bridge may have led, and stored, in between."""
        return self._lead.term not in (None, self._term)

    async def _empty(self, inbound: mqtt.Inbound) -> None:
        """Take what was read and not stored yet: QoS 0 would be lost, QoS 1 delayed."""
        inbound.finish()
        while messages := await inbound.receive(MOST):
            if not await self.take(inbound, messages):
                return

    async def take(self, inbound: mqtt.Inbound, messages: Sequence[wire.Message]) -> bool:
        """Take one batch: store it (however long the database is away), acknowledge, tell. False: told to stop."""
        try:
            stored = await self._stored(inbound, messages)
        finally:
            if self.holding or len(messages) + inbound.waiting >= MOST:
                # There was more than one commit takes: what a device sent may still wait.
                self._hearing_since = now_ms()
            self._holds(None)
        if stored is None:
            return False
        await self._tell(stored)
        return True

    async def _stored(self, inbound: mqtt.Inbound, messages: Sequence[wire.Message]) -> Stored | None:
        since = now_ms()
        within, limited = self._within(inbound, messages)
        while True:
            fence = self._fence()
            if self._outlived:
                # It comes again on the next connection, with the DUP flag. QoS 0 does not, and came to us alone.
                messages, within = [[one for one in some if not one.qos] for some in (messages, within)]
                limited = [one for one in limited if not one.message.qos]
            try:
                batch = await self._sorted(within)
                batch.limited = limited
                stored = await self._thread.run(store, batch, now_ms(), fence)
            except DatabaseError as error:
                logger.warning("cannot store %d messages (%s); holding them unacknowledged", len(messages), error)
                self._holds(holding.Holding(since, len(messages) + inbound.waiting, holding.because(error)))
            else:
                inbound.ack(messages)
                if inbound.caught_up:
                    self._limits.charge(batch.origins, self._book.directory)
                return stored
            await self._pause()
            if self._stopping.is_set():
                return None
            # The commit may have happened and only its answer been lost: each may be a repetition from now on.
            within = [msgspec.structs.replace(message, dup=True) for message in within]

    def _fence(self) -> Callable[[], None]:
        """Bind a batch to this term: should another one begin on its way to the transaction, it is refused."""
        term = self._lead.term
        return lambda: self._lead.fence(term)

    def _holds(self, what: holding.Holding | None) -> None:
        if (what is None) != (self.holding is None) or (what and self.holding and what.because != self.holding.because):
            self.changed.set()
        self.holding = what

    async def _sorted(self, messages: Sequence[wire.Message]) -> Batch:
        batch = sort(messages, native.read, self._book.directory)
        if batch.stranger:
            await self._book.reload()
            batch = sort(messages, native.read, self._book.directory)
        return batch

    def _within(
        self, inbound: mqtt.Inbound, messages: Sequence[wire.Message]
    ) -> tuple[Sequence[wire.Message], list[Rejected]]:
        """Set apart what is over its device's limits. What the broker kept while we were away is no flood."""
        if not inbound.caught_up:
            return messages, []
        return self._limits.split(messages, self._book.directory)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), RETRY_S)
