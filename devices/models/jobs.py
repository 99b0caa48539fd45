"""One command for many devices: jobs, what became of each device in them, schedules that make jobs; firmware."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from devices import values
from devices.models.orders import Command
from devices.models.things import Device, Fleet

STATES = ("running", "stopped", "cancelled", "done")


class Campaign(models.Model):
    """What is asked of a selection of a fleet's devices; the common part of jobs and schedules.

    args, ttl_s, reason   as of commands
    confirmed             whether the person was asked, where devices call the command dangerous
    selection             {"tag"?, "presence"?, "devices"?: [key]}; {}: the whole fleet
    rate                  commands a second; None: as fast as they go
    stages                shares of the devices in %, rising: each begins when all before are closed; []: all at once
    limit                 % of the closed ones that may have failed, before it stops by itself; None: any
    """

    fleet = models.ForeignKey(Fleet, models.CASCADE, related_name="+")
    name = models.CharField(max_length=values.MAX_NAME)
    args = models.JSONField(null=True)
    ttl_s = models.PositiveIntegerField()
    reason = models.CharField(max_length=200, blank=True)
    confirmed = models.BooleanField(default=False)
    selection = models.JSONField(default=dict)
    rate = models.PositiveIntegerField(null=True)
    stages = models.JSONField(default=list)
    limit = models.PositiveSmallIntegerField(null=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.BigIntegerField()

    class Meta:
        """No table of its own."""

        abstract = True


class Schedule(Campaign):
    """When jobs are made by themselves: once, or by a line of cron in a time zone.

    next_at   ms; None: never again
    """

    title = models.CharField(max_length=128, blank=True)
    cron = models.CharField(max_length=64, blank=True)
    zone = models.CharField(max_length=64, default="UTC")
    next_at = models.BigIntegerField(null=True)
    enabled = models.BooleanField(default=True)

    class Meta:
        """What is due is looked for each second."""

        indexes = [models.Index(fields=["next_at"], name="schedule_due", condition=Q(enabled=True))]

    def __str__(self) -> str:
        """Name it."""
        return self.title or f"{self.name}, {self.cron or 'once'}"


class Job(Campaign):
    """One command for each device of a selection, with a result for each. The bridge issues them at the job's pace.

    stage       which of the stages is being issued, from 0
    issued      how many of `total` have their command, or were refused it
    issued_at   up to when the rate is used up (ms)
    counts      state → devices, as last told to those who watch; see jobs.counts
    forgiven    [closed, failed] when it was resumed last: the limit is judged by what came since
    because     why it stopped
    key         an idempotency key, once in a fleet
    changed_at  grows with each change that is told
    """

    id = models.CharField(primary_key=True, max_length=12)
    state = models.CharField(max_length=9, choices=[(state, state) for state in STATES], default="running")
    because = models.CharField(max_length=200, blank=True)
    key = models.CharField(max_length=128, null=True)  # noqa: DJ001  NULLs are distinct: no key, no uniqueness
    total = models.PositiveIntegerField()
    issued = models.PositiveIntegerField(default=0)
    issued_at = models.BigIntegerField(null=True)
    stage = models.PositiveSmallIntegerField(default=0)
    counts = models.JSONField(default=dict)
    forgiven = models.JSONField(default=list)
    changed_at = models.BigIntegerField()

    class Meta:
        """A key is used once in a fleet; those that are at work are looked for each second."""

        constraints = [models.UniqueConstraint(fields=["fleet", "key"], name="one_job_of_a_key")]
        indexes = [
            models.Index(fields=["created_at"], name="job_running", condition=Q(state="running")),
            models.Index(fields=["fleet", "-created_at"], name="job_newest"),
        ]

    def __str__(self) -> str:
        """Say what it does."""
        return f"{self.name} for {self.total}: {self.state}"


class Target(models.Model):
    """One device of a job: its command, or why it got none. `position` is its turn, `key` the device's.

    A device that is deleted takes its command with it, and leaves its place: what was counted stays counted.
    """

    job = models.ForeignKey(Job, models.CASCADE, related_name="targets", db_index=False)  # its turns are the index
    device = models.ForeignKey(Device, models.SET_NULL, null=True, related_name="+")
    key = models.CharField(max_length=63)
    position = models.PositiveIntegerField()
    command = models.OneToOneField(Command, models.SET_NULL, null=True, related_name="target")
    refused = models.CharField(max_length=200, blank=True)

    class Meta:
        """In turn."""

        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["job", "position"], name="one_target_a_turn")]

    def __str__(self) -> str:
        """Say whose it is."""
        return f"{self.position}: {self.key}"


class Run(models.Model):
    """One time that a schedule was due. `missed`: why no job was made of it then."""

    schedule = models.ForeignKey(Schedule, models.CASCADE, related_name="runs")
    due_at = models.BigIntegerField()
    job = models.OneToOneField(Job, models.SET_NULL, null=True, related_name="run")
    missed = models.CharField(max_length=200, blank=True)

    class Meta:
        """The newest first; a schedule is due once at a time, however many bridges there are."""

        ordering = ["-due_at"]
        constraints = [models.UniqueConstraint(fields=["schedule", "due_at"], name="one_run_a_time")]

    def __str__(self) -> str:
        """Say when."""
        return f"{self.due_at}: {self.missed or self.job_id}"


class Firmware(models.Model):
    """A file that devices of a fleet may be told to install. `model`: of which devices; "": of any."""

    fleet = models.ForeignKey(Fleet, models.CASCADE, related_name="firmware")
    version = models.CharField(max_length=128)
    model = models.CharField(max_length=128, blank=True)
    file = models.FileField(upload_to="firmware/")
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    notes = models.TextField(blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.BigIntegerField()

    class Meta:
        """A version is one file."""

        constraints = [models.UniqueConstraint(fields=["fleet", "model", "version"], name="one_firmware_of_a_version")]

    def __str__(self) -> str:
        """Name it."""
        return f"{self.model or 'any model'} {self.version}"
