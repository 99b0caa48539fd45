"""A subscription to devices: history and live in one stream without a hole.

It remembers a cursor for each device and nothing else. What comes next is read where it stands: from the feed's kept
rows, or, where those do not reach back to the cursor, from the database. So joining late, a lost doorbell, a slow
reader and a resumed one are all the same case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dashboard import protocol, reads
from dashboard.fanout import Feed, Session
from dashboard.protocol import Row, Track
from devices import telemetry

# Devices in one data message; a subscription with more of them takes turns.
DEVICES_A_MESSAGE: Final = 100


class Stream:
    """One subscription of one socket."""

    def __init__(self, sub: protocol.Sub, session: Session) -> None:
        """Exist, so that the feeds can be joined before anything is read."""
        self.id = sub.id
        self.session = session
        self.mode = sub.mode
        self.metrics = None if sub.metrics is None else frozenset(sub.metrics)
        self.tracks: dict[str, Track] = {}
        # Keys with rows to send, in order of arrival.
        self.due: dict[str, None] = {}
        self.begun = self.live = False

    def begin(self, starts: Sequence[reads.Start]) -> None:
        """Stand where the starts say; what is behind them waits to be sent as history."""
        self.tracks = {start.key: Track(start.cursor, start.head) for start in starts}
        self.due = dict.fromkeys(start.key for start in starts if start.cursor < start.head)
        self.begun = True

    def news(self, key: str) -> None:
        """Rows of this device are there. Before the seam they wait: `cross_seam` will find them."""
        if self.live:
            self.due[key] = None
            self.session.wake()

    async def next_texts(self, feeds: dict[str, Feed]) -> tuple[list[str], bool]:
        """Return messages to send now, in order, and whether the last one is a data message (it needs credit)."""
        fragments: dict[str, str] = {}
        notes: list[str] = []
        left = protocol.CHUNK
        phase = "live" if self.live else "history"
        for key in list(self.due)[:DEVICES_A_MESSAGE]:
            if left <= 0:
                break
            self.due.pop(key)
            left -= await self._take(feeds.get(key), key, left, fragments, notes)
        texts = notes
        if fragments:
            more = not self.live and self._behind_seam()
            texts = [*notes, protocol.data(self.id, phase, fragments, more=more)]
        return texts, bool(fragments)

    async def _take(
        self,
        feed: Feed | None,
        key: str,
        limit: int,
        fragments: dict[str, str],
        notes: list[str],
    ) -> int:
        """Take what follows one device's cursor; note what cannot be had; return the number of rows."""
        if feed is None:
            return 0
        track = self.tracks[key]
        self._skip_ahead(track, feed, notes)
        # What belongs to history ends at the seam, so that the two phases never mix in a message.
        until = feed.head if self.live else max(track.seam, track.cursor)
        limit = min(limit, until - track.cursor)
        if limit <= 0:
            return 0
        rows = feed.kept.after(track.cursor, limit) or await self._stored(feed, track, limit, notes)
        if rows:
            fragments[key] = protocol.fragment(rows, track.cursor, self.metrics, self.mode)
            track.cursor = rows[-1][0]
        if track.cursor < until:
            self.due[key] = None
        return len(rows)

    def _skip_ahead(self, track: Track, feed: Feed, notes: list[str]) -> None:
        behind = feed.head - track.cursor
        if self.live and behind > protocol.MAX_BEHIND:
            track.cursor = feed.head - protocol.MAX_BEHIND
            skipped = {feed.key: behind - protocol.MAX_BEHIND}
            notes.append(protocol.text(kind="lag", id=self.id, devices=skipped))

    async def _stored(
        self,
        feed: Feed,
        track: Track,
        limit: int,
        notes: list[str],
    ) -> list[tuple[int, Row, str]]:
        rows = await reads.run(telemetry.after, feed.pk, track.cursor, limit)
        first = rows[0][0] if rows else feed.head + 1
        if first > track.cursor + 1:
            gap = {"device": feed.key, "from": track.cursor + 1, "to": first - 1, "cause": "retention"}
            notes.append(protocol.text(kind="gap", id=self.id, **gap))
            track.cursor = first - 1
        return [(row[0], row, protocol.encode(row).decode()) for row in rows]

    def _behind_seam(self) -> bool:
        return any(track.cursor < track.seam for track in self.tracks.values())

    def cross_seam(self, feeds: dict[str, Feed]) -> bool:
        """Go live once all history was sent; whether it did so now."""
        if self.live or not self.begun or self._behind_seam():
            return False
        self.live = True
        for key, track in self.tracks.items():
            if key in feeds and feeds[key].head > track.cursor:
                self.due[key] = None
        return True
