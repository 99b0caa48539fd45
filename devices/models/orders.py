"""Commands, and the log of each."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from devices import lifecycle, values
from devices.models.things import Device


class Command(models.Model):
    """An order with a life cycle. `id` travels as cid: at most 12 characters, the first six say `expires_at`.

    expires_at   on the second: nothing is carried out after it
    claimed_at   when a bridge took it; from then on it may have reached the device
    sends        how often the broker took it, or may have; more than once only for devices that remember
    looked_seq   up to which frame its device was searched for a reading that confirms it
    reason       why it was given, in a person's words
    """

    id = models.CharField(primary_key=True, max_length=12)
    device = models.ForeignKey(Device, models.CASCADE, related_name="orders")
    name = models.CharField(max_length=values.MAX_NAME)
    args = models.JSONField(null=True)
    state = models.CharField(max_length=9, choices=[(state, state) for state in lifecycle.MOVES], default="queued")
    key = models.CharField(max_length=128, null=True)  # noqa: DJ001  NULLs are distinct: no key, no uniqueness
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.BigIntegerField()
    expires_at = models.BigIntegerField()
    claimed_at = models.BigIntegerField(null=True)
    changed_at = models.BigIntegerField()
    sends = models.PositiveSmallIntegerField(default=0)
    looked_seq = models.BigIntegerField(null=True)
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        """A key is used once for a device; open commands, and what changed lately, are looked for often."""

        constraints = [models.UniqueConstraint(fields=["device", "key"], name="one_command_of_a_key")]
        indexes = [
            models.Index(
                fields=["device", "created_at"],
                name="command_open",
                condition=Q(state__in=["queued", "sent", "received"]),
            ),
            models.Index(F("device"), F("created_at").desc(), name="command_newest"),
            # In the order in which bridges take them.
            models.Index(
                fields=["changed_at", "created_at", "id"],
                name="command_waiting",
                condition=Q(state="queued", claimed_at=None),
            ),
            models.Index(fields=["changed_at"], name="command_changed"),
        ]

    def __str__(self) -> str:
        """Say what was ordered."""
        return f"{self.name} → {self.device_id}: {self.state}"


class CommandEvent(models.Model):
    """One entry of a command's log: what happened, by what proof, and who."""

    command = models.ForeignKey(Command, models.CASCADE, related_name="events")
    state = models.CharField(max_length=9)
    at = models.BigIntegerField()
    proof = models.CharField(max_length=200)
    by = models.CharField(max_length=150, blank=True)
    message = models.TextField(blank=True)
    progress = models.FloatField(null=True)
    step = models.CharField(max_length=11, blank=True)

    class Meta:
        """In the order of writing."""

        ordering = ["pk"]

    def __str__(self) -> str:
        """Say what was proved."""
        return f"{self.state}: {self.proof}"
