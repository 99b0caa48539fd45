"""What was heard, and what is made of it: the journal, its roll-ups, events, repairs, rejects."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from devices import values
from devices.models.things import Device


class Frame(models.Model):
    """The journal: what a device sent together, numbered without holes in the order of its commits.

    ts         when it happened, received_at when it arrived
    device_ts  what the device's clock said, when that was too wrong to be used as ts
    mark       64-bit identity that tells duplicates (wire.Frame)
    """

    pk = models.CompositePrimaryKey("device_id", "seq")
    device = models.ForeignKey(Device, models.CASCADE, db_index=False, related_name="frames")
    seq = models.BigIntegerField()
    ts = models.BigIntegerField()
    received_at = models.BigIntegerField()
    device_ts = models.BigIntegerField(null=True)
    flags = models.SmallIntegerField(default=0)
    values = models.JSONField()
    mark = models.BigIntegerField(null=True)

    class Meta:
        """History is asked for by time, duplicates by mark."""

        indexes = [
            models.Index(fields=["device", "ts"], name="frame_by_time"),
            models.Index(fields=["mark"], name="frame_by_mark", condition=Q(mark__isnull=False)),
        ]

    def __str__(self) -> str:
        """Say which."""
        return f"{self.device_id}#{self.seq}"


class Rollup(models.Model):
    """The readings of one device in one bucket of time: what a chart of a year reads instead of the journal.

    tier    length of the bucket in ms (buckets.TIERS)
    ts      its start, a multiple of tier
    values  metric → [last, at, n, sum, min, max, texts], or [last, at] of a single number (buckets.Bucket)
    """

    pk = models.CompositePrimaryKey("device_id", "tier", "ts")
    device = models.ForeignKey(Device, models.CASCADE, db_index=False, related_name="rollups")
    tier = models.IntegerField()
    ts = models.BigIntegerField()
    values = models.JSONField()

    def __str__(self) -> str:
        """Say which."""
        return f"{self.device_id} {self.tier}@{self.ts}"


class Rolled(models.Model):
    """Up to which seq a device's journal is in its roll-ups. Its row lock says who is at it.

    raw_from … day_from   the ts from which on the journal and each tier are whole; before it something was pruned
    """

    device = models.OneToOneField(Device, models.CASCADE, primary_key=True, related_name="rolled")
    seq = models.BigIntegerField(default=0)
    raw_from = models.BigIntegerField(default=0)
    minute_from = models.BigIntegerField(default=0)
    hour_from = models.BigIntegerField(default=0)
    day_from = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        """Say how far."""
        return f"{self.device_id} rolled up to {self.seq}"


# Of events.
KINDS: Final = ("presence", "boot", "numbering", "repair", "replay")


class Event(models.Model):
    """What happened to a device and is no reading: it came or went, started again, misses frames, was repaired."""

    device = models.ForeignKey(Device, models.CASCADE, related_name="events")
    at = models.BigIntegerField()
    kind = models.CharField(max_length=12, choices=[(kind, kind) for kind in KINDS])
    state = models.CharField(max_length=8, blank=True)
    because = models.CharField(max_length=200)

    class Meta:
        """Read newest first."""

        indexes = [models.Index(F("device"), F("at").desc(), name="event_newest")]

    def __str__(self) -> str:
        """Say what happened."""
        return f"{self.state or self.kind}: {self.because}"


class Repair(models.Model):
    """A range of a device's readings that somebody marked as bad. The journal stays; what is made of it leaves it out.

    metrics      which, or None for all; start and end in ms of the readings' ts, the end not included
    rebuilt      whether the roll-ups say the same already; rebuilt_to: if not, the ts before which they do
    """

    device = models.ForeignKey(Device, models.CASCADE, related_name="repairs")
    metrics = models.JSONField(null=True)
    start = models.BigIntegerField()
    end = models.BigIntegerField()
    reason = models.CharField(max_length=200)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    at = models.BigIntegerField()
    undone_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    undone_at = models.BigIntegerField(null=True)
    rebuilt = models.BooleanField(default=False)
    rebuilt_to = models.BigIntegerField(default=0)

    class Meta:
        """What is not rebuilt yet is looked for often."""

        indexes = [models.Index(fields=["device"], name="repair_to_rebuild", condition=Q(rebuilt=False))]

    def __str__(self) -> str:
        """Say why."""
        return self.reason


class Reject(models.Model):
    """A message that could not be taken in, with its reason. The same again raises the count.

    size      bytes of the whole payload; only what is whole can be replayed
    position  of the byte at fault, where that is known
    """

    key = models.CharField(max_length=63, blank=True, db_index=True)
    topic = models.TextField()
    payload = models.BinaryField()
    size = models.IntegerField(default=0)
    position = models.IntegerField(null=True)
    qos = models.SmallIntegerField(default=0)
    retain = models.BooleanField(default=False)
    client = models.CharField(max_length=128, blank=True)
    reason = models.CharField(max_length=24, choices=[(reason, reason) for reason in values.REASONS])
    detail = models.TextField()
    digest = models.CharField(max_length=32)
    first_at = models.BigIntegerField()
    last_at = models.BigIntegerField(db_index=True)
    count = models.BigIntegerField(default=1)

    class Meta:
        """The same message with the same fault is one row."""

        constraints = [models.UniqueConstraint(fields=["key", "reason", "digest"], name="one_reject_of_a_kind")]

    def __str__(self) -> str:
        """Say what was wrong."""
        return f"{self.reason} at {self.topic}"
