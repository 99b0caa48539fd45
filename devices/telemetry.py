"""Readings: number them, store them, keep the heads; read them back.

`record` is the only writer of frames and heads. Synchronous; edges call it through sync_to_async.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.db import transaction
from django.db.models import Max, Min

from devices import journal, presence, wellknown, wire
from devices.groups import FrameRow, Frames, State, announce_on_commit
from devices.models import Device, Frame, Head, Metric
from devices.values import DAY_MS, EARLIEST_MS, MAX_METRICS, Reason, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Flags of a frame.
LATE: Final = 1  # older than the newest frame when it came
CLOCK: Final = 2  # the device's clock was impossible: ts is the time of arrival
RETAINED: Final = 4  # the broker had kept it


class Refused(msgspec.Struct, frozen=True):
    """A frame that could be read but not taken in; becomes a Reject."""

    frame: wire.Frame
    reason: Reason
    detail: str


class Recorded(msgspec.Struct):
    """What became of a batch: what to announce, what was refused, how many were known already."""

    frames: list[Frames] = []
    states: list[State] = []
    refused: list[Refused] = []
    duplicates: int = 0


def record(events: Sequence[wire.Frame | wire.Presence], now: int) -> Recorded:
    """Store a batch in one transaction: duplicates out, numbered without holes, heads updated. `now` in ms.

    Events of one device are taken in the order given. Idempotent for frames with a mark.
    """
    recorded = Recorded()
    with transaction.atomic():
        heads = _locked_heads({event.device for event in events})
        known = _known_marks(events)
        books: dict[str, _Book] = {}
        for event in events:
            head = heads.get(event.device)
            if head is None:
                if isinstance(event, wire.Frame):
                    recorded.refused.append(Refused(event, "device_unknown", "the device was deleted"))
                continue
            book = books.get(event.device) or books.setdefault(event.device, _Book(event.device, head))
            if isinstance(event, wire.Presence):
                book.said(event, now)
            elif _is_known(event, known):
                recorded.duplicates += 1
            elif book.take(event, now, recorded.refused) and event.mark is not None:
                known[event.mark] = event.received_at
        journal.append([row for book in books.values() for row in book.rows])
        journal.update_heads([book.head for book in books.values()])
        _learn_metrics(books.values())
    for book in books.values():
        book.report(recorded)
    return recorded


def _locked_heads(keys: set[str]) -> dict[str, Head]:
    # In the order of the primary key, so that two writers never wait for each other crosswise.
    rows = Head.objects.select_for_update(of=("self",)).filter(device__key__in=keys).order_by("pk")
    return {head.device.key: head for head in rows.select_related("device").only("device__key", *journal.HEAD)}


def _known_marks(events: Iterable[wire.Frame | wire.Presence]) -> dict[int, int]:
    """Return mark → received_at of the frames in the journal that this batch may repeat."""
    asked = {event.mark for event in events if isinstance(event, wire.Frame) and event.mark_ms}
    asked.discard(None)
    if not asked:
        return {}
    return dict(Frame.objects.filter(mark__in=asked).values_list("mark").annotate(at=Max("received_at")))


def _is_known(frame: wire.Frame, known: dict[int, int]) -> bool:
    at = known.get(frame.mark) if frame.mark is not None else None
    return at is not None and frame.received_at - at <= frame.mark_ms and frame.mark_ms > 0


class _Book:
    """One device's part of a batch: the head as it grows, and the rows that follow from it."""

    def __init__(self, key: str, head: Head) -> None:
        self.key = key
        self.head = head
        self.prev = head.seq
        self.was = presence.State(head.presence, head.because, head.since)  # type: ignore[arg-type]
        self.rows: list[journal.Row] = []
        self.new_metrics: dict[str, Value] = {}

    def take(self, frame: wire.Frame, now: int, refused: list[Refused]) -> bool:
        """Take a frame; whether it entered the journal."""
        new = [name for name in frame.values if name not in self.head.values]
        if new and len(self.head.values) + len(new) > MAX_METRICS:
            refused.append(Refused(frame, "too_many_metrics", f"{new[0]!r} would be one more than {MAX_METRICS}"))
            return False
        self.new_metrics.update((name, frame.values[name]) for name in new)
        if frame.retained and frame.ts is None:
            self._fill_head(frame, frame.received_at, only_new=True)
            return False
        ts, flags = self._when(frame)
        self._number(frame, ts, flags)
        # A clock that is ahead must not hold the head until the others have caught up.
        newest = min(ts, frame.received_at)
        self.head.ts = max(self.head.ts or 0, newest)
        self._fill_head(frame, newest)
        if not frame.retained:
            self._beat(frame, now)
        return True

    def _when(self, frame: wire.Frame) -> tuple[int, int]:
        flags = RETAINED if frame.retained else 0
        if frame.ts is None:
            return frame.received_at, flags
        if not EARLIEST_MS <= frame.ts <= frame.received_at + DAY_MS:
            return frame.received_at, flags | CLOCK
        late = self.head.ts is not None and frame.ts < self.head.ts
        return frame.ts, flags | (LATE if late else 0)

    def _number(self, frame: wire.Frame, ts: int, flags: int) -> None:
        head = self.head
        head.seq += 1
        device_ts = frame.ts if flags & CLOCK else None
        row = (head.pk, head.seq, ts, frame.received_at, device_ts, flags, frame.values, frame.mark)
        self.rows.append(journal.Row(*row))
        if frame.n is not None and (head.boot != frame.boot or frame.n > (head.n or 0)):
            head.boot, head.n = frame.boot, frame.n

    def _fill_head(self, frame: wire.Frame, ts: int, *, only_new: bool = False) -> None:
        for name, value in frame.values.items():
            old = self.head.values.get(name)
            if old is None or (not only_new and ts >= old[1]):
                self.head.values[name] = [value, ts]

    def _beat(self, frame: wire.Frame, now: int) -> None:
        head = self.head
        head.received_at = max(head.received_at or 0, frame.received_at)
        if head.beat_at is None or head.presence == "offline":
            head.beat_at = frame.received_at
        elif (interval := frame.received_at - head.beat_at) >= presence.BEAT_MS:
            head.usual_ms = presence.learned(head.usual_ms, interval)
            head.beat_at = frame.received_at
        self._become(presence.heard(self._state(), now))

    def said(self, event: wire.Presence, now: int) -> None:
        head = self.head
        state = presence.said(self._state(), now, online=event.online, retained=event.retained)
        if event.online:
            head.sleep_s = event.sleep_s
            if not event.retained:
                head.received_at = max(head.received_at or 0, event.received_at)
            if head.presence != state.presence:
                # From its start to its first reading is no rhythm: the next interval begins with that reading.
                head.beat_at = None
        self._become(state)

    def _state(self) -> presence.State:
        return presence.State(self.head.presence, self.head.because, self.head.since)  # type: ignore[arg-type]

    def _become(self, state: presence.State) -> None:
        self.head.presence, self.head.because, self.head.since = state

    def report(self, recorded: Recorded) -> None:
        if self.rows:
            rows: list[FrameRow] = [(row.seq, row.ts, row.values, row.flags) for row in self.rows]
            recorded.frames.append({"type": "device.frames", "device": self.key, "prev": self.prev, "frames": rows})
        if self._state() != self.was:
            recorded.states.append(state_message(self.key, self.head))


def state_message(key: str, head: Head) -> State:
    """Say a device's presence as it is told to its group."""
    return {
        "type": "device.state",
        "device": key,
        "presence": head.presence,
        "because": head.because,
        "since": head.since,
    }


def _learn_metrics(books: Iterable[_Book]) -> None:
    rows = []
    for book in books:
        for name, value in book.new_metrics.items():
            type_ = type_of(value)
            # A light that is on or off has no lux.
            unit, device_class = wellknown.kind(name) if type_ == "number" else ("", "")
            rows.append(
                Metric(device_id=book.head.pk, name=name, unit=unit, device_class=device_class, type=type_),
            )
    if rows:
        # What was announced before its first reading stays as announced; only its type was unknown.
        Metric.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["device", "name"],
            update_fields=["type"],
        )


def type_of(value: Value) -> str:
    """Name a value's type as the API does: number, bool or text."""
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "number"


def sweep_presence(now: int) -> int:
    """Mark devices that have been silent for too long as stale, and ring; return how many."""
    found = 0
    online = Head.objects.filter(presence="online").defer("values")
    for pk in [head.pk for head in online.iterator() if _silence(head, now).presence == "stale"]:
        with transaction.atomic():
            rows = Head.objects.select_for_update(of=("self",)).select_related("device")
            head = rows.filter(pk=pk).first()
            state = _silence(head, now) if head else None
            if head and state and state.presence == "stale":
                head.presence, head.because, head.since = state
                head.save(update_fields=["presence", "because", "since"])
                announce_on_commit(state_message(head.device.key, head))
                found += 1
    return found


def _silence(head: Head, now: int) -> presence.State:
    old = presence.State(head.presence, head.because, head.since)  # type: ignore[arg-type]
    return presence.silent(old, head.received_at, head.usual_ms, head.sleep_s, now)


def after(device_pk: int, seq: int, limit: int) -> list[FrameRow]:
    """Read the journal: at most `limit` frames behind `seq`, in order."""
    rows = Frame.objects.filter(device_id=device_pk, seq__gt=seq).order_by("seq")
    return list(rows.values_list("seq", "ts", "values", "flags")[:limit])


def cursor_at(device_pk: int, ts: int) -> int | None:
    """Return the cursor from which reading gives every frame that happened at `ts` (ms) or later; None: none did."""
    first = Frame.objects.filter(device_id=device_pk, ts__gte=ts).aggregate(first=Min("seq"))["first"]
    return None if first is None else first - 1


def first_seq(device_pk: int) -> int | None:
    """Return the oldest seq that is still kept; None when there is no frame."""
    seqs = Frame.objects.filter(device_id=device_pk).order_by("seq").values_list("seq", flat=True)
    return seqs.first()


def summary(name: str, head: Head) -> dict[str, Any]:
    """Return what a fleet's page shows of a device: presence with reason, newest values and their times."""
    return {
        "name": name,
        "presence": head.presence,
        "because": head.because,
        "since": head.since,
        "seq": head.seq,
        "ts": head.ts,
        "values": head_values(head),
        "times": {name: ts for name, (_, ts) in head.values.items()},
    }


def summaries(keys: list[str]) -> dict[str, dict[str, Any]]:
    """Return the summary of each of these devices."""
    heads = Head.objects.filter(device__key__in=keys).select_related("device")
    return {head.device.key: summary(head.device.name, head) for head in heads}


def head_values(head: Head) -> dict[str, Any]:
    """Return metric → newest value."""
    return {name: value for name, (value, _) in head.values.items()}


def forget(device: Device) -> None:
    """Delete a device's journal, in one statement instead of row by row."""
    Frame.objects.filter(device_id=device.pk)._raw_delete(using="default")  # noqa: SLF001
