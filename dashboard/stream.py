"""Where somebody stands in the journals of some devices, and what comes next: history and live without a hole.

It remembers a cursor for each device and nothing else. What comes next is read where it stands: from the feed's kept
rows, or, where those do not reach back to the cursor, from the database. So joining late, a lost doorbell, a slow
reader and a resumed one are all the same case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dashboard import path, protocol, reads, rows
from dashboard.feeds import Feed
from dashboard.parcel import Parcel
from dashboard.rows import Coded, Part
from devices import telemetry
from devices.errors import device_unknown


class Track:
    """Where a stream stands with one device.

    cursor   seq of the newest row taken
    seam     the head when it joined: rows up to it are history
    """

    __slots__ = ("cursor", "feed", "seam")

    def __init__(self, feed: Feed, cursor: int, seam: int) -> None:
        """Stand at `cursor`; history ends at `seam`."""
        self.feed = feed
        self.cursor = cursor
        self.seam = seam


class Stream:
    """Cursors in the journals of some devices. `wake` is called when a live one has something new."""

    def __init__(self, metrics: frozenset[str] | None, mode: str, wake: Callable[[], None]) -> None:
        """Stand nowhere yet."""
        self.metrics = metrics
        self.mode = mode
        self.wake = wake
        self.tracks: dict[str, Track] = {}
        # Keys with rows to send, in order of arrival.
        self.due: dict[str, None] = {}
        self.live = False
        # Whether nothing follows any more: a replay to its end.
        self.over = False
        # What a row of this stream usually takes, so that not much more is read than is sent.
        self._usual = 100

    def begin(self, feeds: Mapping[str, Feed], starts: Sequence[reads.Start]) -> None:
        """Stand where the starts say; what is behind them waits to be sent as history."""
        for start in starts:
            feed = feeds[start.key]
            if start.pk != feed.pk:
                # Deleted and made again while we joined: it is another device.
                raise device_unknown(start.key)
            self._stand(feed, start.cursor, start.head)
            if start.cursor < start.head:
                self.due[start.key] = None
            feed.moved(start.head)

    def _stand(self, feed: Feed, cursor: int, seam: int) -> None:
        self.tracks[feed.key] = Track(feed, cursor, seam)
        feed.streams.add(self)

    def fork(self, before: Mapping[str, int], wake: Callable[[], None]) -> Stream:
        """Return another that stands here too, but at these cursors where they are given."""
        other = Stream(self.metrics, self.mode, wake)
        other.live = self.live
        for key, track in self.tracks.items():
            other._stand(track.feed, before.get(key, track.cursor), track.seam)
        other.due = other._behind()
        return other

    def _behind(self) -> dict[str, None]:
        return {key: None for key, track in self.tracks.items() if track.feed.head > track.cursor}

    def leave(self) -> None:
        """Listen no longer."""
        for track in self.tracks.values():
            track.feed.streams.discard(self)

    def news(self, key: str) -> None:
        """Rows of this device are there. Before the seam they wait: `cross_seam` will find them."""
        if self.live:
            self.due[key] = None
            self.wake()

    async def next_parcel(self) -> Parcel:
        """Take what is due, as much as one message holds."""
        parcel = Parcel()
        try:
            for key in list(self.due):
                if parcel.full:
                    break
                del self.due[key]
                await self._take(self.tracks[key], parcel)
        except BaseException:
            self._take_back(parcel)
            raise
        if parcel.parts and self.live:
            parcel.seal("live", sent=reads.now_ms())
            for part in parcel.parts.values():
                if part.hops:
                    path.counts.hops(part.hops, parcel.sent)
        elif parcel.parts and self._before_seam():
            parcel.seal("history", more=True)
        elif parcel.parts:
            parcel.seal("history")
        return parcel

    def _take_back(self, parcel: Parcel) -> None:
        """Stand where it began: what could not be put together whole is sent to nobody."""
        for key, cursor in parcel.before.items():
            self.tracks[key].cursor = cursor
            self.due[key] = None

    async def _take(self, track: Track, parcel: Parcel) -> None:
        """Take what follows one device's cursor; note what cannot be had."""
        parcel.before[track.feed.key] = track.cursor
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
        if self.metrics is not None or self.mode != "all" or not self.live:
            return None
        part = track.feed.kept.part_after(track.cursor)
        fits = part and part.last <= until and part.amount <= parcel.rows and part.size <= parcel.size
        return part if fits else None

    async def _own(self, track: Track, limit: int, until: int, parcel: Parcel) -> Part | None:
        """Put together what comes next, from what is kept or what is stored."""
        kept = track.feed.kept.after(track.cursor, limit)
        coded = kept or await self._stored(track, limit, until, parcel)
        if not coded:
            return None
        fitting = rows.fitting(coded, parcel.size)
        if self.live and not kept:
            parcel.read_back += len(fitting)
        hops = track.feed.kept.hops if self.live and fitting[-1].seq == track.feed.kept.last else None
        return rows.part_of(fitting, track.cursor, self.metrics, self.mode, hops)

    def part_between(self, key: str, cursor: int, last: int) -> Part | None:
        """Return what is kept of a device's rows behind `cursor` up to `last`; None where that is not all of them."""
        coded = self.tracks[key].feed.kept.after(cursor, last - cursor)
        if not coded or coded[-1].seq != last:
            return None
        return rows.part_of(coded, cursor, self.metrics, self.mode)

    def _skip_ahead(self, track: Track, parcel: Parcel) -> None:
        skipped = track.feed.head - track.cursor - protocol.MAX_BEHIND
        if self.live and skipped > 0:
            track.cursor += skipped
            parcel.notes.append({"kind": "lag", "devices": {track.feed.key: skipped}})

    async def _stored(self, track: Track, limit: int, until: int, parcel: Parcel) -> list[Coded]:
        """Read rows back. `until`: the head that was known before; what came since is not missing, only later."""
        limit = max(1, min(limit, parcel.size // self._usual))
        found = rows.unbroken(await reads.run(telemetry.after, track.feed.pk, track.cursor, limit))
        first = found[0][0] if found else until + 1
        if first > track.cursor + 1:
            gap = {"device": track.feed.key, "from": track.cursor + 1, "to": first - 1, "cause": "retention"}
            parcel.notes.append({"kind": "gap", **gap})
            track.cursor = first - 1
        coded = [rows.code(row) for row in found]
        if coded:
            self._usual = max(1, sum(len(one.text) for one in coded) // len(coded))
        return coded

    def _before_seam(self) -> bool:
        return any(track.cursor < track.seam for track in self.tracks.values())

    def cross_seam(self) -> bool:
        """Go live once all history was sent; whether it did so now."""
        if self.live or self._before_seam():
            return False
        self.live = True
        self.due = self._behind()
        return True
