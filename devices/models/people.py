"""People and what they may do: roles, tokens, invitations, claim codes; and who did what."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from knox.models import AbstractAuthToken

from devices.models.things import Device, Fleet


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


class DeviceRole(models.Model):
    """A user's role for one device, instead of the one in its fleet. `none`: to them it does not exist."""

    NONE = "none"

    device = models.ForeignKey(Device, models.CASCADE, related_name="roles")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="device_roles")
    role = models.CharField(max_length=8, choices=[(NONE, "None"), *Role.choices])

    class Meta:
        """One role for each user and device."""

        constraints = [models.UniqueConstraint(fields=["device", "user"], name="one_role_for_a_device")]

    def __str__(self) -> str:
        """Say who is what where."""
        return f"{self.user} is {self.role} of {self.device}"


class Access(models.TextChoices):
    """What a token lets its bearer do, at most: look, command, or change."""

    READ = "read"
    COMMAND = "command"
    MANAGE = "manage"


class Token(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    """What a program signs in with, or a link shows devices by; kept as hash. It acts as its user, narrowed.

    name      what for, so that its owner knows which to revoke
    access    the most that it lets do
    fleets, devices   row ids: it is good for these fleets' devices and these devices alone; both None: for all.
              Never changed, and no relations: what is deleted leaves it narrower, not wider
    link      it is a share link: for browsers without an account
    used_at   when it was used last, to the minute
    """

    name = models.CharField(max_length=128, blank=True)
    access = models.CharField(max_length=8, choices=Access, default=Access.MANAGE)
    fleets = models.JSONField(null=True)
    devices = models.JSONField(null=True)
    link = models.BooleanField(default=False)
    used_at = models.DateTimeField(null=True)

    class Meta:
        """Listed for one user, newest first."""

        indexes = [models.Index(F("user"), F("created").desc(), name="token_newest")]

    def __str__(self) -> str:
        """Name it without giving it away."""
        return self.name or self.token_key


class Offer(models.Model):
    """What whoever holds a code may take once, before it expires. The code is kept as hash (devices.offers)."""

    digest = models.CharField(max_length=64, unique=True)
    fleet = models.ForeignKey(Fleet, models.CASCADE, related_name="+")
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        """No table of its own."""

        abstract = True


class Invitation(Offer):
    """A place in a fleet for whoever has the link. `name`: whom it was made for, as the inviter calls them."""

    role = models.CharField(max_length=8, choices=Role, default=Role.VIEWER)
    name = models.CharField(max_length=128, blank=True)
    used_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        """Say what it offers."""
        return f"{self.role} of {self.fleet}"


class ClaimCode(Offer):
    """Lets one device fetch credentials of its own. `key`: only as this device; empty: the device says which."""

    key = models.CharField(max_length=63, blank=True)
    device = models.ForeignKey(Device, models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        """Say what it offers."""
        return f"a device of {self.fleet}"


class AuditEntry(models.Model):
    """Who did what to whom. Chained by digests, so that nothing can be changed or taken out unseen (devices.audit).

    at      ms, UTC
    seq     its number in the chain, digest: of the chain up to it; None: not linked yet
    user    row id of who did it, by: their name at that time; via: by what they came (session, a token, command line)
    fleet   row id and name of the fleet that it was about, if it was about one: its managers may read it
    """

    at = models.BigIntegerField()
    seq = models.BigIntegerField(null=True, unique=True)
    user = models.BigIntegerField(null=True)
    by = models.CharField(max_length=150)
    via = models.CharField(max_length=150, blank=True)
    fleet = models.BigIntegerField(null=True)
    fleet_name = models.CharField(max_length=128, blank=True)
    action = models.CharField(max_length=40)
    target = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)
    digest = models.CharField(max_length=64, blank=True)

    class Meta:
        """Read newest first, by a fleet's managers; what is not linked yet is looked for often."""

        indexes = [
            models.Index(F("fleet"), F("id").desc(), name="audit_of_fleet"),
            models.Index(fields=["id"], name="audit_to_link", condition=Q(seq__isnull=True)),
        ]

    def __str__(self) -> str:
        """Say what was done."""
        return f"{self.by}: {self.action} {self.target}"


class AuditHead(models.Model):
    """How far the chain goes: one row. `seal`: what only who has SECRET_KEY can write under it."""

    seq = models.BigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)
    seal = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        """Say where it stands."""
        return f"{self.seq} entries"
