"""Sockets that stand at the same place in the same devices, and are told with one breath.

A live subscription that has caught up joins the cohort of its devices: one stream for all its members, whose messages
are put together and encoded once, however many they are. Who cannot take a message (no credit, a full pipe) falls
behind: it gets a stream of its own that stands where that message began, and is back once it has caught up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from django.db import DatabaseError

from dashboard import protocol
from dashboard.feeds import Feed, Session
from dashboard.parcel import Parcel
from dashboard.protocol import Close
from dashboard.replay import Replay
from dashboard.stream import Stream

logger = logging.getLogger(__name__)

# A database that is away is asked again after this; to close all members would have all of them ask it at once.
RETRY_S: Final = 1.0


class Sort(NamedTuple):
    """What members of a cohort have in common."""

    feeds: frozenset[Feed]
    metrics: frozenset[str] | None
    mode: str


class Subscription:
    """One socket's subscription to devices: it has a stream of its own, or stands in a cohort."""

    def __init__(self, sub: protocol.Sub, session: Session, cohorts: Cohorts) -> None:
        """Exist, so that the feeds can be joined before anything is read."""
        self.id = sub.id
        self.session = session
        metrics = None if sub.metrics is None else frozenset(sub.metrics)
        self.stream = (
            Stream(metrics, sub.mode, session.wake) if sub.replay is None else Replay(sub.replay, metrics, session.wake)
        )
        self.cohort: Cohort | None = None
        # Where it is further than its cohort: it caught up a moment after the cohort's last message.
        self.ahead: dict[str, int] = {}
        self.feeds: dict[str, Feed] = {}
        self._cohorts = cohorts

    @property
    def sort(self) -> Sort:
        """Return what decides which cohort it fits in."""
        return Sort(frozenset(self.feeds.values()), self.stream.metrics, self.stream.mode)

    @property
    def due(self) -> Mapping[str, None]:
        """Return the devices with something to send. In a cohort there is nothing: the cohort sends."""
        return {} if self.cohort else self.stream.due

    @property
    def live(self) -> bool:
        """Whether all history was sent."""
        return self.stream.live

    async def next_parcel(self) -> Parcel:
        """Take what is due, as much as one message holds."""
        return await self.stream.next_parcel()

    def cross_seam(self) -> bool:
        """Go live once all history was sent; whether it did so now."""
        return self.stream.cross_seam()

    def settle(self) -> None:
        """Join the cohort, if there is nothing left to catch up with; a replay may be over."""
        if self.stream.over:
            self.session.end(self.id, "replay_done")
        if self.cohort is None and self.stream.live and not self.stream.due:
            self._cohorts.admit(self)

    def leave(self) -> None:
        """Listen no longer."""
        if self.cohort is not None:
            self.cohort.dismiss(self)
        else:
            self.stream.leave()
        for feed in self.feeds.values():
            feed.subscribers.discard(self)

    def lost(self, key: str) -> None:  # noqa: ARG002  one device less, and the subscription is not what was asked for
        """End, as one of its devices may not be seen any more."""
        self.session.end(self.id)

    def take(self, parcel: Parcel) -> bool:
        """Send what its cohort has to say; whether it could."""
        if not self.ahead:
            return self.session.offer(self.id, parcel)
        shorter = self._without_known(parcel)
        if shorter is None or not self.session.offer(self.id, shorter):
            return False
        self.ahead = {key: seq for key, seq in self.ahead.items() if seq > self.stream.tracks[key].cursor}
        return True

    def _without_known(self, parcel: Parcel) -> Parcel | None:
        """Leave out what it has already; None: what is left is not at hand, or holds for the others only."""
        if parcel.notes:
            return None
        shorter = Parcel()
        for key, part in parcel.parts.items():
            known = self.ahead.get(key, 0)
            if known <= parcel.before[key]:
                shorter.put(key, part)
            elif known < part.last:
                rest = self.stream.part_between(key, known, part.last)
                if rest is None:
                    return None
                shorter.put(key, rest)
        if shorter.parts:
            shorter.seal("live", sent=parcel.sent)
        return shorter

    def fall_behind(self, parcel: Parcel) -> None:
        """Go on alone, from where this parcel began."""
        self.cohort = None
        before = {**parcel.before}
        for key, known in self.ahead.items():
            before[key] = max(known, before.get(key, 0))
        self.ahead = {}
        self.stream = self.stream.fork(before, self.session.wake)
        self.session.wake()


class Cohort:
    """Its stream, and who listens to it."""

    def __init__(self, stream: Stream, forget: Callable[[Cohort], None]) -> None:
        """Go on with the stream of its first member; when it has none any more, it is to be forgotten."""
        self.stream = stream
        self._forget = forget
        self.members: dict[Subscription, None] = {}
        self.busy = False
        self._paced = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        stream.wake = self.wake

    def wake(self) -> None:
        """Send soon: at once, and then at most every PACE_S."""
        if self._timer is None and not self.busy:
            wait = max(0.0, self._paced - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self.busy = True
        self._task = asyncio.create_task(self._tick(), name="cohort")

    async def _tick(self) -> None:
        try:
            await self.tick()
        except DatabaseError as error:
            logger.warning("a cohort of live sockets cannot read, trying again: %r", error)
            self._pause()
        except Exception:
            logger.exception("a cohort of live sockets failed")
            for member in list(self.members):
                member.session.quit(Close.ERROR)
            self._pause()
        if self.members and self.stream.due:
            self.wake()

    def _pause(self) -> None:
        self._paced = time.monotonic() + RETRY_S
        self.busy = False

    async def tick(self) -> None:
        """Send one message to all members."""
        self.busy = True
        parcel = await self.stream.next_parcel()
        self._paced = time.monotonic() + protocol.PACE_S
        for member in list(self.members):
            if not member.take(parcel):
                del self.members[member]
                member.fall_behind(parcel)
        self.busy = False
        self._end_if_empty()

    def dismiss(self, member: Subscription) -> None:
        """Let a member go."""
        self.members.pop(member, None)
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        """Close the door behind the last one, whether it left or fell behind."""
        if not self.members:
            if self._timer is not None:
                self._timer.cancel()
            self.stream.leave()
            self._forget(self)


class Cohorts:
    """The cohorts of one process."""

    def __init__(self) -> None:
        """Have none."""
        self._known: dict[Sort, Cohort] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._known)

    def admit(self, newcomer: Subscription) -> None:
        """Put in who has caught up; not while the cohort is reading: then with its next message."""
        sort = newcomer.sort
        cohort = self._known.get(sort)
        if cohort is None:
            cohort = self._known[sort] = Cohort(newcomer.stream, self._forget)
        elif cohort.busy or (ahead := _ahead(newcomer.stream, cohort.stream)) is None:
            return
        else:
            newcomer.ahead = ahead
            newcomer.stream.leave()
            newcomer.stream = cohort.stream
        newcomer.cohort = cohort
        cohort.members[newcomer] = None

    def _forget(self, cohort: Cohort) -> None:
        self._known = {sort: one for sort, one in self._known.items() if one is not cohort}


def _ahead(one: Stream, other: Stream) -> dict[str, int] | None:
    """Return where one stream is further than the other; None: it is behind somewhere."""
    ahead = {}
    for key, track in one.tracks.items():
        cursor = other.tracks[key].cursor
        if track.cursor < cursor:
            return None
        if track.cursor > cursor:
            ahead[key] = track.cursor
    return ahead
