"""What is registered: fleets, devices, what they measure, and where each stands."""

from __future__ import annotations

from typing import Any

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.fields.related_descriptors import ReverseOneToOneDescriptor

from devices import values


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


class Device(Limits):
    """A registered thing. `secret_box` is encrypted under a key that is not in the database (registry.seal).

    commands    what it takes, as it announced; likewise `settings`
    remembers   how many of the last commands it knows again, and does not carry out twice; 0: none, as far as is known
    answers     whether it ever answered a command: who does is not believed by its readings alone
    wanted      version of its desired state; grows with each change
    """

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
    settings = models.JSONField(default=dict, editable=False)
    remembers = models.PositiveIntegerField(default=0, editable=False)
    answers = models.BooleanField(default=False, editable=False)
    wanted = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        """Name it as people do."""
        return self.name or self.key


class Tag(models.Model):
    """A word by which devices are selected."""

    device = models.ForeignKey(Device, models.CASCADE, related_name="tags")
    name = models.SlugField(max_length=63)

    class Meta:
        """A device has a word once; they are looked for by it."""

        constraints = [models.UniqueConstraint(fields=["name", "device"], name="one_tag_of_a_name")]

    def __str__(self) -> str:
        """Name it."""
        return self.name


class Setting(models.Model):
    """What a device shall keep to, and what it says that it keeps to. No value in either: a null of JSON is no row's.

    version    of the device's desired state with which `desired` was last changed; 0: nobody wants anything
    sent_at    when the broker last took it for the device
    answered   the newest version of the desired state that the device had when it reported this
    """

    device = models.ForeignKey(Device, models.CASCADE, related_name="kept")
    name = models.CharField(max_length=values.MAX_NAME)
    desired = models.JSONField(null=True)
    version = models.PositiveBigIntegerField(default=0)
    by = models.CharField(max_length=150, blank=True)
    at = models.BigIntegerField(null=True)
    sent_at = models.BigIntegerField(null=True)
    reported = models.JSONField(null=True)
    reported_at = models.BigIntegerField(null=True)
    answered = models.PositiveBigIntegerField(default=0)

    class Meta:
        """A name is one setting. What devices have not answered yet is looked for often."""

        constraints = [models.UniqueConstraint(fields=["device", "name"], name="one_setting_of_a_name")]
        indexes = [models.Index(fields=["device"], name="setting_open", condition=Q(version__gt=F("answered")))]

    def __str__(self) -> str:
        """Say what is wanted."""
        return f"{self.name} = {self.desired!r} (version {self.version})"


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
    greeted_at     when it last said that it is online, as each connection begins: before that it may have missed things
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
    greeted_at = models.BigIntegerField(null=True)
    numbering = models.JSONField(default=dict)
    missing = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        """Say where the device stands."""
        return f"{self.device_id} at {self.seq}"
