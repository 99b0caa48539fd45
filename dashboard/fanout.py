"""This process's one member in each watched device's group; feeds its sockets with rows encoded once.

The doorbell (the group) makes it quick, the check every few seconds makes it right: heads, presence and commands are
compared with the database, memberships renewed, and whatever no doorbell told of is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

from dashboard import protocol, reads
from devices import groups

logger = logging.getLogger(__name__)

# A lost last message is found after this; bridges stop announcing 60 s after the last `watch`.
CHECK_S: Final = 5.0
# Commands of a device whose state is remembered, so that a check repeats nothing.
REMEMBERED: Final = 64


class Session(Protocol):
    """One socket, as the fan-out sees it."""

    def say(self, text: str) -> None:
        """Send a text that needs no credit."""

    def wake(self) -> None:
        """Look again: a subscription has something new."""


class Subscriber(Protocol):
    """One subscription of a socket."""

    session: Session

    def news(self, key: str) -> None:
        """Rows of this device are there, or its head moved."""


class Feed:
    """One watched device: where it stands, its newest rows, who watches."""

    def __init__(self, key: str, pk: int) -> None:
        """Know nothing yet."""
        self.key = key
        self.pk = pk
        self.head = 0
        self.kept = protocol.Kept()
        self.state: dict[str, Any] = {}
        self.commands: dict[str, tuple[str, float | None]] = {}
        self.subscribers: set[Subscriber] = set()
        self.joined = False

    def moved(self, head: int) -> None:
        """Take note of a head; wake those who are behind it."""
        if head > self.head:
            self.head = head
            for subscriber in self.subscribers:
                subscriber.news(self.key)

    def say(self, text: str) -> None:
        """Tell every socket that watches this device, once."""
        for session in {subscriber.session for subscriber in self.subscribers}:
            session.say(text)

    def say_state(self, state: dict[str, Any]) -> None:
        """Tell of presence, if it is another than before."""
        if state != self.state:
            self.state = state
            self.say(protocol.text(kind="state", device=self.key, **state))

    def say_command(self, message: dict[str, Any]) -> None:
        """Tell of a command's state, if it is another than before."""
        now = (message["state"], message["progress"])
        if self.commands.get(message["command"]) != now:
            self.commands[message["command"]] = now
            while len(self.commands) > REMEMBERED:
                del self.commands[next(iter(self.commands))]
            self.say(protocol.text(kind="cmd_state", **message))


class FleetFeed:
    """One watched fleet: who follows its summary."""

    def __init__(self, slug: str, pk: int) -> None:
        """Know nobody yet."""
        self.slug = slug
        self.pk = pk
        self.followers: dict[tuple[Session, str], None] = {}
        self.joined = False
        self.checked_at = reads.now_ms()

    def say(self, devices: dict[str, Any]) -> None:
        """Tell every follower; the devices are encoded once."""
        body = protocol.encode(devices).decode()
        for session, sub in self.followers:
            session.say(f'{{"type":"fleet","id":{protocol.encode(sub).decode()},"devices":{body}}}')


class Fanout:
    """The feeds of this process (of one event loop)."""

    def __init__(self) -> None:
        """Start with nothing watched."""
        self.layer = get_channel_layer()
        self.feeds: dict[str, Feed] = {}
        self.fleets: dict[str, FleetFeed] = {}
        self.channel = ""
        self.checked_at = reads.now_ms()
        self._tasks: list[asyncio.Task[None]] = []
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Open the channel and begin to listen, once."""
        async with self._starting:
            if self._tasks:
                return
            self._tasks = [
                asyncio.create_task(self._receive(), name="fanout receive"),
                asyncio.create_task(self._check(), name="fanout check"),
            ]

    async def stop(self) -> None:
        """End both loops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    # -- membership

    async def join(self, subscriber: Subscriber, devices: dict[str, int]) -> None:
        """Begin to feed a subscriber with these devices (key → row id); the group is joined before this returns."""
        await self.start()
        for key, pk in devices.items():
            feed = self.feeds.get(key) or self.feeds.setdefault(key, Feed(key, pk))
            feed.subscribers.add(subscriber)
        await self._renew([self.feeds[key] for key in devices if key in self.feeds])

    async def leave(self, subscriber: Subscriber, keys: list[str]) -> None:
        """Stop feeding; the last one out leaves the group."""
        for key in keys:
            feed = self.feeds.get(key)
            if feed is None:
                continue
            feed.subscribers.discard(subscriber)
            if not feed.subscribers:
                del self.feeds[key]
                await self._discard(groups.device_group(key))

    async def follow(self, session: Session, sub: str, slug: str, pk: int) -> None:
        """Begin to send a fleet's summary to a subscription."""
        await self.start()
        fleet = self.fleets.get(slug) or self.fleets.setdefault(slug, FleetFeed(slug, pk))
        fleet.followers[session, sub] = None
        await self._renew_fleet(fleet)

    async def unfollow(self, session: Session, sub: str, slug: str) -> None:
        """Stop sending a fleet's summary."""
        fleet = self.fleets.get(slug)
        if fleet is None:
            return
        fleet.followers.pop((session, sub), None)
        if not fleet.followers:
            del self.fleets[slug]
            await self._discard(groups.fleet_group(slug))

    async def _renew(self, feeds: list[Feed]) -> None:
        """Join groups (again: the layer may have forgotten) and ring `watch`, so that the bridge announces."""
        for feed in feeds:
            feed.joined = await self._add(groups.device_group(feed.key))
        watches: list[groups.Watch] = [{"type": "device.watch", "device": feed.key} for feed in feeds]
        await groups.announce(*watches)

    async def _renew_fleet(self, fleet: FleetFeed) -> None:
        fleet.joined = await self._add(groups.fleet_group(fleet.slug))
        await groups.announce({"type": "fleet.watch", "fleet": fleet.slug})

    async def _add(self, group: str) -> bool:
        try:
            if not self.channel:
                self.channel = await self.layer.new_channel("live")
            await self.layer.group_add(group, self.channel)
        except Exception as error:  # noqa: BLE001  whatever the layer raises, the check goes on without it
            logger.warning("cannot join %s, trying again: %s", group, error)
            return False
        return True

    async def _discard(self, group: str) -> None:
        with contextlib.suppress(Exception):
            await self.layer.group_discard(group, self.channel)

    # -- the doorbell

    async def _receive(self) -> None:
        """Pass on what arrives, for ever."""
        while not await self._add(groups.REGISTRY):
            await asyncio.sleep(1)
        while True:
            message = await self.layer.receive(self.channel)
            try:
                await getattr(self, message["type"].replace(".", "_"))(message)
            except Exception:
                logger.exception("cannot pass on %s", message.get("type"))

    async def device_frames(self, message: groups.Frames) -> None:
        """Keep the rows and wake who watches."""
        if feed := self.feeds.get(message["device"]):
            feed.kept.add(message["frames"])
            feed.moved(message["frames"][-1][0])

    async def device_state(self, message: groups.State) -> None:
        """Tell of presence."""
        if feed := self.feeds.get(message["device"]):
            feed.say_state({name: message[name] for name in ("presence", "because", "since")})

    async def device_command_state(self, message: groups.CommandState) -> None:
        """Tell of a command's state."""
        if feed := self.feeds.get(message["device"]):
            feed.say_command({name: value for name, value in message.items() if name != "type"})

    async def device_watch(self, message: groups.Watch) -> None:
        """Ignore: said to bridges."""

    async def device_order(self, message: groups.Order) -> None:
        """Ignore: said to bridges."""

    async def fleet_watch(self, message: groups.FleetWatch) -> None:
        """Ignore: said to bridges."""

    async def fleet_summary(self, message: groups.Summary) -> None:
        """Pass a fleet's summary on."""
        if fleet := self.fleets.get(message["fleet"]):
            fleet.say(message["devices"])

    async def registry_changed(self, message: groups.Registered) -> None:
        """Show a device that was made, renamed, moved or deleted on every page that shows its fleet."""
        for fleet in list(self.fleets.values()):
            found = await reads.run(reads.summary_of, fleet.pk, message["device"])
            fleet.say({message["device"]: found})

    # -- the check

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self.check_once()
            except Exception:
                logger.exception("the periodic check failed; trying again")

    async def check_once(self) -> None:
        """Compare with the database, pass on what was missed, renew memberships."""
        feeds = list(self.feeds.values())
        if feeds:
            since, self.checked_at = self.checked_at - 1000, reads.now_ms()
            found = await reads.run(reads.changes, [feed.pk for feed in feeds], since)
            for feed in feeds:
                head, state = found.heads.get(feed.key, (feed.head, feed.state))
                feed.moved(head)
                feed.say_state(state)
                for command in found.commands.get(feed.key, []):
                    feed.say_command(command)
            await self._renew(feeds)
        for fleet in list(self.fleets.values()):
            since, fleet.checked_at = fleet.checked_at - 1000, reads.now_ms()
            if changed := await reads.run(reads.summaries, fleet.pk, since):
                fleet.say(changed)
            await self._renew_fleet(fleet)
        await self._add(groups.REGISTRY)


_here: WeakKeyDictionary[asyncio.AbstractEventLoop, Fanout] = WeakKeyDictionary()


def here() -> Fanout:
    """Return the fan-out of the running loop (a process has one loop, a test its own)."""
    loop = asyncio.get_running_loop()
    return _here.get(loop) or _here.setdefault(loop, Fanout())
