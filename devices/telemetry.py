"""Readings: number them, store them, keep the heads; read them back.

`record` is the only writer of frames and heads. Synchronous; edges call it through sync_to_async.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from django.db import transaction
from django.db.models import Max, Min

from devices import journal, numbering, presence, standing, wellknown, wire
from devices.groups import FrameRow, Frames, State
from devices.models import Device, Event, Frame, Head, Metric
from devices.values import DAY_MS, EARLIEST_MS, MAX_METRICS, Bad, Reason, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Flags of a frame.
LATE: Final = 1  # older than the newest frame when it came
CLOCK: Final = 2  # the device's clock was impossible: ts is the time of arrival
RETAINED: Final = 4  # the broker had kept it

_FLAGS: Final = {LATE: "late", CLOCK: "clock", RETAINED: "retained"}

# Of a device that loses frames all the time, as much is enough; how many it is at any moment, its head says.
TELL_MISSING_MS: Final = 60_000


class Refused(msgspec.Struct, frozen=True):
    """A frame that could be read but not taken in; becomes a Reject. `index`: which of the events it was."""

    index: int
    frame: wire.Frame
    reason: Reason
    detail: str


class Recorded(msgspec.Struct):
    """What became of a batch: what to announce, to tell the devices, what was refused, how many were known already.

    noted   retained values, which the heads show and the journal has not
    """

    frames: list[Frames] = []
    states: list[State] = []
    receipts: list[numbering.Receipt] = []
    refused: list[Refused] = []
    duplicates: int = 0
    noted: int = 0


def record(events: Sequence[wire.Frame | wire.Presence], now: int) -> Recorded:
    """Store a batch in one transaction: duplicates out, numbered without holes, heads updated. `now` in ms.

    Events of one device are taken in the order given. Idempotent for frames with a mark.
    """
    recorded = Recorded()
    # Nobody goes on with a transaction in which this failed: a savepoint would be two more round trips for each batch.
    with transaction.atomic(savepoint=False):
        heads = _locked_heads({event.device for event in events})
        books = {key: _Book(key, head) for key, head in heads.items()}
        known = _known_marks(events)
        for index, event in enumerate(events):
            book = books.get(event.device)
            if isinstance(event, wire.Presence):
                if book is not None:
                    book.said(event, now)
                continue
            if book is None:
                recorded.refused.append(Refused(index, event, "device_unknown", "the device was deleted"))
                continue
            try:
                recorded.duplicates += not book.take(event, known, now)
            except Bad as bad:
                recorded.refused.append(Refused(index, event, bad.reason, bad.detail))
        for book in books.values():
            book.close(now)
        journal.append([row for book in books.values() for row in book.rows])
        journal.update_heads([book.head for book in books.values()])
        _learn_metrics(books.values())
        Event.objects.bulk_create([happened for book in books.values() for happened in book.events])
    for book in books.values():
        book.report(recorded)
    return recorded


def _locked_heads(keys: set[str]) -> dict[str, Head]:
    # In the order of the primary key, so that two writers never wait for each other crosswise.
    rows = Head.objects.select_for_update(of=("self",)).filter(device__key__in=keys).order_by("pk")
    return {head.device.key: head for head in rows.select_related("device").only("device__key", *journal.HEAD)}


class _Known(NamedTuple):
    """A frame with a mark that is in the journal, or before in the same batch."""

    received_at: int
    values: dict[str, Value]


def _known_marks(events: Iterable[wire.Frame | wire.Presence]) -> dict[int, _Known]:
    """Return the frames in the journal that this batch may repeat, by mark; of several the newest."""
    asked = {event.mark for event in events if isinstance(event, wire.Frame) and event.mark_ms}
    return {mark: _Known(at, values) for mark, at, values in journal.marked(asked - {None})}


class _Book:
    """One device's part of a batch: the head as it grows, and the rows that follow from it."""

    def __init__(self, key: str, head: Head) -> None:
        self.key = key
        self.head = head
        self.prev = head.seq
        self.was = self._state()
        self.rows: list[journal.Row] = []
        self.new_metrics: dict[str, Value] = {}
        self.numbering = numbering.of(head.numbering)
        self.missing = self.numbering.missing
        # Boots of which frames came in this batch, in the order in which they were heard first.
        self.boots: dict[int, None] = {}
        self.events: list[Event] = []
        self.noted = 0

    def take(self, frame: wire.Frame, known: dict[int, _Known], now: int) -> bool:
        """Take a frame; False: it is a duplicate. Raises Bad."""
        if frame.mark is not None and self._is_known(frame, known.get(frame.mark)):
            return False
        self._learn(frame)
        if frame.retained and not _is_dated(frame):
            self._fill_head(frame, frame.received_at, only_new=True)
            self.noted += 1
            return True
        self._enter(frame, now)
        if frame.mark is not None:
            known[frame.mark] = _Known(frame.received_at, frame.values)
        return True

    def _is_known(self, frame: wire.Frame, same: _Known | None) -> bool:
        if frame.boot is not None and frame.n is not None:
            return self._is_known_number(frame, frame.boot, frame.n, same)
        return same is not None and 0 < frame.mark_ms >= frame.received_at - same.received_at

    def _is_known_number(self, frame: wire.Frame, boot: int, n: int, same: _Known | None) -> bool:
        if same is None and not self.numbering.has(boot, n):
            return False
        problem = f"seq {n} of boot {boot} came before"
        if same is not None and not _are_same(frame.values, same.values):
            # Not the same frame again: taken for one, it would be lost without a word.
            raise Bad("bad_value", f"{problem}, with other values; begin a new boot with each start")
        self.numbering.again(boot, n)
        self.boots[boot] = None
        if same is None:
            # Retention took it from the journal, but it is in the roll-ups: stored again, it would count twice.
            raise Bad("bad_value", f"{problem}, and is not kept any more; if this is another one, begin a new boot")
        return True

    def _learn(self, frame: wire.Frame) -> None:
        new = [name for name in frame.values if name not in self.head.values]
        if new and len(self.head.values) + len(new) > MAX_METRICS:
            raise Bad("too_many_metrics", f"{new[0]!r} would be one more than {MAX_METRICS}")
        self.new_metrics.update((name, frame.values[name]) for name in new)

    def _enter(self, frame: wire.Frame, now: int) -> None:
        ts, flags = self._when(frame)
        self._number(frame, ts, flags)
        # A clock that is ahead must not hold the head until the others have caught up.
        newest = min(ts, frame.received_at)
        self.head.ts = max(self.head.ts or 0, newest)
        self._fill_head(frame, newest)
        if not (frame.retained or frame.past):
            self._beat(frame, now)

    def _when(self, frame: wire.Frame) -> tuple[int, int]:
        flags = RETAINED if frame.retained else 0
        ts = frame.received_at if frame.ts is None else frame.ts
        if not _is_possible(ts, frame):
            return frame.received_at, flags | CLOCK
        late = self.head.ts is not None and ts < self.head.ts
        return ts, flags | (LATE if late else 0)

    def _number(self, frame: wire.Frame, ts: int, flags: int) -> None:
        head = self.head
        head.seq += 1
        device_ts = frame.ts if flags & CLOCK else None
        row = (head.pk, head.seq, ts, frame.received_at, device_ts, flags, frame.values, frame.mark)
        self.rows.append(journal.Row(*row))
        if frame.boot is not None and frame.n is not None:
            if self.numbering.take(frame.boot, frame.n) and self.prev:
                self._happened("boot", "", f"it started again (boot {frame.boot})", frame.received_at)
            self.boots[frame.boot] = None

    def _fill_head(self, frame: wire.Frame, ts: int, *, only_new: bool = False) -> None:
        for name, value in frame.values.items():
            old = self.head.values.get(name)
            if old is None or (not only_new and ts >= old[1]):
                self.head.values[name] = [value, ts]

    def _beat(self, frame: wire.Frame, now: int) -> None:
        head = self.head
        head.received_at = max(head.received_at or 0, frame.received_at)
        if head.beat_at is None or head.presence == "offline" or presence.asleep(self._state()):
            head.beat_at = frame.received_at
        elif (interval := frame.received_at - head.beat_at) >= presence.BEAT_MS:
            head.usual_ms = presence.learned(head.usual_ms, interval)
            head.beat_at = frame.received_at
        self._become(presence.heard(self._state(), now))

    def said(self, event: wire.Presence, now: int) -> None:
        head, old = self.head, self._state()
        if event.online or event.sleep_s is not None:
            head.sleep_s = event.sleep_s
        state = presence.said(old, now, head.sleep_s, online=event.online, retained=event.retained)
        if event.online:
            if not event.retained:
                head.received_at = max(head.received_at or 0, event.received_at)
                head.greeted_at = now
            if state.presence != old.presence or presence.asleep(old):
                # From its start to its first reading is no rhythm: the next interval begins with that reading.
                head.beat_at = None
        self._become(state)

    def _state(self) -> presence.State:
        return standing.of(self.head)

    def _become(self, state: presence.State) -> None:
        self.head.presence, self.head.because, self.head.since = state

    def close(self, now: int) -> None:
        """Note in the head, and among the device's events, what became of it in this batch."""
        # A device that wakes and sleeps every minute would fill its history with it.
        if self.head.presence != self.was.presence:
            self._happened("presence", self.head.presence, self.head.because, self.head.since)
        if not self.boots:
            return
        missing = self.numbering.missing
        if missing > self.missing and now - self.numbering.told_at >= TELL_MISSING_MS:
            self.numbering.told_at = now
            self._happened("numbering", "", f"{missing} of its frames are missing, by its own numbers", now)
        self.head.numbering = msgspec.to_builtins(self.numbering)
        self.head.missing = missing

    def _happened(self, kind: str, state: str, because: str, at: int) -> None:
        self.events.append(Event(device_id=self.head.pk, at=at, kind=kind, state=state, because=because))

    def report(self, recorded: Recorded) -> None:
        told = (self.numbering.receipt(self.key, boot) for boot in self.boots)
        recorded.receipts += [receipt for receipt in told if receipt is not None]
        if self.rows:
            rows: list[FrameRow] = [(row.seq, row.ts, row.values, row.flags) for row in self.rows]
            hops = [self.rows[-1].received_at, 0, 0]
            recorded.frames.append(
                {"type": "device.frames", "device": self.key, "prev": self.prev, "frames": rows, "hops": hops}
            )
        recorded.noted += self.noted
        if self._state() != self.was:
            recorded.states.append(standing.message(self.key, self.head))


def _is_possible(ts: int, frame: wire.Frame) -> bool:
    return EARLIEST_MS <= ts <= frame.received_at + DAY_MS


def _is_dated(frame: wire.Frame) -> bool:
    return frame.ts is not None and _is_possible(frame.ts, frame)


def _are_same(values: dict[str, Value], stored: dict[str, Value]) -> bool:
    """Compare what came with what is stored: PostgreSQL gives 1e23 back as an integer, which is not equal to it."""
    return values == stored or _in_floats(values) == _in_floats(stored)


def _in_floats(values: dict[str, Value]) -> dict[str, Value]:
    return {name: value if isinstance(value, str) else float(value) for name, value in values.items()}


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


def flag_words(flags: int) -> list[str]:
    """Say a frame's flags in words."""
    return [word for bit, word in _FLAGS.items() if flags & bit]


def type_of(value: Value) -> str:
    """Name a value's type as the API does: number, bool or text."""
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "number"


def after(device_pk: int, seq: int, limit: int) -> list[FrameRow]:
    """Read the journal: at most `limit` frames behind `seq`, in order."""
    rows = Frame.objects.filter(device_id=device_pk, seq__gt=seq).order_by("seq")
    return list(rows.values_list("seq", "ts", "values", "flags")[:limit])


def cursor_at(device_pk: int, ts: int) -> int | None:
    """Return the cursor from which reading gives every frame that happened at `ts` (ms) or later; None: none did."""
    first = Frame.objects.filter(device_id=device_pk, ts__gte=ts).aggregate(first=Min("seq"))["first"]
    return None if first is None else first - 1


def arrived_before(devices: Mapping[int, int], at: int) -> dict[int, int]:
    """Return the cursors behind which is what arrived at `at` (ms) or later; `devices`: row id → newest seq."""
    return journal.arrived_before(devices, at)


def arrivals(device_pk: int, seq: int, limit: int) -> list[tuple[int, FrameRow]]:
    """Read the journal as `after` does, each frame with the time of its arrival."""
    rows = Frame.objects.filter(device_id=device_pk, seq__gt=seq).order_by("seq")
    fields = rows.values_list("received_at", "seq", "ts", "values", "flags")
    return [(at, tuple(row)) for at, *row in fields[:limit]]


def first_arrival(device_pk: int) -> tuple[int, int] | None:
    """Return seq and time of arrival of the oldest frame that is still kept; None when there is no frame."""
    rows = Frame.objects.filter(device_id=device_pk).order_by("seq")
    return rows.values_list("seq", "received_at").first()


def newest_arrival() -> int | None:
    """Return when the newest of all frames arrived (ms); None: none ever did."""
    newest: int | None = Head.objects.aggregate(newest=Max("received_at"))["newest"]
    return newest


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
