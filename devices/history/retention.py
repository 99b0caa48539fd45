"""Retention: what is older than a fleet or device keeps is deleted, a bounded step at a time.

The journal goes from the low end of seq, by the time of arrival and never before it is rolled up, so that what is kept
has no hole. Of each tier whole hours or days go, by their own time. From when on each is whole is in Rolled.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import BigIntegerField, Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Cast, Coalesce

from devices.history import rollups
from devices.history.buckets import HOUR_MS, TIERS
from devices.models import Device, Event, Frame, Repair, Rolled, Rollup
from devices.values import DAY_MS

if TYPE_CHECKING:
    from django.db.models import QuerySet

# What is due by less stays until more is: deleting by the hour is cheaper, and what is kept is kept for days.
SLACK_MS: Final = HOUR_MS
KEPT_EVENTS: Final = 1000
# Devices looked at in one step.
MANY: Final = 500


def prune(limit: int, now: int) -> int:
    """Delete what is not to be kept any more, at most `limit` rows; return how much was done: 0: nothing is due."""
    done = 0
    for pk in _due(now)[:MANY]:
        with transaction.atomic():
            for rolled in rollups.lock([pk]):
                done += _prune(rolled, _keeps(pk), limit - done, now)
        if done >= limit:
            return done
    return done + _prune_events(limit - done)


def _due(now: int) -> QuerySet[Device, int]:
    """Return the devices of which something is due, in one query."""
    oldest = Frame.objects.filter(device=OuterRef("pk")).order_by("seq").values("received_at")[:1]
    due = Q(oldest__lt=now - F("raw") * DAY_MS - SLACK_MS, rebuilding=False)
    for tier in TIERS:
        due |= Q(**{f"rolled__{tier}_from__lte": now - F(tier) * DAY_MS - _grain(tier)})
    # What is to be rebuilt is rebuilt from the journal. (And what is for ever, null, is never due.)
    rebuilding = Exists(Repair.objects.filter(device=OuterRef("pk"), rebuilt=False))
    rows = _kept().annotate(oldest=Subquery(oldest), rebuilding=rebuilding)
    return rows.filter(due).order_by("pk").values_list("pk", flat=True)


def _kept() -> QuerySet[Device]:
    """Return the devices that have been rolled up, with what is kept of each: its own word, or else its fleet's."""
    # As long as a ms has to be: PostgreSQL multiplies in the type of the column.
    days = {name: Cast(Coalesce(f"keep_{name}", f"fleet__keep_{name}"), BigIntegerField()) for name in ("raw", *TIERS)}
    return Device.objects.filter(rolled__isnull=False).annotate(**days)


def _grain(tier: str) -> int:
    """By how much the beginning of a tier moves: of minutes by the hour, of others by the day."""
    return HOUR_MS if tier == "minute" else DAY_MS


def _keeps(pk: int) -> dict[str, int]:
    """Return days by tier, of what is not kept for ever."""
    found = _kept().filter(pk=pk).values("raw", *TIERS).first() or {}
    return {name: days for name, days in found.items() if days is not None}


def _prune(rolled: Rolled, keeps: dict[str, int], limit: int, now: int) -> int:
    done = 0
    for name, days in keeps.items():
        before = now - days * DAY_MS
        prune_part = _prune_raw if name == "raw" else _prune_tier
        done += prune_part(rolled, name, before, limit - done)
        if done >= limit:
            break
    rolled.save()
    return done


def _prune_raw(rolled: Rolled, _name: str, before: int, limit: int) -> int:
    frames = Frame.objects.filter(device_id=rolled.pk)
    if Repair.objects.filter(device_id=rolled.pk, rebuilt=False).exists():
        return 0
    rows = frames.filter(seq__lte=rolled.seq).order_by("seq").values_list("seq", "ts", "received_at")[:limit]
    gone = list(takewhile(lambda row: row[2] < before, rows))
    if gone:
        frames.filter(seq__lte=gone[-1][0])._raw_delete(using="default")  # noqa: SLF001  as telemetry.forget
        rolled.raw_from = max(rolled.raw_from, 1 + max(ts for _, ts, _ in gone))
    return len(gone)


def _prune_tier(rolled: Rolled, name: str, before: int, limit: int) -> int:
    before -= before % _grain(name)
    if before <= getattr(rolled, f"{name}_from"):
        return 0
    tier = Rollup.objects.filter(device_id=rolled.pk, tier=TIERS[name])
    gone = list(tier.filter(ts__lt=before).order_by("ts").values_list("ts", flat=True)[:limit])
    if len(gone) == limit:
        before = gone[-1] + TIERS[name]
    tier.filter(ts__lt=before)._raw_delete(using="default")  # noqa: SLF001
    setattr(rolled, f"{name}_from", before)
    return len(gone) + 1


def _prune_events(limit: int) -> int:
    """Keep the newest events of each device that had some lately."""
    lately = set(Event.objects.order_by("-pk").values_list("device", flat=True)[:KEPT_EVENTS])
    theirs = Event.objects.filter(device=OuterRef("pk")).order_by("-at", "-pk").values("pk")
    first_too_many = Subquery(theirs[KEPT_EVENTS : KEPT_EVENTS + 1])
    done = 0
    for pk in (
        Device.objects.filter(pk__in=lately)
        .annotate(more=first_too_many)
        .exclude(more=None)
        .values_list("pk", flat=True)
    ):
        older = Event.objects.filter(device=pk).order_by("-at", "-pk").values_list("pk", flat=True)[KEPT_EVENTS:]
        gone = list(older[: limit - done])
        done += Event.objects.filter(pk__in=gone).delete()[0]
        if done >= limit:
            break
    return done
