"""What was, again: stored frames at the pace of their arrival, all devices of a subscription on one clock.

A replay is a stream that is not live yet. Its clock runs `speed` times as fast as time; what had arrived by then is
due, each device's frames in the order of seq. Nobody takes what is due, no credit or a slow database: the clock
stands, and nothing is skipped. Where it reaches now, the stream goes live with the same cursors.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from dashboard import protocol, reads, rows
from dashboard.parcel import DEVICES_A_MESSAGE, Parcel
from dashboard.stream import Stream, Track
from devices import telemetry

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from dashboard.feeds import Feed
    from dashboard.rows import Coded

# Whoever watches sees the clock move, also where nothing arrived for long.
BEAT_S: Final = 1.0
# What is taken later than this counts as not taken: so long the clock stood. Less is the pace and a busy machine.
GRACE_S: Final = 0.1
# What is read ahead of the clock, for all devices together.
AHEAD: Final = 2000
AHEAD_SIZE: Final = 4 * rows.CHUNK_SIZE


class Clock:
    """PURE. The time in a replay (ms), `speed` times as fast as the time given to it (s)."""

    def __init__(self, at: float, speed: float, now: float) -> None:
        """Show `at` at `now`."""
        self._at = at
        self._speed = speed
        self._since = now

    def shows(self, now: float) -> float:
        """Return the time in the replay."""
        return self._at + (now - self._since) * 1000 * self._speed

    def when(self, at: float) -> float:
        """Return the time at which it will show this."""
        return self._since + (at - self._at) / 1000 / self._speed

    def stood(self, seconds: float) -> None:
        """It did not run for so long."""
        self._since += seconds


class Arrived(NamedTuple):
    """A row with the time of its arrival."""

    at: float  # ms
    coded: Coded


class Lane:
    """One device's part of a replay.

    track   where it stands
    until   the last row that is replayed; infinite: as far as there are rows
    ahead   what was read and not sent yet
    known   up to which time of arrival it is known what follows `ahead`: nothing
    """

    __slots__ = ("ahead", "known", "track", "until")

    def __init__(self, track: Track, until: float, known: float) -> None:
        """Know no row yet."""
        self.track = track
        self.until = until
        self.ahead: deque[Arrived] = deque()
        self.known = known

    @property
    def next_at(self) -> float:
        """Return when its next row arrived, or else from when on it is not known whether there is one."""
        return self.ahead[0].at if self.ahead else self.known + 1

    def order(self, limit: int) -> Order:
        """Return what is to be read next."""
        seq = self.ahead[-1].coded.seq if self.ahead else self.track.cursor
        return Order(self.track.feed.pk, seq, self.until, limit)


class Order(NamedTuple):
    """What is to be read of a device: at most `limit` rows behind `seq`, up to `until`."""

    pk: int
    seq: int
    until: float
    limit: int


def starts(user: User, keys: list[str], replay: protocol.Replay) -> list[reads.Start]:
    """Find where each device's replay begins and ends; refuses the whole when one of them may not be seen."""
    found = reads.starts(user, keys, None)
    heads = {start.pk: start.head for start in found}
    cursors = telemetry.arrived_before(heads, replay.from_)
    # What is yet to come is no replay.
    ends = heads if replay.to is None else telemetry.arrived_before(heads, min(replay.to, reads.now_ms()) + 1)
    return [_start(start, cursors[start.pk], ends[start.pk], replay.from_) for start in found]


def _start(start: reads.Start, cursor: int, end: int, from_: int) -> reads.Start:
    skipped = None
    first = telemetry.first_arrival(start.pk) if cursor < end else None
    if first is not None and first[0] == cursor + 1 > 1 and first[1] > from_:
        # Nothing is kept from before it, so what is not kept any more may have been after it.
        skipped = (1, cursor, "retention")
    return msgspec.structs.replace(start, cursor=cursor, head=end, skipped=skipped)


def read(orders: Sequence[Order]) -> list[list[Arrived]]:
    """Read the journals on, each row encoded."""
    return [
        [
            Arrived(at, rows.code(row))
            for at, row in telemetry.arrivals(one.pk, one.seq, one.limit)
            if row[0] <= one.until
        ]
        for one in orders
    ]


class Replay(Stream):
    """A stream that begins with a replay."""

    def __init__(
        self,
        asked: protocol.Replay,
        metrics: frozenset[str] | None,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Stand nowhere yet."""
        super().__init__(metrics, "all", wake)
        self._usual = 1000
        self._asked = asked
        self._end: float = math.inf
        self._now = clock
        # What the client was told last of the time in the replay, and when.
        self._at: float = asked.from_
        self._told = -math.inf
        # The moment whose rows are being sent, when the clock was looked at for it, and when that was to be done.
        self._moment: float = asked.from_
        self._ticked = self._planned = clock()
        self._clock = Clock(asked.from_, asked.speed, self._planned)
        self._more = False
        self._caught_up = False
        self._lanes: dict[str, Lane] = {}
        # (when its next row arrived, or may have, device): what is due comes first.
        self._queue: list[tuple[float, str]] = []
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, feeds: Mapping[str, Feed], starts: Sequence[reads.Start]) -> None:
        """Stand where the starts say, and let the clock run."""
        super().begin(feeds, starts)
        if self._asked.to is not None:
            self._end = min(self._asked.to, reads.now_ms())
        for key, track in self.tracks.items():
            until = math.inf if self._asked.to is None else track.seam
            self._lanes[key] = Lane(track, until, self._asked.from_ - 1)
        self._queue_up()
        self._ticked = self._planned = self._now()
        self._clock = Clock(self._asked.from_, self._asked.speed, self._planned)
        self._ring()

    def leave(self) -> None:
        """Listen no longer."""
        super().leave()
        if self._timer is not None:
            self._timer.cancel()

    async def next_parcel(self) -> Parcel:
        """Take what is due, as much as one message holds."""
        if self.live:
            return await super().next_parcel()
        if not self._more:
            self._tick()
        parcel = Parcel()
        self._more = await self._fill(parcel)
        if not self._more:
            self._reached(parcel)
        if parcel.parts or self.over or self._ticked - self._told >= BEAT_S:
            self._told = self._ticked
            parcel.seal("replay", at=round(self._at))
        self._plan()
        return parcel

    def cross_seam(self) -> bool:
        """Go live once the clock has reached now; whether it did so now."""
        if self.live or self.due or self._more or not self._caught_up:
            return False
        self.live = True
        self.due = self._behind()
        self._lanes.clear()
        return True

    # -- the clock

    def _tick(self) -> None:
        """Look at the clock; where that was to be done long ago, it stood meanwhile."""
        self._ticked = self._now()
        self._clock.stood(max(0.0, self._ticked - self._planned - GRACE_S))
        now = reads.now_ms()
        self._moment = min(self._clock.shows(self._ticked), self._end, now)
        self._caught_up = self._end == math.inf and self._moment >= now

    def _reached(self, parcel: Parcel) -> None:
        """Note that all is sent that was due at this moment; at the end, what is not there any more."""
        self._at = max(self._at, self._moment)
        self.over = self._moment >= self._end
        if self.over:
            for lane in self._lanes.values():
                _gap(lane.track, lane.track.seam + 1, parcel)

    def _plan(self) -> None:
        """Come back when something is due: more of this moment, a row, the end, or to say what time it is."""
        self.due = {}
        if self._more:
            self._ring_at(self._now() + protocol.PACE_S)
        elif not (self.over or self._caught_up):
            next_at = min(self._end, self._queue[0][0] if self._queue else math.inf)
            soon = min(self._clock.when(next_at), self._told + BEAT_S)
            self._planned = max(self._ticked + protocol.PACE_S, soon)
            self._ring_at(self._planned)

    def _ring_at(self, when: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(0.0, when - self._now()), self._ring)

    def _ring(self) -> None:
        self.due = dict.fromkeys(self.tracks)
        self.wake()

    # -- the rows

    async def _fill(self, parcel: Parcel) -> bool:
        """Put in what is due, in the order of arrival; whether there may be more of it."""
        taken: dict[str, list[Coded]] = {}
        while key := await self._first_due():
            track, (at, coded) = self._lanes[key].track, self._lanes[key].ahead[0]
            # What is before a gap goes first, then the word of it.
            if parcel.full or len(taken) >= DEVICES_A_MESSAGE or (coded.seq > track.cursor + 1 and key in taken):
                break
            _gap(track, coded.seq, parcel)
            parcel.before.setdefault(key, track.cursor)
            parcel.rows -= 1
            parcel.size -= len(coded.text)
            taken.setdefault(key, []).append(coded)
            self._at = max(self._at, min(at, self._moment))
            self._go_on(key)
        for name, found in taken.items():
            parcel.parts[name] = rows.part_of(found, parcel.before[name], self.metrics, "all")
        return key is not None

    async def _first_due(self) -> str | None:
        """Return the device whose row comes next, of those that are due."""
        while self._queue and self._queue[0][0] <= self._moment:
            key = self._queue[0][1]
            if self._lanes[key].ahead:
                return key
            await self._read_ahead()
        return None

    def _go_on(self, key: str) -> None:
        """Stand behind the first row of the device that is the first in the queue."""
        lane = self._lanes[key]
        lane.track.cursor = lane.ahead.popleft().coded.seq
        heapq.heapreplace(self._queue, (lane.next_at, key))

    async def _read_ahead(self) -> None:
        """Read on where little is left; a bounded number of rows, however many devices."""
        share = max(1, min(AHEAD, AHEAD_SIZE // self._usual) // len(self._lanes))
        low = [one for one in self._lanes.values() if len(one.ahead) <= share // 2 and one.known < self._moment]
        now = max(reads.now_ms(), self._moment)
        found = await reads.run(read, [lane.order(share) for lane in low])
        for lane, arrived in zip(low, found, strict=True):
            # A clock that was set back while frames came in must not keep them from the replay's end.
            lane.ahead.extend(one._replace(at=min(one.at, self._end)) for one in arrived)
            if len(arrived) < share:
                lane.known = now if lane.until == math.inf else math.inf
        if sizes := [len(one.coded.text) for arrived in found for one in arrived]:
            self._usual = max(1, sum(sizes) // len(sizes))
        self._queue_up()

    def _queue_up(self) -> None:
        self._queue = [(lane.next_at, key) for key, lane in self._lanes.items()]
        heapq.heapify(self._queue)


def _gap(track: Track, until: int, parcel: Parcel) -> None:
    """Tell that there is nothing between the cursor and this seq, if so; stand before it."""
    if track.cursor < until - 1:
        gap = {"device": track.feed.key, "from": track.cursor + 1, "to": until - 1, "cause": "retention"}
        parcel.notes.append({"kind": "gap", **gap})
        track.cursor = until - 1
