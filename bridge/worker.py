"""The bridge: listens to the broker, stores, announces; relays what the groups say; sweeps.

Each step is a method that a test can call once; `run` only repeats them. Store, then acknowledge, then announce.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import Error as DatabaseError
from django.db import close_old_connections

from bridge import mqtt
from bridge.accounts import Account, Accounts
from bridge.announcer import Announcer
from bridge.batch import Batch, sort
from bridge.store import Stored, store
from devices import commands, groups, registry, telemetry
from devices.dialects import native

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# One commit takes at most this many messages: half of what Mosquitto lets be in flight.
MOST: Final = 1000
SWEEP_S: Final = 1.0
SLOW_SWEEP_S: Final = 5.0
RECONCILE_S: Final = 60.0
RETRY_S: Final = 1.0

OpenAccounts = Callable[[], AbstractAsyncContextManager[Accounts]]


def now_ms() -> int:
    """Return the time as everything stores it."""
    return time.time_ns() // 1_000_000


class Worker:
    """One bridge. `accounts` opens the broker's accounts, or is None where they are not ours to keep."""

    def __init__(self, url: mqtt.MqttUrl, *, name: str = "main", accounts: OpenAccounts | None = None) -> None:
        """Prepare; `run` works until it is cancelled, or until `stop` drains it."""
        self.url = url
        # No device can be called so: keys have no upper-case letters. Not even to throw us out by our client id.
        self.client_id = f"Bridge-{url.username or 'hub'}-{name}"
        self.accounts = accounts
        self.directory: dict[str, registry.Entry] = {}
        self.known: dict[str, int] | None = None
        self.joined: set[str] = set()
        self.announcer = Announcer(self._summaries)
        self.outbound: mqtt.Outbound | None = None
        self.channel = ""
        self.stopping = asyncio.Event()
        # Set once the broker lets devices in and we hear them.
        self.ready = asyncio.Event()
        self._registry_news = asyncio.Event()
        self._orders: asyncio.Queue[str] = asyncio.Queue()
        # The store's own thread: page views and ingest do not wait for each other in the one-process demo.
        self._store_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bridge-store")
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bridge")

    async def _in_thread(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a service in a thread, with the care that connections of long-lived threads need."""

        def careful() -> R:
            close_old_connections()
            try:
                return work(*args, **kwargs)
            finally:
                close_old_connections()

        return await sync_to_async(careful, thread_sensitive=False, executor=self._threads)()

    # -- life

    async def run(self) -> None:
        """Work until `stopping` is set; then finish what was begun and return. A bug ends it loudly."""
        await self._patiently(self.reload)
        with suppress(Exception):  # the task for it will say what is wrong, and try again
            await self.accounts_once(whole=True)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(self._listen(), name="bridge listen"),
                tasks.create_task(self._relay(), name="bridge relay"),
                tasks.create_task(self._publish(), name="bridge publish"),
                tasks.create_task(self._sweep(), name="bridge sweep"),
                tasks.create_task(self._keep_accounts(), name="bridge accounts"),
                tasks.create_task(self.announcer.run(), name="bridge announce"),
            ]
            await self.stopping.wait()
            # The listener ends by itself, between two commits; the others have nothing that could be lost.
            await work[0]
            for task in work[1:]:
                task.cancel()
        self._store_thread.shutdown()
        self._threads.shutdown()

    async def stop(self) -> None:
        """Ask `run` to drain and return."""
        self.stopping.set()

    async def _patiently(self, step: Callable[[], Any]) -> None:
        """Take a step that needs the database, again and again while that is away."""
        while not self.stopping.is_set():
            try:
                await step()
            except DatabaseError as error:
                logger.warning("the database is away (%s); trying again", error)
                await self._pause(RETRY_S)
            else:
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    # -- in: listen, store, acknowledge, announce

    async def _listen(self) -> None:
        while not self.stopping.is_set():
            try:
                async with mqtt.Inbound(self.url, f"{self.client_id}-in") as inbound:
                    await inbound.subscribe(native.FILTERS)
                    logger.info("listening to %r as %s", self.url, self.client_id)
                    self.ready.set()
                    while (messages := await self._next(inbound)) is not None:
                        await self.take(inbound, messages)
            except mqtt.DisconnectedError as error:
                if not self.stopping.is_set():
                    logger.warning("the broker is away (%s); connecting again", error)
                    await self._pause(RETRY_S)

    async def _next(self, inbound: mqtt.Inbound) -> list[Any] | None:
        """Wait for messages, or for the end."""
        receive = asyncio.ensure_future(inbound.receive(MOST))
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait([receive, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not receive.done():
                receive.cancel()
        return None if not receive.done() or self.stopping.is_set() else receive.result()

    async def take(self, inbound: mqtt.Inbound, messages: list[Any]) -> None:
        """Take one batch: store it (however long the database is away), acknowledge, announce."""
        batch = await self._sorted(messages)
        while True:
            try:
                stored = await self._store(batch)
                break
            except DatabaseError as error:
                logger.warning("cannot store %d messages (%s); holding them unacknowledged", len(messages), error)
                await self._pause(RETRY_S)
                if self.stopping.is_set():
                    return
        inbound.ack(messages)
        await self.tell(stored)

    async def _sorted(self, messages: list[Any]) -> Batch:
        batch = sort(messages, native.read, self.directory)
        if batch.stranger:
            await self._patiently(self.reload)
            batch = sort(messages, native.read, self.directory)
        return batch

    async def _store(self, batch: Batch) -> Stored:
        return await sync_to_async(store, thread_sensitive=False, executor=self._store_thread)(batch, now_ms())

    async def tell(self, stored: Stored) -> None:
        """Announce what was stored, where somebody watches; states always, and what they let go ahead."""
        now = time.monotonic()
        for message in stored.announcements:
            key = message.get("device", "")
            entry = self.directory.get(str(key))
            self.announcer.put(message, entry.fleet if entry else None, now)
            if message["type"] == "device.state":
                await groups.announce(message)
                if message["presence"] == "online":
                    self.ring()

    async def _summaries(self, keys: list[str]) -> dict[str, dict[str, object]]:
        return await self._in_thread(telemetry.summaries, keys)

    # -- out: relay, claim, publish

    async def _relay(self) -> None:
        layer = get_channel_layer()
        self.channel = await self._open_channel()
        await self._join_all()
        while True:
            await self.relay_one(await layer.receive(self.channel))

    async def _open_channel(self) -> str:
        """Open our channel; without the layer commands wait for the sweep, and nothing else does."""
        layer = get_channel_layer()
        while True:
            try:
                channel: str = await layer.new_channel("bridge")
                await layer.group_add(groups.REGISTRY, channel)
            except Exception as error:  # noqa: BLE001  whatever the layer raises: it is away
                logger.warning("the channel layer is away (%s); trying again", error)
                await asyncio.sleep(RETRY_S)
            else:
                return channel

    async def relay_one(self, message: dict[str, Any]) -> None:
        """Take one group message: there is a method for each type."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    async def device_watch(self, message: groups.Watch) -> None:
        """Announce this device's frames from now on."""
        self.announcer.watch(message["device"], time.monotonic())

    async def fleet_watch(self, message: groups.FleetWatch) -> None:
        """Announce this fleet's summaries from now on."""
        self.announcer.watch_fleet(message["fleet"], time.monotonic())

    async def device_order(self, message: groups.Order) -> None:
        """Send a command, if it is not another bridge's already."""
        self.ring(message["command"])

    async def registry_changed(self, message: groups.Registered) -> None:
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

    async def _publish(self) -> None:
        """Keep the outgoing connection, and send the commands that the doorbell tells of."""
        while True:
            try:
                async with mqtt.outbound(self.url, f"{self.client_id}-out") as self.outbound:
                    self.ring()
                    await self._send_until_closed(self.outbound)
            except mqtt.DisconnectedError as error:
                logger.warning("cannot publish (%s); connecting again", error)
            self.outbound = None
            await asyncio.sleep(RETRY_S)

    async def _send_until_closed(self, outbound: mqtt.Outbound) -> None:
        gone = asyncio.create_task(outbound.closed(), name="bridge outbound closed")
        try:
            while not gone.done():
                order = asyncio.ensure_future(self._orders.get())
                await asyncio.wait([order, gone], return_when=asyncio.FIRST_COMPLETED)
                if not order.done():
                    order.cancel()
                    return
                await self._send_patiently(order.result())
        finally:
            gone.cancel()

    async def _send_patiently(self, cid: str) -> None:
        try:
            await (self.send(cid) if cid else self.send_waiting())
        except DatabaseError as error:
            # A command that is claimed and not noted as sent becomes `unknown`, or its answer settles it.
            logger.warning("commands wait for the database (%s)", error)

    def ring(self, cid: str = "") -> None:
        """Have one command sent, or look which ones can be: a doorbell may have been lost, a device have come."""
        self._orders.put_nowait(cid)

    async def send_waiting(self) -> None:
        """Send every command that can be sent now."""
        for _, cid in await self._in_thread(commands.waiting, now_ms()):
            await self.send(cid)

    async def send(self, cid: str) -> None:
        """Claim one command and publish it; note what became of that, and never more than was proved."""
        if (outbound := self.outbound) is None:
            return
        order = await self._in_thread(commands.claim, cid, now_ms())
        if order is None:
            return
        publish = native.encode(order)
        try:
            await outbound.publish(publish.topic, publish.payload, qos=publish.qos, retain=publish.retain)
        except mqtt.NotSentError as error:
            logger.info("command %s is not sent yet: %s", cid, error)
            await self._in_thread(commands.unsent, cid)
        except mqtt.UnsureError:
            await self._in_thread(commands.lost, cid, now_ms())
        else:
            await self._in_thread(commands.sent, cid, now_ms())

    # -- sweep

    async def _sweep(self) -> None:
        slow_at = 0.0
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.sweep_once(slow=time.monotonic() - slow_at >= SLOW_SWEEP_S)
                if time.monotonic() - slow_at >= SLOW_SWEEP_S:
                    slow_at = time.monotonic()
            except DatabaseError as error:
                logger.warning("the sweep waits for the database (%s)", error)

    async def sweep_once(self, *, slow: bool) -> None:
        """Heal: expire commands, send those whose doorbell was lost; less often also presence and the registry."""
        await self._in_thread(commands.sweep, now_ms())
        self.ring()
        if slow:
            await self._in_thread(telemetry.sweep_presence, now_ms())
            self._registry_news.set()

    async def reload(self) -> None:
        """Read the registry, and join the groups of devices that are new in it."""
        self.directory = await self._in_thread(registry.directory)
        await self._join_all()

    async def _join_all(self) -> None:
        """Be a member of each device's and each fleet's group, and of no others."""
        if not self.channel:
            return
        layer = get_channel_layer()
        wanted = {groups.device_group(key) for key in self.directory}
        wanted |= {groups.fleet_group(entry.fleet) for entry in self.directory.values()}
        try:
            for group in wanted - self.joined:
                await layer.group_add(group, self.channel)
                self.joined.add(group)
            for group in self.joined - wanted:
                await layer.group_discard(group, self.channel)
                self.joined.discard(group)
        except Exception as error:  # noqa: BLE001  whatever the layer raises: it is away
            logger.warning("cannot join groups (%s); the sweep tries again", error)

    # -- the broker's accounts

    async def _keep_accounts(self) -> None:
        reconciled_at = 0.0
        while True:
            whole = time.monotonic() - reconciled_at >= RECONCILE_S
            try:
                await self.reload()
                await self.accounts_once(whole=whole)
                reconciled_at = time.monotonic() if whole else reconciled_at
            except DatabaseError as error:
                logger.warning("cannot read the registry (%s); trying again", error)
            except Exception as error:  # noqa: BLE001  brokers fail in many ways; the next sweep tries again
                logger.warning("cannot bring the broker's accounts up to date: %s", error)
                reconciled_at = 0.0
                await asyncio.sleep(RETRY_S)
                continue
            await self._registry_news.wait()
            self._registry_news.clear()

    async def accounts_once(self, *, whole: bool) -> None:
        """Bring the broker's accounts up to date: what changed since the last time, or the whole truth."""
        if self.accounts is None:
            return
        versions = await self._in_thread(registry.account_versions)
        if whole or self.known is None:
            async with self.accounts() as accounts:
                changes = await accounts.reconcile(await self._accounts(None))
            if changes:
                logger.info("accounts: %s", changes)
        elif versions != self.known:
            changed = [key for key, version in versions.items() if self.known.get(key) != version]
            gone = [key for key in self.known if key not in versions]
            async with self.accounts() as accounts:
                await accounts.apply(await self._accounts(changed), gone)
        self.known = versions

    async def _accounts(self, keys: list[str] | None) -> list[Account]:
        found = await self._in_thread(registry.credentials, keys)
        return [Account(key=one.key, secret=one.secret, version=one.version) for one in found]
