"""Who may do what with which device: by roles in fleets, by roles for single devices, and by what a token narrows.

It says so as conditions for queries; `registry` is the door that everybody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q

from devices.models import Access, Device, DeviceRole, Membership, Role

if TYPE_CHECKING:
    from devices.models import Token

# Each role includes those before it.
RANK: Final = [Role.VIEWER, Role.OPERATOR, Role.MANAGER]
_MOST: Final = {Access.READ: Role.VIEWER, Access.COMMAND: Role.OPERATOR, Access.MANAGE: Role.MANAGER}
_NOTHING: Final = Q(pk__in=())


class Scope(msgspec.Struct, frozen=True):
    """What a token is good for: up to which access, and for which fleets and devices (row ids; both None: all)."""

    access: Access = Access.MANAGE
    fleets: frozenset[int] | None = None
    devices: frozenset[int] | None = None

    @property
    def whole(self) -> bool:
        """Whether it narrows nothing."""
        return self == Scope()

    @property
    def narrow(self) -> bool:
        """Whether it is not good for all fleets."""
        return self.fleets is not None or self.devices is not None

    def lets(self, role: Role) -> bool:
        """Whether what this role may do can be done with it."""
        return RANK.index(role) <= RANK.index(_MOST[self.access])

    def covers(self, device: int, fleet: int) -> bool:
        """Whether it is good for this device, which is in this fleet."""
        if not self.narrow:
            return True
        return fleet in (self.fleets or ()) or device in (self.devices or ())

    def of_devices(self) -> Q:
        """Select the devices that it is good for."""
        if not self.narrow:
            return Q()
        return Q(fleet__in=self.fleets or ()) | Q(pk__in=self.devices or ())

    def of_fleets(self) -> Q:
        """Select the fleets that it is good for as a whole."""
        if not self.narrow:
            return Q()
        return Q(pk__in=self.fleets or ())


WHOLE: Final = Scope()


def scope_in(token: Token) -> Scope:
    """Return what a token is good for."""
    fleets, devices = (None if pks is None else frozenset(pks) for pks in (token.fleets, token.devices))
    return Scope(Access(token.access), fleets, devices)


def narrow(user: User, scope: Scope) -> User:
    """Have this user, as it stands here, be no more than a token lets them be; return it."""
    user.scope = scope  # type: ignore[attr-defined]  # whoever came by a token carries what it is good for
    return user


def scope_of(user: User | AnonymousUser) -> Scope:
    """Return what this user was narrowed to."""
    scope: Scope = getattr(user, "scope", WHOLE)
    return scope


def who(user: User) -> tuple[int, Scope]:
    """Return what tells users apart here: the same person with another token is another."""
    return user.pk, scope_of(user)


def administers(user: User | AnonymousUser) -> bool:
    """Whether they are an administrator, and came with nothing that narrows that."""
    return user.is_active and user.is_superuser and scope_of(user).whole


def enough(role: Role) -> list[Role]:
    """Return this role and those that include it."""
    return RANK[RANK.index(role) :]


def fleets(user: User | AnonymousUser, role: Role) -> Q:
    """Select the fleets in which they have at least this role; as viewer also those of which they may see a part."""
    scope = scope_of(user)
    if not (user.is_active and scope.lets(role)):
        return _NOTHING
    whole = scope.of_fleets() & _member(user, role)
    if role is not Role.VIEWER or (user.is_superuser and not scope.narrow):
        return whole  # an empty condition is all of them, and would vanish beside another
    if scope.narrow:
        return whole | Q(pk__in=Device.objects.filter(devices(user, role)).values("fleet_id"))
    return whole | Q(pk__in=DeviceRole.objects.filter(_own(user), role__in=enough(role)).values("device__fleet_id"))


def whole_fleets(user: User | AnonymousUser, role: Role) -> Q:
    """Select the fleets in which they have at least this role, and of which no device is hidden from them."""
    scope = scope_of(user)
    if not (user.is_active and scope.lets(role)):
        return _NOTHING
    if user.is_superuser:
        return scope.of_fleets()
    hidden = DeviceRole.objects.filter(_own(user), role=DeviceRole.NONE).values("device__fleet_id")
    return scope.of_fleets() & _member(user, role) & ~Q(pk__in=hidden)


def devices(user: User | AnonymousUser, role: Role) -> Q:
    """Select the devices for which they have at least this role."""
    scope = scope_of(user)
    if not (user.is_active and scope.lets(role)):
        return _NOTHING
    if user.is_superuser:
        return scope.of_devices()
    memberships = Membership.objects.filter(_own(user), role__in=enough(role)).values("fleet_id")
    exceptions = DeviceRole.objects.filter(_own(user))
    granted = exceptions.filter(role__in=enough(role)).values("device_id")
    by_fleet = Q(fleet__in=memberships) & ~Q(pk__in=exceptions.values("device_id"))
    return scope.of_devices() & (by_fleet | Q(pk__in=granted))


def _own(user: User | AnonymousUser) -> Q:
    return Q(user_id=user.pk or 0)


def _member(user: User | AnonymousUser, role: Role) -> Q:
    if user.is_superuser:
        return Q()
    return Q(pk__in=Membership.objects.filter(_own(user), role__in=enough(role)).values("fleet_id"))


def sees_parts(user: User | AnonymousUser) -> bool:
    """Whether there may be fleets of which they see only some devices."""
    return scope_of(user).narrow or DeviceRole.objects.filter(_own(user)).exists()
