"""The bridge: listens to the broker, stores, announces; relays what the groups say; sweeps.

Each step is a method that a test can call once; the loops around them hold no decisions. What is heard is `listener`'s
business, what is sent `sender`'s, who is registered `book`'s; the worker is the member of the groups.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from django.db import Error as DatabaseError

from bridge.anchor import Anchor
from bridge.announcer import Announcer
from bridge.book import Book, OpenAccounts
from bridge.desired import Desired
from bridge.listener import Listener
from bridge.notices import Notices
from bridge.relay import Relay
from bridge.sender import Sender
from bridge.tally import Tally
from bridge.threads import Threads, now_ms
from bridge.upkeep import Upkeep
from devices import commands, groups, standing, telemetry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge import mqtt
    from bridge.lead import Fence
    from devices.intake import Stored

__all__ = ["OpenAccounts", "Worker"]

logger = logging.getLogger(__name__)

SWEEP_S: Final = 1.0
SLOW_SWEEP_S: Final = 5.0
# Web processes call a bridge that was not heard of for 15 s gone.
PULSE_S: Final = 5.0
RECONCILE_S: Final = 60.0
RETRY_S: Final = 1.0
# Storing what was read and finishing one publish take moments; whoever waits for the database does not hold the end.
DRAIN_S: Final = 12.0


class Worker:
    """One bridge while it is on duty. `accounts`: see Book; `lead`: the lock that we have, if there is one."""

    def __init__(
        self,
        url: mqtt.MqttUrl,
        *,
        name: str = "main",
        accounts: OpenAccounts | None = None,
        lead: Fence | None = None,
    ) -> None:
        """Prepare; `run` works until it is cancelled, or until `stopping` is set."""
        self.name = name
        # No device can be called so: keys have no upper-case letters. Not even to throw us out by our client id.
        client_id = f"Bridge-{url.username or 'hub'}-{name}"
        self.threads = Threads("bridge", 2)
        self.book = Book(accounts, self.threads)
        self.relay = Relay()
        self.tally = Tally(now_ms())
        self.announcer = Announcer(self._summaries, self.tally)
        self.listener = Listener(url, f"{client_id}-in", self.book, self.tell, lead)
        self.sender = Sender(url, f"{client_id}-out", self.threads)
        self.desired = Desired(self.sender, self.threads)
        self.notices = Notices()
        self.anchor = Anchor()
        self.stopping = asyncio.Event()
        # Set once we hear what is said in the groups: a `watch` before that would be lost.
        self._in_groups = asyncio.Event()
        self._registry_news = asyncio.Event()

    @property
    def ready(self) -> asyncio.Event:
        """Set once the broker lets devices in and we hear them."""
        return self.listener.ready

    # -- life

    async def run(self) -> None:
        """Work until `stopping` is set; then finish what was begun and return. A bug ends it loudly."""
        try:
            await self._work()
        except asyncio.CancelledError:
            # Another bridge goes on. What our threads are doing they may not commit any more: nobody waits for them.
            self.listener.abandon()
            self.threads.abandon()
            raise
        self.threads.end()

    async def _work(self) -> None:
        await self._patiently(self.reload)
        with suppress(Exception):  # the task for it will say what is wrong, and try again
            await self.book.bring_accounts_up_to_date(whole=True)
        async with asyncio.TaskGroup() as tasks:
            lossless = [
                tasks.create_task(self.listener.run(), name="bridge listen"),
                tasks.create_task(self.sender.run(), name="bridge send"),
            ]
            others = [
                tasks.create_task(self._relay(), name="bridge relay"),
                tasks.create_task(self._sweep(), name="bridge sweep"),
                tasks.create_task(self._pulsate(), name="bridge pulse"),
                tasks.create_task(self._keep_accounts(), name="bridge accounts"),
                tasks.create_task(self.announcer.run(), name="bridge announce"),
                tasks.create_task(self.desired.run(), name="bridge desired"),
                tasks.create_task(self.notices.run(lambda: self.book.directory, self.sender), name="bridge notices"),
                tasks.create_task(Upkeep(self.threads).run(), name="bridge upkeep"),
            ]
            await self.stopping.wait()
            self.listener.stop()
            self.sender.stop()
            await asyncio.wait(lossless, timeout=DRAIN_S)
            for task in [*lossless, *others]:
                task.cancel()

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step that needs the database, again and again while that is away."""
        while not self.stopping.is_set():
            try:
                await step()
            except DatabaseError as error:
                logger.warning("the database is away (%s); trying again", error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), RETRY_S)
            else:
                return

    # -- in: what the listener has stored

    async def tell(self, stored: Stored) -> None:
        """Announce what was stored, where somebody watches; states always. Tell devices what became of their frames."""
        now = time.monotonic()
        self.tally.add(stored)
        self.notices.put(stored.receipts, stored.rejects)
        for message in stored.announcements:
            entry = self.book.directory.get(str(message.get("device", "")))
            self.announcer.put(message, entry.fleet if entry else None, now)
            if message["type"] == "device.state" and message["presence"] == "online":
                self.sender.ring()
                self.desired.ring(message["device"])

    async def _summaries(self, keys: list[str]) -> dict[str, dict[str, object]]:
        return await self.threads.run(telemetry.summaries, keys)

    # -- the groups: a method for each type of message

    async def _relay(self) -> None:
        await self.relay.open()
        await self._join()
        self._in_groups.set()
        while True:
            await self.relay_one(await self.relay.receive())

    async def relay_one(self, message: dict[str, Any]) -> None:
        """Take one group message."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    async def device_watch(self, message: groups.Watch) -> None:
        """Announce this device's frames from now on."""
        self.announcer.watch(message["device"], time.monotonic())

    async def fleet_watch(self, message: groups.FleetWatch) -> None:
        """Announce this fleet's summaries from now on."""
        self.announcer.watch_fleet(message["fleet"], time.monotonic())

    async def device_order(self, message: groups.Order) -> None:
        """Send a command, if it is not another bridge's already."""
        self.sender.ring(message["command"])

    async def device_settings(self, message: groups.Settings) -> None:
        """Tell a device what it shall keep to, if it does not know yet."""
        self.desired.ring(message["device"])

    async def registry_changed(self, _message: groups.Registered) -> None:
        """Read the registry again, and bring the broker's accounts up to date."""
        self._registry_news.set()

    async def device_frames(self, message: groups.Frames) -> None:
        """Ignore: our own echo."""

    async def device_state(self, message: groups.State) -> None:
        """Ignore: our own echo, or the sweep's."""

    async def device_command_state(self, message: groups.CommandState) -> None:
        """Ignore: said to watchers."""

    async def fleet_summary(self, message: groups.Summary) -> None:
        """Ignore: our own echo."""

    async def hub_pulse(self, message: groups.Pulse) -> None:
        """Ignore: said to web processes."""

    # -- sweep

    async def _sweep(self) -> None:
        slow_at = float("-inf")
        while True:
            await asyncio.sleep(SWEEP_S)
            slow = time.monotonic() - slow_at >= SLOW_SWEEP_S
            try:
                await self.sweep_once(slow=slow)
            except DatabaseError as error:
                logger.warning("the sweep waits for the database (%s)", error)
            else:
                slow_at = time.monotonic() if slow else slow_at

    async def sweep_once(self, *, slow: bool) -> None:
        """Heal: expire commands, send those whose doorbell was lost; less often presence, settings, audit, registry."""
        await self.threads.run(commands.sweep, now_ms())
        self.sender.ring()
        if slow:
            await self.threads.run(standing.sweep, now_ms(), self.listener.hearing_since)
            await self.threads.run(self.anchor.drop)
            self.desired.look()
            self._registry_news.set()

    # -- the pulse

    async def _pulsate(self) -> None:
        # Web processes ring `watch` for everything when they hear of a new duty.
        with suppress(TimeoutError):
            async with asyncio.timeout(PULSE_S):
                await self._in_groups.wait()
        while True:
            self.listener.changed.clear()
            await groups.announce(self.pulse())
            # Not wait_for: in Python 3.11 it loses a cancellation that comes together with the change.
            with suppress(TimeoutError):
                async with asyncio.timeout(PULSE_S):
                    await self.listener.changed.wait()

    def pulse(self) -> groups.Pulse:
        """Say how we are."""
        holding = self.listener.holding
        return {
            "type": "hub.pulse",
            "bridge": self.name,
            "began": self.tally.began,
            "counts": self.tally.told(self.announcer.waiting),
            "hearing": self.listener.hearing,
            "holding_since": holding.since if holding else None,
            "held": holding.held if holding else 0,
            "because": holding.because if holding else "",
            "at": now_ms(),
        }

    # -- the registry, and the broker's accounts

    async def reload(self) -> None:
        """Read the registry, and join the groups of devices that are new in it."""
        await self.book.reload()
        await self._join()

    async def _join(self) -> None:
        wanted = {groups.device_group(key) for key in self.book.directory}
        await self.relay.join(wanted | {groups.fleet_group(entry.fleet) for entry in self.book.directory.values()})

    async def _keep_accounts(self) -> None:
        reconciled_at = time.monotonic() if self.book.known is not None else float("-inf")
        while True:
            whole = time.monotonic() - reconciled_at >= RECONCILE_S
            try:
                await self.reload()
                if not await self.book.bring_accounts_up_to_date(whole=whole):
                    self._registry_news.set()
            except Exception as error:  # noqa: BLE001  brokers fail in many ways, databases in one: look again
                logger.warning("cannot bring the broker's accounts up to date: %s; trying again", error)
                reconciled_at = float("-inf")
                await asyncio.sleep(RETRY_S)
                continue
            reconciled_at = time.monotonic() if whole else reconciled_at
            await self._registry_news.wait()
            self._registry_news.clear()
