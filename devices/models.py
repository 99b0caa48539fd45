"""Tables and constraints, no logic. Times are integers: ms since the epoch, UTC."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.fields.related_descriptors import ReverseOneToOneDescriptor
from knox.models import AbstractAuthToken

from devices import lifecycle, values


class Limits(models.Model):
    """What a fleet, or one device of it, may keep and send. Empty: as the fleet says, and it as the settings say.

    keep_raw … keep_day   days for which frames and each tier of roll-ups are kept; nowhere given: for ever
    rate, burst           frames a second, and how many may come at once on top (a back-fill)
    """

    keep_raw = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    keep_minute = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    keep_hour = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    keep_day = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    rate = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    burst = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])

    class Meta:
        """No table of its own."""

        abstract = True


class Fleet(Limits):
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


class Device(Limits):
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


class _Heads(ReverseOneToOneDescriptor):  # type: ignore[type-arg]  # they are no arguments in fact
    """device.head, which is there: a new one stands for that of a device that was made past the registry."""

    def __get__(self, instance: Device | None, cls: type[Device] | None = None) -> Any:  # noqa: ANN401  as the framework has it
        """Return the head; one that is not stored (registry.complete stores it) has heard nothing yet."""
        try:
            return super().__get__(instance, cls)
        except Head.DoesNotExist:
            return Head(device=instance)


class _OfDevice(models.OneToOneField):  # type: ignore[type-arg]  # its types are the model's
    related_accessor_class = _Heads

    def deconstruct(self) -> Any:  # noqa: ANN401  as the framework has it
        """Be a field like any other to the migrations: the table is the same."""
        name, _, *given = super().deconstruct()
        return name, "django.db.models.OneToOneField", *given


class Head(models.Model):
    """A device's newest state. Its row lock orders everything that is stored for the device.

    seq            of the newest frame; 0: none yet
    ts             of the newest event, received_at of the newest arrival; None: none yet
    values         metric → [value, ts]
    usual_ms       the usual time between beats, learned; beat_at: the newest beat; sleep_s: announced silence
    numbering      the device's own numbering (devices.numbering); missing: its frames that are not here
    """

    device = _OfDevice(Device, models.CASCADE, primary_key=True, related_name="head")
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
    numbering = models.JSONField(default=dict)
    missing = models.BigIntegerField(default=0)

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
