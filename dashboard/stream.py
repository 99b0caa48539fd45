"""A subscription to devices: history and live in one stream without a hole.

It remembers a cursor for each device and nothing else. What comes next is read where it stands: from the feed's kept
rows, or, where those do not reach back to the cursor, from the database. So joining late, a lost doorbell, a slow
reader and a resumed one are all the same case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dashboard import protocol, reads, rows
from dashboard.feeds import Feed, Session
from dashboard.rows import Coded, Part
from devices import telemetry
from devices.errors import device_unknown

# Devices in one data message; a subscription with more of them takes turns.
DEVICES_A_MESSAGE: Final = 100


class Track:
    """Where a subscription stands with one device.

    cursor   seq of the newest row sent
    seam     the head when it joined: rows up to it are history
    """

    __slots__ = ("cursor", "feed", "seam")

    def __init__(self, feed: Feed, cursor: int, seam: int) -> None:
        """Stand at `cursor`; history ends at `seam`."""
        self.feed = feed
        self.cursor = cursor
        self.seam = seam


class Parcel:
    """What is to be sent next: words that need no credit, then at most one data message, which needs it."""

    def __init__(self) -> None:
        """Start empty, with room for one message."""
        self.notes: list[str] = []
        self.fragments: dict[str, str] = {}
        self.rows = rows.CHUNK
        self.size = rows.CHUNK_SIZE
        self.data: str | None = None

    @property
    def full(self) -> bool:
        """Whether another device's rows have to wait for the next one."""
        return self.rows <= 0 or self.size <= 0 or len(self.fragments) >= DEVICES_A_MESSAGE

    def put(self, key: str, part: Part) -> None:
        """Add one device's rows."""
        self.fragments[key] = part.text
        self.rows -= part.amount
        self.size -= part.size


class Stream:
    """One subscription of one socket."""

    def __init__(self, sub: protocol.Sub, session: Session) -> None:
        """Exist, so that the feeds can be joined before anything is read."""
        self.id = sub.id
        self.session = session
        self.mode = sub.mode
        self.metrics = None if sub.metrics is None else frozenset(sub.metrics)
        self.feeds: dict[str, Feed] = {}
        self.tracks: dict[str, Track] = {}
        # Keys with rows to send, in order of arrival.
        self.due: dict[str, None] = {}
        self.live = False
        # What a row of this stream usually takes, so that not much more is read than is sent.
        self._usual = 100

    def begin(self, starts: Sequence[reads.Start]) -> None:
        """Stand where the starts say; what is behind them waits to be sent as history."""
        for start in starts:
            feed = self.feeds[start.key]
            if start.pk != feed.pk:
                # Deleted and made again while we joined: it is another device.
                raise device_unknown(start.key)
            self.tracks[start.key] = Track(feed, start.cursor, start.head)
            if start.cursor < start.head:
                self.due[start.key] = None
            feed.moved(start.head)

    def leave(self) -> None:
        """Listen no longer."""
        for feed in self.feeds.values():
            feed.subscribers.discard(self)

    def news(self, key: str) -> None:
        """Rows of this device are there. Before the seam they wait: `cross_seam` will find them."""
        if self.live:
            self.due[key] = None
            self.session.wake()

    def lost(self, key: str) -> None:  # noqa: ARG002  one device less, and the subscription is not what was asked for
        """End, as one of its devices may not be seen any more."""
        self.session.end(self.id)

    async def next_parcel(self) -> Parcel:
        """Take what is due, as much as one message holds."""
        parcel = Parcel()
        for key in list(self.due):
            if parcel.full:
                break
            del self.due[key]
            await self._take(self.tracks[key], parcel)
        if parcel.fragments:
            phase = "live" if self.live else "history"
            more = not self.live and self._behind_seam()
            parcel.data = rows.data(self.id, phase, parcel.fragments, more=more)
        return parcel

    async def _take(self, track: Track, parcel: Parcel) -> None:
        """Take what follows one device's cursor; note what cannot be had."""
        self._skip_ahead(track, parcel)
        # What belongs to history ends at the seam, so that the two phases never mix in a message.
        until = track.feed.head if self.live else track.seam
        limit = min(parcel.rows, until - track.cursor)
        if limit <= 0:
            return
        part = self._shared(track, until, parcel) or await self._own(track, limit, until, parcel)
        if part is not None:
            parcel.put(track.feed.key, part)
            track.cursor = part.last
        if track.cursor < until:
            self.due[track.feed.key] = None

    def _shared(self, track: Track, until: int, parcel: Parcel) -> Part | None:
        """Return what the feed has ready for everybody who stands here, if that is what comes next, whole."""
        if self.metrics is not None or self.mode != "all":
            return None
        part = track.feed.kept.part_after(track.cursor)
        fits = part and part.last <= until and part.amount <= parcel.rows and part.size <= parcel.size
        return part if fits else None

    async def _own(self, track: Track, limit: int, until: int, parcel: Parcel) -> Part | None:
        """Put together what comes next, from what is kept or what is stored."""
        coded = track.feed.kept.after(track.cursor, limit) or await self._stored(track, limit, until, parcel)
        if not coded:
            return None
        return rows.part_of(rows.fitting(coded, parcel.size), track.cursor, self.metrics, self.mode)

    def _skip_ahead(self, track: Track, parcel: Parcel) -> None:
        skipped = track.feed.head - track.cursor - protocol.MAX_BEHIND
        if self.live and skipped > 0:
            track.cursor += skipped
            parcel.notes.append(protocol.text(kind="lag", id=self.id, devices={track.feed.key: skipped}))

    async def _stored(self, track: Track, limit: int, until: int, parcel: Parcel) -> list[Coded]:
        """Read rows back. `until`: the head that was known before; what came since is not missing, only later."""
        limit = max(1, min(limit, parcel.size // self._usual))
        found = rows.unbroken(await reads.run(telemetry.after, track.feed.pk, track.cursor, limit))
        first = found[0][0] if found else until + 1
        if first > track.cursor + 1:
            gap = {"device": track.feed.key, "from": track.cursor + 1, "to": first - 1, "cause": "retention"}
            parcel.notes.append(protocol.text(kind="gap", id=self.id, **gap))
            track.cursor = first - 1
        coded = [rows.code(row) for row in found]
        if coded:
            self._usual = max(1, sum(len(one.text) for one in coded) // len(coded))
        return coded

    def _behind_seam(self) -> bool:
        return any(track.cursor < track.seam for track in self.tracks.values())

    def cross_seam(self) -> bool:
        """Go live once all history was sent; whether it did so now."""
        if self.live or self._behind_seam():
            return False
        self.live = True
        self.due = {key: None for key, track in self.tracks.items() if track.feed.head > track.cursor}
        return True
