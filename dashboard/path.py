"""What this process counts of the path, from the doorbell to the sockets, and how long each hop takes.

Plain numbers, added to where it happens, on the event loop; metrics.py shows them to Prometheus, `message` to a client.
All are of the process since its start, and of no device, fleet or user. How they fit together: docs/production.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

from dashboard import protocol, reads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboard.pulses import Heard

# In ms: from what one commit takes to what a device does that keeps its readings for a minute.
BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
# What percentiles are told of: the last minute, and at most so many of the newest.
RECENT_MS: Final = 60_000
RECENT: Final = 1000
HOPS: Final = ("received", "committed", "announced", "sent")


class Hop:
    """How long one hop takes, in ms: buckets for ever, and the newest for percentiles."""

    __slots__ = ("_recent", "buckets", "total")

    def __init__(self) -> None:
        """Have seen nothing."""
        # How many took as long as that and longer than the bucket before; the last: longer than all.
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.total = 0
        self._recent: deque[tuple[int, int]] = deque(maxlen=RECENT)

    def took(self, ms: int, now: int) -> None:
        """Note one; less than nothing (two machines' clocks) counts as nothing."""
        ms = max(ms, 0)
        self.buckets[bisect_left(BUCKETS, ms)] += 1
        self.total += ms
        self._recent.append((now, ms))

    def percentiles(self, now: int) -> dict[str, int | None]:
        """Return the median and the worst but one in a hundred, of the last minute; None: there was nothing."""
        took = sorted(ms for at, ms in self._recent if now - at <= RECENT_MS)
        return {
            name: took[(len(took) - 1) * part // 100] if took else None for name, part in (("p50", 50), ("p99", 99))
        }


class Sent:
    """What was sent to clients: to one (`SocketCounts`), and so to all together (`Counts`).

    messages_sent      data and fleet messages: the ones that cost credit
    frames_sent        rows in its data messages, of history and live
    frames_merged      rows that went into another one, in mode latest
    frames_read_back   of `frames_sent`, those that were read from the database when the subscription was live already
    frames_skipped     told as `lag`
    frames_gone        told as `gap`

    A live subscription's cursor has moved by frames_sent + merged + skipped + gone since where it began.
    """

    def __init__(self, whole: Sent | None = None) -> None:
        """Begin at zero; what is counted here counts for the `whole` as well."""
        self._whole = whole
        self.messages_sent = 0
        self.frames_sent = 0
        self.frames_merged = 0
        self.frames_read_back = 0
        self.frames_skipped = 0
        self.frames_gone = 0

    def sent(self, messages: int, frames: int, merged: int = 0) -> None:
        """Messages went out with these rows in them; `merged` more are in those rows (mode latest)."""
        self.messages_sent += messages
        self.frames_sent += frames
        self.frames_merged += merged
        if self._whole:
            self._whole.sent(messages, frames, merged)

    def read_back(self, frames: int) -> None:
        """So many of the rows sent came from the database, although the subscription was live."""
        self.frames_read_back += frames
        if self._whole:
            self._whole.read_back(frames)

    def skipped(self, frames: int) -> None:
        """So many frames were jumped over, and told as `lag`."""
        self.frames_skipped += frames
        if self._whole:
            self._whole.skipped(frames)

    def gone(self, frames: int) -> None:
        """So many frames cannot be had any more, which was told as `gap`."""
        self.frames_gone += frames
        if self._whole:
            self._whole.gone(frames)


class Counts(Sent):
    """One process's: what came to it, and what all its clients together were sent.

    doorbells       messages about frames that came through the channel layer
    frames_heard    frames in them
    frames_missed   frames that no doorbell brought in time, although one should have (see `Bells`)
    sockets         open at this moment; sockets_opened: since the start
    """

    def __init__(self, now: int) -> None:
        """Begin at zero; `now` in ms."""
        super().__init__()
        self.began = now
        self.doorbells = 0
        self.frames_heard = 0
        self.frames_missed = 0
        self.sockets = 0
        self.sockets_opened = 0
        self.latency = {name: Hop() for name in HOPS}

    def heard(self, rows: Sequence[Sequence[Any]], hops: Sequence[int] | None, now: int) -> None:
        """A doorbell brought these rows (one at least); `hops`: when the newest was received, committed, announced."""
        self.doorbells += 1
        self.frames_heard += len(rows)
        if hops is not None:
            received, committed, announced = hops
            ts = rows[-1][1]
            # A reading without a time of its own got that of its arrival, which says nothing of its way.
            if ts != received:
                self.latency["received"].took(received - ts, now)
            self.latency["committed"].took(committed - received, now)
            self.latency["announced"].took(announced - committed, now)

    def hops(self, stamps: Sequence[int], sent: int) -> None:
        """A device's part with these stamps goes out at `sent` (ms). Once for a part, however many sockets get it."""
        self.latency["sent"].took(sent - stamps[2], sent)

    def missed(self, frames: int) -> None:
        """So many frames were brought by no doorbell."""
        self.frames_missed += frames

    def numbers(self) -> dict[str, int]:
        """Return every number by its name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


class SocketCounts(Sent):
    """What one client was sent since it came: a socket, or a stream of events. `with` it while it is here."""

    def __init__(self, whole: Counts) -> None:
        """Have sent nothing."""
        super().__init__(whole)
        self._process = whole

    def __enter__(self) -> Self:
        """One more is here."""
        self._process.sockets += 1
        self._process.sockets_opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        """It is gone."""
        self._process.sockets -= 1

    def numbers(self) -> dict[str, int]:
        """Return them as the client is told."""
        return {
            "messages": self.messages_sent,
            "frames": self.frames_sent,
            "merged": self.frames_merged,
            "read_back": self.frames_read_back,
            "skipped": self.frames_skipped,
            "gone": self.frames_gone,
        }


class Bells:
    """What doorbells brought of one device, from the first one on: so that what none brought is counted, and once.

    Before the first one nobody had asked the bridge for any.
    """

    __slots__ = ("_brought", "_known")

    def __init__(self) -> None:
        """Have heard none."""
        self._brought: int | None = None
        self._known = 0

    def rang(self, prev: int, last: int) -> int:
        """A doorbell brought what is behind `prev`, up to `last`; return how many before it were missed."""
        missed = 0 if self._brought is None else max(0, prev - self._brought)
        self._brought = max(self._brought or 0, last)
        return missed

    def checked(self, head: int) -> int:
        """At a check `head` is known; return how many that were known at the one before no doorbell has brought."""
        known, self._known = self._known, head
        if self._brought is None or known <= self._brought:
            return 0
        missed, self._brought = known - self._brought, known
        return missed


# This process's.
counts: Final = Counts(reads.now_ms())


def message(bridges: Mapping[str, Heard], socket: SocketCounts, now: int, ours: Counts = counts) -> str:
    """Say how the whole path is: `{"type":"path",…}`; `now` in ms."""
    return protocol.text(
        kind="path",
        at=now,
        bridges={name: heard.told() for name, heard in bridges.items()},
        web=ours.numbers(),
        socket=socket.numbers(),
        latency_ms={name: hop.percentiles(now) for name, hop in ours.latency.items()},
    )
