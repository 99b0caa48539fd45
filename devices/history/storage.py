"""Storage: what the hub's tables take, what a day adds at this rate, and when the disk is full. Estimated."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from django.db import connection
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Coalesce

from devices.history import archive
from devices.history.buckets import TIERS
from devices.models import Device, Frame
from devices.values import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable


class Forecast(msgspec.Struct):
    """Bytes now and to come. A part that has no limit is kept for ever.

    frames        in the journal; frames_a_day: that came in the last 24 hours
    bytes         of the database; bytes_a_day: what such a day adds, with its roll-ups
    for_ever      bytes of these that nothing will ever delete
    balance       bytes that the other parts come to, once as much is deleted each day as comes
    free          bytes on the database's disk, where that can be seen
    full_in_days  at this rate; None: never, or not known
    """

    frames: int
    frames_a_day: int
    bytes: int
    bytes_a_day: int
    for_ever: int
    balance: int
    free: int | None
    full_in_days: int | None


class _Flow(NamedTuple):
    """One part of what one device leaves: rows a day, bytes of each, and for how many days they stay."""

    rows: int
    size: float
    days: int | None


class _Rate(NamedTuple):
    """What a device has in the journal, what the last day added, and what is kept of it."""

    kept: int
    frames: int
    days: tuple[int | None, ...]  # raw, then each tier


def forecast(now: int) -> Forecast:
    """Look at the last 24 hours, and tell how it goes on; `now` in ms."""
    rates = list(_rates(now))
    total, a_frame, a_rollup = archive.sizes(sum(rate.kept for rate in rates))
    flows = [flow for rate in rates for flow in _flows(rate, a_frame, a_rollup)]
    made = Forecast(
        frames=sum(rate.kept for rate in rates),
        frames_a_day=sum(rate.frames for rate in rates),
        bytes=total,
        bytes_a_day=round(sum(flow.rows * flow.size for flow in flows)),
        for_ever=round(sum(flow.rows * flow.size for flow in flows if flow.days is None)),
        balance=round(sum(flow.rows * flow.size * flow.days for flow in flows if flow.days is not None)),
        free=_free(),
        full_in_days=None,
    )
    made.full_in_days = full_in_days(made)
    return made


def full_in_days(made: Forecast) -> int | None:
    """Until the balance all stays that comes; from then on, what is kept for ever."""
    if made.free is None or not made.bytes_a_day:
        return None
    to_balance = max(0, made.balance - made.bytes)
    if to_balance >= made.free:
        return made.free // made.bytes_a_day
    if not made.for_ever:
        return None
    return to_balance // made.bytes_a_day + (made.free - to_balance) // made.for_ever


def _rates(now: int) -> Iterable[_Rate]:
    frames = Frame.objects.filter(device=OuterRef("pk"))
    oldest = Subquery(frames.order_by("seq").values("seq")[:1])
    # The seq a day ago, within what is late: cheaper than to count.
    yesterday = Subquery(frames.filter(ts__gte=now - DAY_MS).order_by("ts").values("seq")[:1])
    days = [Coalesce(f"keep_{name}", f"fleet__keep_{name}") for name in ("raw", *TIERS)]
    rows = Device.objects.annotate(seq=F("head__seq"), oldest=oldest, yesterday=yesterday)
    for seq, first, since, *keeps in rows.values_list("seq", "oldest", "yesterday", *days):
        kept = 0 if first is None else seq - first + 1
        yield _Rate(kept, 0 if since is None else min(kept, seq - since + 1), tuple(keeps))


def _flows(rate: _Rate, a_frame: float, a_rollup: float) -> Iterable[_Flow]:
    raw, *tiers = rate.days
    yield _Flow(rate.frames, a_frame, raw)
    for length, days in zip(TIERS.values(), tiers, strict=True):
        yield _Flow(min(rate.frames, DAY_MS // length), a_rollup, days)


def _free() -> int | None:
    """Return what is left on the disk of the file; another server's disk cannot be seen."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor != "sqlite" or not Path(name).exists():
        return None
    return shutil.disk_usage(Path(name).parent).free


def in_words(made: Forecast) -> str:
    """Tell it to people."""
    added = f"{made.frames_a_day:,} frames: {size(made.bytes_a_day)} with their roll-ups"
    lines = [
        f"{made.frames:,} frames; the database has {size(made.bytes)}.",
        f"The last day added {added}, of which {size(made.for_ever)} are kept for ever.",
    ]
    if made.balance:
        lines.append(f"What is kept for a time comes to {size(made.balance)} at this rate.")
    if made.free is None:
        lines.append("How much is free on the database server's disk cannot be seen from here.")
    elif made.full_in_days is None:
        lines.append(f"{size(made.free)} are free: enough at this rate.")
    else:
        lines.append(f"{size(made.free)} are free: full in about {made.full_in_days:,} days at this rate.")
    return "\n".join(lines)


def size(count: float) -> str:
    """Say bytes as people do."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
