"""The join: how a subscription begins, of a live socket or of a stream over HTTP. Nothing falls between (live.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final, Protocol

from dashboard import protocol, reads, replay
from dashboard.cohorts import Subscription
from dashboard.fanout import Fanout
from dashboard.feeds import Feed, Session
from dashboard.fleets import Follower
from dashboard.protocol import Since, Sub
from dashboard.sender import Sender
from devices.errors import Refusal

# Who watches more devices asks for them alone.
FEW: Final = 100


class Joining(Session, Protocol):
    """Who subscribes."""

    @property
    def fanout(self) -> Fanout:
        """Return what the feeds are in."""

    @property
    def sender(self) -> Sender:
        """Return what goes out to it."""


async def devices(who: Joining, sub: Sub) -> list[reads.Start]:
    """Join, then read, then tell: nothing that comes in between is missed. Return where it begins, or refuse."""
    keys = list(dict.fromkeys(sub.devices or []))
    begun = await _where_we_listen(who, sub, keys)
    return begun if begun is not None else await _where_we_join(who, sub, keys)


async def _where_we_listen(who: Joining, sub: Sub, keys: list[str]) -> list[reads.Start] | None:
    """Begin with devices in whose groups we are already: one read. None: it takes more than that."""
    feeds = who.fanout.listening(keys)
    if feeds is None:
        return None
    await _learn(who, feeds.values())
    as_of = {key: feed.heard for key, feed in feeds.items()}
    with suppress(Refusal):
        starts = await _starts(who, sub, feeds)
        # Not before it is known that they may be seen; and one may have been made anew, and is another row by now.
        if who.fanout.listening(keys) == feeds and all(feeds[start.key].pk == start.pk for start in starts):
            subscription = Subscription(sub, who, who.fanout.cohorts)
            subscription.feeds = who.fanout.attach(subscription, {key: feed.pk for key, feed in feeds.items()})
            _begin(who, sub, subscription, starts, as_of)
            return starts
    return None


async def _where_we_join(who: Joining, sub: Sub, keys: list[str]) -> list[reads.Start]:
    """Ask whether they may be seen, join their groups, and read."""
    pks = {start.key: start.pk for start in await _asked_together(who, keys)}
    subscription = Subscription(sub, who, who.fanout.cohorts)
    try:
        subscription.feeds = who.fanout.attach(subscription, pks)
        await who.fanout.join(subscription.feeds.values())
        await _learn(who, subscription.feeds.values())
        as_of = {key: feed.heard for key, feed in subscription.feeds.items()}
        starts = await _starts(who, sub, subscription.feeds)
        _begin(who, sub, subscription, starts, as_of)
    except BaseException:
        subscription.leave()
        raise
    return starts


async def _learn(who: Joining, feeds: Collection[Feed]) -> None:
    """Read what is told to whom watches a device first, and later where it changes."""
    await who.fanout.registrations.learn(feeds)
    await who.fanout.desired.learn(feeds)


def _begin(
    who: Joining, sub: Sub, subscription: Subscription, starts: list[reads.Start], as_of: dict[str, int]
) -> None:
    subscription.stream.begin(subscription.feeds, starts)
    _tell_start(who, subscription, starts, as_of)
    if sub.since and sub.since.cursor is not None:  # who comes back does not know what has changed meanwhile
        for feed in subscription.feeds.values():
            who.say(who.fanout.registrations.text(feed))
    if sub.replay is None and not who.pass_.link:  # what is wanted now was not wanted then
        for feed in subscription.feeds.values():
            if text := who.fanout.desired.text(feed):
                who.say(text)
    who.sender.add(subscription)


async def _starts(who: Joining, sub: Sub, feeds: Mapping[str, Feed]) -> list[reads.Start]:
    user, keys = who.pass_.user, list(feeds)
    if sub.replay is not None:
        return await reads.run(replay.starts, user, keys, sub.replay)
    told = {key for key, feed in feeds.items() if feed.knows_commands}
    if sub.since is not None and sub.since.last_s is not None:  # nobody else is to wait for that
        return await reads.run(reads.starts, user, keys, sub.since, told)
    return await _asked_together(who, keys, sub.since, told)


async def _asked_together(
    who: Joining, keys: list[str], since: Since | None = None, told: Collection[str] | None = None
) -> list[reads.Start]:
    """Read where devices stand, and whether they may be seen, together with whoever else asks in this moment."""
    asked = reads.Asked(who.pass_.user, keys, since, keys if told is None else told)
    if len(keys) > FEW:
        return await reads.run(reads.starts, *asked)
    return await who.fanout.starts.ask(asked)


def _tell_start(who: Joining, subscription: Subscription, starts: list[reads.Start], as_of: dict[str, int]) -> None:
    """Answer, and show each device's presence and commands, unless a doorbell told of something newer."""
    heads = {start.key: start.head for start in starts}
    recovered = all(start.skipped is None for start in starts)
    who.say(protocol.text(kind="ok", id=subscription.id, head=heads, recovered=recovered))
    for start in starts:
        feed, heard = subscription.feeds[start.key], as_of[start.key]
        feed.read_state(start.state, heard, but=who)
        who.say(feed.state_text())
        if start.skipped:
            first, last, cause = start.skipped
            gap = {"device": start.key, "from": first, "to": last, "cause": cause}
            who.say(protocol.text(kind="gap", id=subscription.id, **gap))
            who.sender.counts.gone(last - first + 1)
        for command in start.commands:
            feed.read_command(command, heard, but=who)
        for command in [] if who.pass_.link else feed.recent(reads.now_ms() - reads.RECENT_MS, reads.OPEN):
            who.say(protocol.text(kind="cmd_state", **command))
        feed.knows_commands = feed.joined


async def fleet(who: Joining, id_: str, slug: str) -> None:
    """Follow, then read, then tell, as with devices."""
    pk = await reads.run(reads.fleet_id, who.pass_.user, slug)
    follower = Follower(id_, who, who.fanout.fleet(slug, pk))
    try:
        await who.fanout.follow(follower)
        marks, part = await reads.run(reads.picture, who.pass_.user, pk)
    except BaseException:
        follower.leave()
        raise
    follower.fleet.learn(marks)
    who.sender.add(follower)
    follower.begin(marks, part)
