"""Tables and constraints, no logic. Times are integers: ms since the epoch, UTC."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from knox.models import AbstractAuthToken

from devices import lifecycle, values


class Fleet(models.Model):
    """The devices that a set of people share."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=128)

    def __str__(self) -> str:
        """Name it as people do."""
        return self.name


class Role(models.TextChoices):
    """What a member may do: look, command, or decide. Each includes those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    MANAGER = "manager"


class Membership(models.Model):
    """A user's role in a fleet."""

    fleet = models.ForeignKey(Fleet, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role, default=Role.VIEWER)

    class Meta:
        """One role for each user and fleet."""

        constraints = [models.UniqueConstraint(fields=["fleet", "user"], name="one_role_in_a_fleet")]

    def __str__(self) -> str:
        """Say who is what where."""
        return f"{self.user} is {self.role} of {self.fleet}"


class Device(models.Model):
    """A registered thing. `secret_box` is encrypted under a key that is not in the database (registry.seal)."""

    key = models.CharField(max_length=63, unique=True, validators=[RegexValidator(rf"\A{values.KEY.pattern}\Z")])
    name = models.CharField(max_length=128, blank=True)
    fleet = models.ForeignKey(Fleet, models.PROTECT, related_name="devices")
    gateway = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    enabled = models.BooleanField(default=True)
    secret_box = models.TextField(editable=False)
    secret_version = models.PositiveBigIntegerField(default=1, editable=False)
    model = models.CharField(max_length=128, blank=True)
    firmware = models.CharField(max_length=128, blank=True)
    commands = models.JSONField(default=dict, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        """Name it as people do."""
        return self.name or self.key


class Metric(models.Model):
    """What a device measures. Learned from its frames, described by its announcement."""

    device = models.ForeignKey(Device, models.CASCADE, related_name="metrics")
    name = models.CharField(max_length=values.MAX_NAME)
    unit = models.CharField(max_length=values.MAX_NAME, blank=True)
    device_class = models.CharField(max_length=values.MAX_NAME, blank=True)
    type = models.CharField(max_length=8, blank=True)

    class Meta:
        """A name is one metric."""

        constraints = [models.UniqueConstraint(fields=["device", "name"], name="one_metric_of_a_name")]

    def __str__(self) -> str:
        """Name it."""
        return self.name


class Head(models.Model):
    """A device's newest state. Its row lock orders everything that is stored for the device.

    seq            of the newest frame; 0: none yet
    ts             of the newest event, received_at of the newest arrival; None: none yet
    values         metric → [value, ts]
    usual_ms       the usual time between beats, learned; beat_at: the newest beat; sleep_s: announced silence
    boot, n        the device's own numbering: newest frame
    """

    device = models.OneToOneField(Device, models.CASCADE, primary_key=True, related_name="head")
    seq = models.BigIntegerField(default=0)
    ts = models.BigIntegerField(null=True)
    received_at = models.BigIntegerField(null=True)
    values = models.JSONField(default=dict)
    presence = models.CharField(max_length=8, default="never")
    because = models.CharField(max_length=200, default="no message yet")
    since = models.BigIntegerField(default=0)
    beat_at = models.BigIntegerField(null=True)
    usual_ms = models.BigIntegerField(null=True)
    sleep_s = models.BigIntegerField(null=True)
    boot = models.BigIntegerField(null=True)
    n = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        """Say where the device stands."""
        return f"{self.device_id} at {self.seq}"


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


class Reject(models.Model):
    """A message that could not be taken in, with its reason. The same again raises the count."""

    key = models.CharField(max_length=63, blank=True, db_index=True)
    topic = models.TextField()
    payload = models.BinaryField()
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


class Command(models.Model):
    """An order with a life cycle. `id` travels as cid: at most 12 characters.

    claimed_at: when a bridge took it; from then on it may have reached the device.
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

    class Meta:
        """A key is used once for a device; open commands are looked for often."""

        constraints = [models.UniqueConstraint(fields=["device", "key"], name="one_command_of_a_key")]
        indexes = [
            models.Index(
                fields=["device", "created_at"],
                name="command_open",
                condition=Q(state__in=["queued", "sent", "received"]),
            ),
            models.Index(F("device"), F("created_at").desc(), name="command_newest"),
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

    class Meta:
        """In the order of writing."""

        ordering = ["pk"]

    def __str__(self) -> str:
        """Say what was proved."""
        return f"{self.state}: {self.proof}"


class Token(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    """What a program signs in with, kept as hash; `name` says what for, so that its owner knows which to revoke."""

    name = models.CharField(max_length=128, blank=True)

    class Meta:
        """Listed for one user, newest first."""

        indexes = [models.Index(F("user"), F("created").desc(), name="token_newest")]

    def __str__(self) -> str:
        """Name it without giving it away."""
        return self.name or self.token_key
