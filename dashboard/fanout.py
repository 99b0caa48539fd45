"""This process's one member in each watched device's group; feeds its sockets with rows encoded once.

The doorbell (the group) makes it quick, the check every few seconds makes it right: heads, presence, commands,
settings and fleets are compared with the database, memberships renewed, and whatever no doorbell told of is passed on.
Who may be here and see what is looked at more often (permits.py).
Each step is a method that a test can call once; the loops hold no decisions.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

from dashboard import path, reads
from dashboard.alarm import Alarm
from dashboard.cohorts import Cohorts
from dashboard.desired import Desired
from dashboard.feeds import Feed, Session, Subscriber
from dashboard.fleets import FleetFeed, Follower
from dashboard.permits import Permits, by_tokens
from dashboard.protocol import Close
from dashboard.registrations import Registrations
from dashboard.together import Together
from devices import groups, registry

logger = logging.getLogger(__name__)

# A lost last message is found after this; bridges stop announcing 60 s after the last `watch`.
CHECK_S: Final = 5.0
# A layer that does not answer in this time counts as away: the database goes on without it.
LAYER_S: Final = 2.0
RETRY_S: Final = 1.0
LEAVE_S: Final = 2.0


class Fanout:
    """The feeds of this process (of one event loop)."""

    def __init__(self) -> None:
        """Start with nothing watched."""
        self.layer: Any = get_channel_layer()  # its types know neither groups nor prefixes
        self.sessions: set[Session] = set()
        self.feeds: dict[str, Feed] = {}
        self.fleets: dict[str, FleetFeed] = {}
        self.cohorts = Cohorts()
        self.channel = ""
        self.checked_at = reads.now_ms()
        self.alarm = Alarm(self.checked_at)
        self.permits = Permits(self.sessions, self.feeds, self.fleets, self._look_up)
        self.registrations = Registrations(self.permits.look_once)
        self.desired = Desired()
        self.passes = Together(by_tokens)
        self.starts = Together(reads.starts_of)
        self.finds = Together(registry.find_each)
        self.orders = Together(reads.issued)
        self._opening = asyncio.Lock()
        # Devices whose registration changed, or that turned up in a fleet that is not known to be theirs.
        self._registered: set[str] = set()
        self._registry_news = asyncio.Event()
        # Set when a bridge took up its duty: it announces nothing until it hears who watches.
        self._duty_news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen and to check, once."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._for_ever(self.receive_once), name="fanout receive"),
                asyncio.create_task(self._for_ever(self._next_registered), name="fanout registry"),
                asyncio.create_task(self._for_ever(self.desired.next_rung), name="fanout settings"),
                asyncio.create_task(self._for_ever(self._next_check), name="fanout check"),
                asyncio.create_task(self._for_ever(self._next_duty), name="fanout duty"),
                asyncio.create_task(self._for_ever(self.permits.next_look), name="fanout permits"),
            ]

    async def stop(self) -> None:
        """End all loops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self.permits.rest()

    async def _for_ever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception:
                logger.exception("%s failed; trying again", step.__name__)
                await asyncio.sleep(RETRY_S)

    # -- who watches

    def enter(self, session: Session) -> None:
        """Take in whoever was let in: it is looked after from now on, until it is discarded from `sessions`."""
        self.sessions.add(session)
        self.start()

    def attach(self, subscriber: Subscriber, devices: dict[str, int]) -> dict[str, Feed]:
        """Put a subscriber into the feeds of these devices (key → row id). It leaves them by itself."""
        feeds = {key: self._feed(key, pk) for key, pk in devices.items()}
        for feed in feeds.values():
            feed.subscribers.add(subscriber)
        return feeds

    def listening(self, keys: Collection[str]) -> dict[str, Feed] | None:
        """Return the feeds of these devices where we are in all their groups already; else None."""
        feeds = {key: feed for key in keys if (feed := self.feeds.get(key)) and feed.joined}
        if len(feeds) < len(keys):
            return None
        for feed in feeds.values():
            feed.idle = False  # it stays a moment, also with nobody who listens
        return feeds

    def _feed(self, key: str, pk: int) -> Feed:
        feed = self.feeds.get(key)
        if feed is None or feed.pk != pk:
            if feed is not None:  # deleted and made again: another device, maybe another fleet's
                _end(feed)
            feed = self.feeds[key] = Feed(key, pk)
        feed.idle = False
        return feed

    async def join(self, feeds: Collection[Feed]) -> None:
        """Be in the groups of these devices before this returns (while the layer is away: from the next check on)."""
        self.start()
        await self._renew([feed for feed in feeds if not feed.joined])

    def fleet(self, slug: str, pk: int) -> FleetFeed:
        """Return a fleet's feed."""
        fleet = self.fleets.get(slug)
        if fleet is None or fleet.pk != pk:
            for follower in list(fleet.followers) if fleet else ():  # deleted and made again, as devices may be
                follower.lost(slug)
            fleet = self.fleets[slug] = FleetFeed(slug, pk)
        fleet.idle = False
        return fleet

    async def follow(self, follower: Follower) -> None:
        """Put a follower into its fleet's feed, and be in the fleet's group before this returns."""
        self.start()
        follower.fleet.followers.add(follower)
        await self._renew([follower.fleet])

    # -- membership

    async def _renew(self, feeds: Sequence[Feed | FleetFeed]) -> None:
        """Join groups (again: the layer may have forgotten) and ring `watch`, so that the bridge announces."""
        try:
            async with asyncio.timeout(LAYER_S):
                await self._open()
                # It raises while the layer is away, as joining a group again does not.
                await self.layer.send(self.channel, {"type": "hub.echo"})
                for feed in feeds:
                    await self.layer.group_add(_group(feed), self.channel)
                    feed.joined = True
                await groups.announce(*map(_watch, feeds))
        except Exception as error:  # noqa: BLE001  whatever the layer raises, the check goes on without it
            logger.warning("cannot join groups, trying again: %s", repr(error))
            self.alarm.pulses.deaf(reads.now_ms())

    async def _open(self) -> None:
        async with self._opening:
            if not self.channel:
                channel = await self.layer.new_channel("live")
                for group in (groups.REGISTRY, groups.HUB):
                    await self.layer.group_add(group, channel)
                self.channel = channel

    async def _forget_idle(self) -> None:
        """Leave what nobody has watched since the last check: who only changes pages is back by then."""
        places: list[dict[str, Any]] = [self.feeds, self.fleets]
        for known in places:
            for name, feed in list(known.items()):
                if feed.idle and not feed.watched:
                    del known[name]
                    await self._leave(feed)
                feed.idle = not feed.watched

    async def _leave(self, feed: Feed | FleetFeed) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LAYER_S):
                await self.layer.group_discard(_group(feed), self.channel)
        # Somebody may have come meanwhile, whose join went before our leaving: nobody is to be mute for that.
        again = self.feeds.get(feed.key) if isinstance(feed, Feed) else self.fleets.get(feed.slug)
        if again is not None:
            await self._renew([again])

    # -- the doorbell

    async def receive_once(self) -> None:
        """Pass on one group message: there is a method for each type."""
        await self._open()
        message = await self.layer.receive(self.channel)
        getattr(self, message["type"].replace(".", "_"))(message)

    def device_frames(self, message: groups.Frames) -> None:
        """Keep the rows and wake who watches."""
        rows, hops = message["frames"], message.get("hops")
        path.counts.heard(rows, hops, reads.now_ms())
        if feed := self.feeds.get(message["device"]):
            path.counts.missed(feed.bells.rang(message["prev"], rows[-1][0]))
            feed.hear_frames(list(rows), hops)

    def device_state(self, message: groups.State) -> None:
        """Tell of presence."""
        if feed := self.feeds.get(message["device"]):
            feed.hear_state({name: message[name] for name in ("presence", "because", "since")})

    def device_command_state(self, message: groups.CommandState) -> None:
        """Tell of a command's state."""
        if feed := self.feeds.get(message["device"]):
            feed.hear_command({name: value for name, value in message.items() if name != "type"})

    def device_settings(self, message: groups.Settings) -> None:
        """Look at a device's settings."""
        if feed := self.feeds.get(message["device"]):
            self.desired.ring(feed)

    def device_watch(self, message: groups.Watch) -> None:
        """Ignore: said to bridges."""

    def device_order(self, message: groups.Order) -> None:
        """Ignore: said to bridges."""

    def fleet_watch(self, message: groups.FleetWatch) -> None:
        """Ignore: said to bridges."""

    def fleet_summary(self, message: groups.Summary) -> None:
        """Pass a fleet's summary on; look up what is not known to be in it."""
        if fleet := self.fleets.get(message["fleet"]):
            self._look_up(fleet.hear(message["devices"]))

    def fleet_job(self, message: groups.Job) -> None:
        """Tell whoever sees all of the fleet where one of its jobs stands."""
        if fleet := self.fleets.get(message["fleet"]):
            fleet.learn_job({**message})

    def registry_changed(self, message: groups.Registered) -> None:
        """Look at a device that was made, renamed, moved or deleted."""
        self._look_up({message["device"]})

    def hub_pulse(self, message: groups.Pulse) -> None:
        """Note how a bridge is, and tell of it; to one that is new, that somebody watches."""
        if self.alarm.hear(message, reads.now_ms()):
            self._duty_news.set()
        self._sound()

    def hub_echo(self, message: dict[str, str]) -> None:
        """Ignore: our own, by which we know that the layer is there."""

    def _sound(self) -> None:
        """Tell every socket whether readings are being stored, when that has changed."""
        if text := self.alarm.news(reads.now_ms()):
            for session in self.sessions:
                session.say(text)

    def _look_up(self, keys: set[str]) -> None:
        if keys:
            self._registered |= keys
            self._registry_news.set()

    # -- the registry

    async def _next_registered(self) -> None:
        await self._registry_news.wait()
        await self.look_up_once()

    async def look_up_once(self) -> None:
        """Show devices whose registration changed on every page that shows them; end what is not permitted."""
        self._registry_news.clear()
        keys, self._registered = self._registered, set()
        try:
            for fleet in list(self.fleets.values()):
                as_of = fleet.heard
                found = await reads.run(reads.summaries, fleet.pk, keys)
                fleet.read({key: found.get(key) for key in keys}, as_of)
            if not keys.isdisjoint(self.feeds):
                await self.permits.look_once()
                await self.registrations.check([feed for key, feed in self.feeds.items() if key in keys])
        except BaseException:
            self._look_up(keys)
            raise

    async def _next_duty(self) -> None:
        await self._duty_news.wait()
        self._duty_news.clear()
        await self._renew([*self.feeds.values(), *self.fleets.values()])

    # -- the check

    async def _next_check(self) -> None:
        # A layer that forgets its members sooner is told sooner that they are there.
        await asyncio.sleep(min(CHECK_S, getattr(self.layer, "group_expiry", CHECK_S * 3) / 3))
        await self.check_once()

    async def check_once(self) -> None:
        """Renew memberships, compare with the database, and pass on what was missed."""
        await self._forget_idle()
        await self._renew([*self.feeds.values(), *self.fleets.values()])
        self._sound()
        await self._check_devices()
        for feed in self.feeds.values():
            path.counts.missed(feed.bells.checked(feed.head))
        await self.registrations.check(list(self.feeds.values()))
        await self.desired.check(list(self.feeds.values()))
        for fleet in list(self.fleets.values()):
            await self._check_fleet(fleet)

    async def _check_devices(self) -> None:
        since, self.checked_at = self.checked_at - reads.OVERLAP_MS, reads.now_ms()
        as_of = {feed: (feed.heard, feed.head) for feed in self.feeds.values()}
        if not as_of:
            return
        found = await reads.run(reads.changes, [feed.pk for feed in as_of], since)
        for feed, (heard, known) in as_of.items():
            if feed.pk in found.heads:
                head, state = found.heads[feed.pk]
                if head < known:
                    self._begin_anew(feed)
                feed.moved(head)
                feed.read_state(state, heard)
            for command in found.commands.get(feed.key, []):
                feed.read_command(command, heard)

    def _begin_anew(self, feed: Feed) -> None:
        """Have whoever watches come back: what was known is not in the journal any more (a backup was restored)."""
        logger.warning("the journal of %s is another, and ends earlier; its watchers are told", feed.key)
        self.feeds.pop(feed.key)
        for session in {subscriber.session for subscriber in feed.subscribers}:
            session.quit(Close.ERROR)

    async def _check_fleet(self, fleet: FleetFeed) -> None:
        as_of = fleet.heard
        if changed := fleet.changed(await reads.run(reads.marks, fleet.pk)):
            found = await reads.run(reads.summaries, fleet.pk, changed)
            fleet.read({key: found.get(key) for key in changed}, as_of)
        for job in await reads.run(reads.jobs_of, fleet.pk):
            fleet.learn_job(job)


def _group(feed: Feed | FleetFeed) -> str:
    return groups.device_group(feed.key) if isinstance(feed, Feed) else groups.fleet_group(feed.slug)


def _watch(feed: Feed | FleetFeed) -> groups.Watch | groups.FleetWatch:
    if isinstance(feed, Feed):
        return {"type": "device.watch", "device": feed.key}
    return {"type": "fleet.watch", "fleet": feed.slug}


def _end(feed: Feed) -> None:
    """End all subscriptions to a device."""
    for subscriber in list(feed.subscribers):
        subscriber.lost(feed.key)


_here: WeakKeyDictionary[asyncio.AbstractEventLoop, Fanout] = WeakKeyDictionary()


def here() -> Fanout:
    """Return the fan-out of the running loop (a process has one loop, a test its own)."""
    loop = asyncio.get_running_loop()
    return _here.get(loop) or _here.setdefault(loop, Fanout())


@atexit.register
def _leave_nothing() -> None:
    """End what waits on a loop that its server has left: CPython 3.11 crashes over it when the interpreter ends."""
    for loop in list(_here):
        if loop.is_closed() or loop.is_running() or not (tasks := asyncio.all_tasks(loop)):
            continue
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=LEAVE_S))
