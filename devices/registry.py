"""Devices and fleets: who exists, and who may do what.

`visible_to` is the one door for pages, API and sockets.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec
from django.db import IntegrityError, transaction
from django.db.models.functions import Coalesce

from devices import audit, rights, sealing, standing, tags, telemetry, values
from devices.errors import Refusal, device_unknown
from devices.groups import Message, announce_on_commit
from devices.models import Device, DeviceRole, Fleet, Head, Membership, Reject, Role, Rolled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.contrib.auth.models import AnonymousUser, User
    from django.db.models import QuerySet

logger = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True):
    """What the bridge has to know of a device to take its messages. `rate`, `burst`: None: as the settings say."""

    pk: int
    enabled: bool
    gateway: str | None
    fleet: str
    rate: int | None = None
    burst: int | None = None


class Credentials(msgspec.Struct, frozen=True):
    """What a broker has to know of a device; `version` grows with each rotation."""

    key: str
    secret: str
    version: int


def fleets_of(user: User | AnonymousUser, role: Role = Role.VIEWER) -> QuerySet[Fleet]:
    """Return the fleets in which the user has at least this role; as viewer also those of which they see a part."""
    return Fleet.objects.filter(rights.fleets(user, role))


def whole_fleets_of(user: User | AnonymousUser, role: Role = Role.VIEWER) -> QuerySet[Fleet]:
    """Return the fleets in which the user has at least this role, and of which they see every device."""
    return Fleet.objects.filter(rights.whole_fleets(user, role))


def memberships_of(users: list[int]) -> set[tuple[int, int]]:
    """Return what `fleets_of` rests on, for many users at once who are no superusers: users and fleets (row ids)."""
    return set(Membership.objects.filter(user_id__in=users).values_list("user_id", "fleet_id"))


def exceptions_of(users: list[int]) -> list[tuple[int, int, bool]]:
    """Return what `visible_to` rests on besides: users, devices (row ids), and whether they may see them."""
    rows = DeviceRole.objects.filter(user_id__in=users).values_list("user_id", "device_id", "role")
    return [(user, device, role != DeviceRole.NONE) for user, device, role in rows]


def visible_to(user: User | AnonymousUser, role: Role = Role.VIEWER) -> QuerySet[Device]:
    """Return the devices that the user may see, or, with a role, may command (operator) or change (manager)."""
    return Device.objects.filter(rights.devices(user, role)).select_related("fleet", "head", "gateway")


def may(user: User | AnonymousUser, device: Device, role: Role) -> bool:
    """Whether the user has at least this role for the device."""
    return Device.objects.filter(rights.devices(user, role), pk=device.pk).exists()


def part_of(user: User, fleet: int) -> frozenset[str] | None:
    """Return the keys of a fleet's devices that they may see; None: nothing of it, not even that it is there."""
    if not fleets_of(user).filter(pk=fleet).exists():
        return None
    return frozenset(
        Device.objects.filter(rights.devices(user, Role.VIEWER), fleet=fleet).values_list("key", flat=True)
    )


def sees_whole(user: User, fleet: int) -> bool:
    """Whether they see every device of a fleet (a row id), and what concerns all of it."""
    return whole_fleets_of(user).filter(pk=fleet).exists()


def find(user: User | AnonymousUser, key: str, role: Role = Role.VIEWER) -> Device:
    """Return one device; refuses alike what does not exist and what may not be seen (404), then the role (403)."""
    device = _of_key(user, key, role)
    if device is None:
        seen = None if role is Role.VIEWER else _of_key(user, key)
        raise device_unknown(key) if seen is None else Refusal("forbidden", _too_little(user, seen.fleet, role), 403)
    if device.head._state.adding:  # noqa: SLF001  the framework has no other word for "not stored"
        complete()
    return device


def find_each(asked: Sequence[tuple[User, str, Role]]) -> list[Device | Refusal]:
    """Return for each who asks what `find` returns or refuses, in a query for each user and role."""
    wanted: dict[tuple[Any, Role], tuple[User, set[str]]] = {}
    for user, key, role in asked:
        wanted.setdefault((rights.who(user), role), (user, set()))[1].add(key)
    found = {
        (who, device.key): device
        for who, (user, keys) in wanted.items()
        for device in visible_to(user, who[1]).filter(key__in=[key for key in keys if values.is_key(key)])
    }
    return [found.get(((rights.who(user), role), key)) or _found(user, key, role) for user, key, role in asked]


def _found(user: User, key: str, role: Role) -> Device | Refusal:
    try:
        return find(user, key, role)
    except Refusal as refusal:
        return refusal


def _of_key(user: User | AnonymousUser, key: str, role: Role = Role.VIEWER) -> Device | None:
    # What is no key at all may be something that a database refuses to be asked for.
    return visible_to(user, role).filter(key=key).first() if values.is_key(key) else None


def fleet_for(user: User, slug: str | None) -> Fleet:
    """Return the fleet into which the user may put a device: the named one, or the only one there is."""
    fleets = fleets_of(user, Role.MANAGER)
    if slug is not None:
        fleet = fleets.filter(slug=slug).first()
        if fleet is None:
            raise Refusal("fleet_unknown", f"There is no fleet {slug!r} that you manage.", 404)
        return fleet
    match list(fleets[:2]):
        case [only]:
            return only
        case []:
            raise Refusal("forbidden", "You manage no fleet; ask a manager to make you one.", 403)
    raise Refusal("invalid", "You manage several fleets; say which with `fleet`.", 400, {"fleet": "is missing"})


def find_fleet(user: User, slug: str, role: Role = Role.VIEWER) -> Fleet:
    """Return one fleet; refuses alike what does not exist and what may not be seen (404), then the role (403)."""
    # PostgreSQL cannot be asked for a NUL.
    fleet = None if "\0" in slug else fleets_of(user).filter(slug=slug).first()
    if fleet is None:
        raise Refusal("fleet_unknown", f"There is no fleet {slug!r}, or you may not see it.", 404)
    if role is not Role.VIEWER and not fleets_of(user, role).filter(pk=fleet.pk).exists():
        raise Refusal("forbidden", _too_little(user, fleet, role), 403)
    return fleet


def find_whole_fleet(user: User, slug: str, role: Role = Role.VIEWER) -> Fleet:
    """Return one fleet for what concerns all of it: not for those who see a part of it (403)."""
    fleet = find_fleet(user, slug, role)
    if not whole_fleets_of(user, role).filter(pk=fleet.pk).exists():
        message = f"This concerns all of the fleet {fleet}, and you may see a part of it; ask a manager."
        raise Refusal("forbidden", message, 403)
    return fleet


def _too_little(user: User | AnonymousUser, fleet: Fleet, role: Role) -> str:
    if not rights.scope_of(user).lets(role):
        return f"This takes the role {role}, which your token does not let you use; make another one."
    return f"In the fleet {fleet} this takes the role {role}; ask a manager."


def create(key: str, fleet: Fleet, name: str = "", gateway: Device | None = None) -> tuple[Device, str]:
    """Register a device and return it with its secret, which is shown this once."""
    device, secret = draft(key, fleet, name, gateway)
    try:
        create_many([device])
    except IntegrityError:
        raise key_taken(key) from None
    return device, secret


def check_key(key: str) -> None:
    """Refuse what cannot be a device's key."""
    if not values.is_key(key):
        raise Refusal(
            "invalid",
            f"The key {key!r} must have lower case letters, digits, - and _ alone, begin with a letter or digit, "
            "and be at most 63 long: it is also the MQTT user name.",
            fields={"key": "is not a valid device key"},
        )


def key_taken(key: str) -> Refusal:
    """Refuse a second device of a key, whosever the first one is."""
    return Refusal("key_taken", f"A device {key!r} exists already; choose another key.", 409)


def draft(key: str, fleet: Fleet, name: str = "", gateway: Device | None = None) -> tuple[Device, str]:
    """Return a device that may be registered (`create_many`), and its secret; its gateway may be such a draft too."""
    check_key(key)
    _check_speaks_through(key, gateway)
    secret = sealing.new_secret()
    box, version = sealing.seal(secret), sealing.new_version()
    return Device(key=key, name=name, fleet=fleet, gateway=gateway, secret_box=box, secret_version=version), secret


def create_many(drafts: Sequence[Device]) -> None:
    """Register all of these, or none: raises IntegrityError where a key is taken."""
    with transaction.atomic():
        for behind in (False, True):  # a gateway comes before those that speak through it
            Device.objects.bulk_create(device for device in drafts if (device.gateway is not None) is behind)
        Head.objects.bulk_create(Head(device=device) for device in drafts)
        audit.note_each("device.made", ((device.key, _made(device), device.fleet) for device in drafts))
        changed(*(device.key for device in drafts))


def _made(device: Device) -> dict[str, Any]:
    return {"name": device.name, "gateway": device.gateway.key if device.gateway else None}


def complete() -> None:
    """Give a head to each device that was made past `create`, in a shell or by SQL: nothing is stored without one."""
    bare = Device.objects.filter(head=None).values_list("pk", flat=True)
    Head.objects.bulk_create([Head(device_id=pk) for pk in bare], ignore_conflicts=True)


class Limits(TypedDict, total=False):
    """What may be changed of a fleet: see models.Limits."""

    keep_raw: int | None
    keep_minute: int | None
    keep_hour: int | None
    keep_day: int | None
    rate: int | None
    burst: int | None


LIMITS: Final = tuple(Limits.__annotations__)


class Changes(Limits, total=False):
    """What may be changed of a device."""

    name: str
    fleet: Fleet
    enabled: bool
    gateway: Device | None
    tags: list[str]


def change(device: Device, changes: Changes) -> None:
    """Change what is given. A disabled device is disconnected; one behind a gateway has no account of its own."""
    if "gateway" in changes:
        check_gateway(device.key, changes["gateway"])
    with transaction.atomic():
        row = Device.objects.select_for_update(of=("self",), no_key=True).get(pk=device.pk)
        spoke, alone = row.enabled, row.gateway_id is None
        before, was_in = _as_it_is(row, changes), row.fleet
        columns = [field for field in changes if field != "tags"]
        for field, value in changes.items():
            if field in columns:
                setattr(row, field, value)
        row.save(update_fields=columns)
        if "tags" in changes:
            tags.put(row, changes["tags"])
        _note_changes(row, was_in, before)
        if spoke and (not row.enabled or (alone and row.gateway_id is not None)):
            _cut(row, "its account was withdrawn" if alone else "it was disabled")
        changed(row.key)


def _note_changes(device: Device, was_in: Fleet, before: dict[str, Any]) -> None:
    """Write down what is another than before. In another fleet nobody has a role for the device alone."""
    now = _as_it_is(device, before)
    moved = {field: [old, now[field]] for field, old in before.items() if old != now[field]}
    if moved:
        audit.note("device.changed", device.key, moved, fleet=was_in)
    if device.fleet_id != was_in.pk:
        DeviceRole.objects.filter(device=device).delete()
        audit.note("device.moved_in", device.key, moved, fleet=device.fleet)


def _as_it_is(device: Device, fields: Iterable[str]) -> dict[str, Any]:
    """Return these of what can be changed of a device, in plain words."""
    found = {field: tags.of(device) if field == "tags" else getattr(device, field) for field in fields}
    return {field: str(value) if isinstance(value, Fleet | Device) else value for field, value in found.items()}


def change_fleet(fleet: Fleet, changes: Limits) -> None:
    """Change what its devices keep and may send, where they do not say it themselves."""
    with transaction.atomic():
        before = {field: getattr(fleet, field) for field in changes}
        Fleet.objects.filter(pk=fleet.pk).update(**changes)
        moved = {field: [old, changes.get(field)] for field, old in before.items() if old != changes.get(field)}
        if moved:
            audit.note("fleet.changed", fleet.slug, moved, fleet=fleet)


def check_gateway(key: str, gateway: Device | None) -> None:
    """Refuse what the topics cannot say: they have room for one gateway, and it speaks for itself."""
    _check_speaks_through(key, gateway)
    if gateway is not None and Device.objects.filter(gateway__key=key).exists():
        raise _no_gateway(f"Other devices speak through {key}; a gateway cannot have one itself.")


def _check_speaks_through(key: str, gateway: Device | None) -> None:
    if gateway is not None and gateway.key == key:
        raise _no_gateway("A device cannot be its own gateway.")
    if gateway is not None and gateway.gateway is not None:
        raise _no_gateway(f"{gateway.key} itself speaks through a gateway; choose one that does not.")


def _no_gateway(problem: str) -> Refusal:
    return Refusal("invalid", problem, fields={"gateway": "does not fit"})


def rotate(device: Device) -> str:
    """Give a device a new secret and return it; the broker cuts the session of the old one."""
    secret = sealing.new_secret()
    with transaction.atomic():
        row = Device.objects.select_for_update(of=("self",), no_key=True).get(pk=device.pk)
        row.secret_box = sealing.seal(secret)
        row.secret_version += 1
        row.save(update_fields=["secret_box", "secret_version"])
        _cut(row, "its secret was changed")
        audit.note("device.secret_changed", device.key, fleet=row.fleet)
        changed(device.key)
    return secret


def _cut(device: Device, because: str) -> None:
    """Note that a device, and those that speak through it, are cut off: the broker's accounts follow in a moment."""
    now = time.time_ns() // 1_000_000
    standing.cut(device.pk, because, now)
    for child in device.children.order_by("pk"):
        standing.cut(child.pk, because.replace("its", "its gateway's", 1), now)


def remove(device: Device) -> None:
    """Delete a device with its journal; it is disconnected and cannot return."""
    if device.children.exists():
        raise Refusal("has_children", "Other devices speak through this gateway; move or delete them first.", 409)
    with transaction.atomic():
        # What is being recorded of it is finished first, and what comes later finds nobody. The locks in the order in
        # which ingest takes them, and NO KEY, for what it has stored refers to the device: nobody waits crosswise.
        if not Device.objects.select_for_update(of=("self",), no_key=True).filter(pk=device.pk):
            raise device_unknown(device.key)  # another did it in this moment
        Head.objects.select_for_update(of=("self",)).filter(pk=device.pk).first()
        # Nor may anybody be at its roll-ups: what they write meanwhile would refer to a device that is gone.
        Rolled.objects.get_or_create(device=device)
        Rolled.objects.select_for_update(of=("self",)).filter(pk=device.pk).first()
        telemetry.forget(device)
        key = device.key
        audit.note("device.removed", key, fleet=device.fleet)
        device.delete()
        # Whoever registers the key next is not told what this device said.
        Reject.objects.filter(key=key).delete()
        changed(key)


def changed(*keys: str) -> None:
    """Ring that registrations changed; bridges read them again and mend the broker's accounts."""
    messages: list[Message] = [{"type": "registry.changed", "device": key} for key in keys]
    announce_on_commit(*messages)


def directory() -> dict[str, Entry]:
    """Return every registered device by key."""
    limits = (Coalesce("rate", "fleet__rate"), Coalesce("burst", "fleet__burst"))
    rows = Device.objects.values_list("key", "pk", "enabled", "gateway__key", "fleet__slug", *limits)
    return {key: Entry(*entry) for key, *entry in rows}


def account_versions() -> dict[str, int]:
    """Return who may log in at the broker, and the version of each secret; enough to see what changed."""
    return dict(_accounts().values_list("key", "secret_version"))


def credentials(keys: list[str] | None = None) -> list[Credentials]:
    """Return what a broker has to know of these devices, or of all that may log in.

    A secret that was sealed under another SECRET_KEY is lost: its device is left out, and needs a new one.
    """
    rows = _accounts() if keys is None else _accounts().filter(key__in=keys)
    found = []
    for key, box, version in rows.values_list("key", "secret_box", "secret_version"):
        try:
            found.append(Credentials(key, sealing.unseal(box), version))
        except sealing.InvalidToken:
            logger.error("SECRET_KEY is another than when %s got its secret; give it a new one (rotate)", key)  # noqa: TRY400
    return found


def _accounts() -> QuerySet[Device]:
    """Enabled devices that speak for themselves; a gateway's children speak through it."""
    return Device.objects.filter(enabled=True, gateway=None).order_by("key")
