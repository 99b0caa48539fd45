"""Exports: a device's frames of a range of time, in the order of ts and seq, page by page, as CSV or NDJSON.

What is marked as bad is left out, or is flagged; what was stored after the export began is not in it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
from django.db.models import Q

from devices import tables, telemetry
from devices.errors import Refusal
from devices.history import repairs
from devices.models import Device, Frame, Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from devices.values import Value

Format = Literal["csv", "ndjson"]

# Frames read at once: some 100 KB of text, which is all that an export holds in memory.
PAGE: Final = 1000
COLUMNS: Final = ("ts", "ts_ms", "received_ms", "seq", "flags")
REPAIRED: Final = "repaired"

_encode = msgspec.json.Encoder().encode


class Export(NamedTuple):
    """What is exported: these metrics of one device, of frames that happened in [start, end) and were here before.

    flagged   what is marked as bad is in it, with the flag `repaired`; else it is left out
    """

    device_pk: int
    metrics: tuple[str, ...]
    start: int
    end: int
    upto: int
    flagged: bool


class Row(NamedTuple):
    """A frame as exported; `flags` in words."""

    ts: int
    received_at: int
    seq: int
    flags: list[str]
    values: dict[str, Value]


_Frame = tuple[int, int, int, int, dict[str, "Value"]]
# Where an export stands: ts and seq of the last frame that was read.
Place = tuple[int, int]


def of(device: Device, metrics: list[str], start: int, end: int, *, flagged: bool) -> Export:
    """Say what is to be exported; without names all metrics of the device."""
    known = sorted(Metric.objects.filter(device=device).values_list("name", flat=True))
    if unknown := sorted(set(metrics) - set(known)):
        message = f"{device} has no metric {unknown[0]!r}; name some of {', '.join(known)}."
        raise Refusal("invalid", message, fields={"metric": "must name metrics of the device"})
    if start >= end:
        message = "The range must end after it begins."
        raise Refusal("invalid", message, fields={"to": "must be later than from"})
    names = tuple(sorted(set(metrics)) or known)
    return Export(device.pk, names, start, end, device.head.seq, flagged)


def page(export: Export, place: Place | None) -> tuple[list[Row], Place | None]:
    """Read what follows `place`, or the beginning; return the rows, and the place behind them: None at the end."""
    frames = Frame.objects.filter(device_id=export.device_pk, ts__lt=export.end, seq__lte=export.upto)
    if place is None:
        frames = frames.filter(ts__gte=export.start)
    else:
        ts, seq = place
        frames = frames.filter(Q(ts__gt=ts) | Q(seq__gt=seq), ts__gte=ts)
    found = list(frames.order_by("ts", "seq").values_list("ts", "seq", "received_at", "flags", "values")[:PAGE])
    if not found:
        return [], None
    marked = repairs.of(export.device_pk, found[0][0], found[-1][0] + 1)
    wanted = frozenset(export.metrics)
    rows = [_row(export, wanted, marked, frame) for frame in found]
    last = found[-1][:2] if len(found) == PAGE else None
    return [row for row in rows if row.values], last


def _row(export: Export, wanted: frozenset[str], marked: list[repairs.Range], frame: _Frame) -> Row:
    ts, seq, received_at, flags, values = frame
    values = {name: value for name, value in values.items() if name in wanted}
    words = telemetry.flag_words(flags)
    if bad := repairs.struck(marked, ts, values) if marked else ():
        if export.flagged:
            words.append(REPAIRED)
        else:
            values = {name: value for name, value in values.items() if name not in bad}
    return Row(ts, received_at, seq, words, values)


def head(export: Export, form: Format) -> bytes:
    """Write what comes before the first row."""
    if form == "ndjson":
        return b""
    # A metric may be called as a column is.
    names = (f"values.{name}" if name in COLUMNS else name for name in export.metrics)
    return tables.written([[*COLUMNS, *names]]).encode()


def written(export: Export, form: Format, rows: Iterable[Row]) -> bytes:
    """Write rows."""
    return _WRITERS[form](export, rows)


def _csv(export: Export, rows: Iterable[Row]) -> bytes:
    return tables.written(_cells(export, row) for row in rows).encode()


def _cells(export: Export, row: Row) -> list[tables.Cell]:
    about: list[tables.Cell] = [_time(row.ts), row.ts, row.received_at, row.seq, " ".join(row.flags)]
    return about + [row.values.get(name) for name in export.metrics]


def _ndjson(_export: Export, rows: Iterable[Row]) -> bytes:
    return b"".join(_encode(row._asdict()) + b"\n" for row in rows)


def _time(ms: int) -> str:
    """Write an instant as ISO 8601, UTC."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19]}.{ms % 1000:03d}Z"


_WRITERS: Final[dict[Format, Callable[[Export, Iterable[Row]], bytes]]] = {"csv": _csv, "ndjson": _ndjson}
