"""Desired state: what a device shall keep to, what it says that it keeps to, and what of it has to be told to it.

A setting is told until the device reports the version with which it was wanted, or a later one; that it then keeps
another value is shown, and not fought. Repeating harms nobody: it is a state, and no order.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Least

from devices import arguments, audit, standing, values
from devices.errors import Refusal, device_unknown
from devices.groups import announce_on_commit
from devices.models import Device, Setting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from django.contrib.auth.models import User

    from devices import wire
    from devices.groups import Message
    from devices.values import Value

State = Literal["own", "waiting", "sent", "kept", "different"]

# Whoever was told and does not answer is told again after this; then after twice as long, and so on.
SOON_MS: Final = 10_000
LATEST_MS: Final = 600_000
# Devices that are told in one go.
AT_ONCE: Final = 100
# What is left of a number in a device that counts with 32 bits.
PRECISION: Final = 1e-6
_OPEN: Final = Q(version__gt=F("answered"))


class Difference(msgspec.Struct, frozen=True):
    """What a device has to be told: `values` of the version; None: nobody wants anything of it any more.

    since  with which version each of them was wanted, the oldest first
    """

    pk: int
    device: str
    gateway: str | None
    version: int
    values: dict[str, Value | None]
    since: dict[str, int]


# --- what people want


def want(
    device: Device, wanted: Mapping[str, object], user: User | None, now: int, version: int | None = None
) -> list[str]:
    """Have a device keep to these values (None: to whatever it likes), all or none; return the names that changed.

    With `version`, what was known when it was decided, nothing is taken if somebody else changed one of them since.

    Refusals: setting_unknown, bad_value, invalid (nothing, or too many), conflict (409), device_unknown (just deleted).
    """
    with transaction.atomic():
        # NO KEY: reports, which refer to the device, need not wait. It orders those who want something of it.
        row = Device.objects.select_for_update(of=("self",), no_key=True).filter(pk=device.pk).first()
        if row is None:
            raise device_unknown(device.key)
        known = {setting.name: setting for setting in Setting.objects.filter(device=row)}
        asked = {name: _checked(row, known, name, value) for name, value in wanted.items()}
        _check_room({*known, *asked}, asked)
        changed = {name: value for name, value in asked.items() if not _is(_desired(known, name), value)}
        if version is not None:
            _check_conflict([known[name] for name in changed if name in known], version, user)
        if not changed:
            return []
        row.wanted += 1
        row.save(update_fields=["wanted"])
        by = user.get_username() if user else "the hub"
        detail = {name: [_desired(known, name), value] for name, value in changed.items()}
        audit.note("setting.wanted", row.key, detail, fleet=row.fleet, actor=audit.person(user) if user else None)
        _store(
            [
                Setting(
                    pk=known[name].pk if name in known else None,
                    device=row, name=name, desired=value, version=row.wanted, by=by, at=now,
                )
                for name, value in changed.items()
            ],
            "desired", "version", "by", "at", "sent_at",
        )  # fmt: skip
        _ring(row.key)
    return list(changed)


def _desired(known: Mapping[str, Setting], name: str) -> Value | None:
    desired: Value | None = known[name].desired if name in known else None
    return desired


def _checked(device: Device, known: Mapping[str, Setting], name: str, value: object) -> Value | None:
    """Return a value as it is wanted. To want nothing any more is possible of whatever was known once."""
    if value is None and (name in known or name in device.settings):
        return None
    return arguments.of_setting(device, name, value)


def _check_room(names: Collection[str], asked: Collection[str]) -> None:
    if not asked:
        raise Refusal("invalid", 'Say what is wanted, such as {"interval_s": 30}.', fields={"desired": "is empty"})
    if len(names) > values.MAX_METRICS:
        message = f"A device has at most {values.MAX_METRICS} settings."
        raise Refusal("invalid", message, fields={"desired": "has too many settings"})


def _check_conflict(rows: Iterable[Setting], version: int, user: User | None) -> None:
    me = user.get_username() if user else "the hub"
    others = {row.name: _told(row) for row in rows if row.version > version and row.by != me}
    if others:
        said = "; ".join(f"{name} {told}" for name, told in others.items())
        message = f"Since version {version} {said}. Nothing of this was taken: look, and decide again."
        raise Refusal("conflict", message, 409, others)


def _told(row: Setting) -> str:
    at = datetime.fromtimestamp((row.at or 0) / 1000, UTC)
    what = "was given back to the device" if row.desired is None else f"was set to {values.brief(row.desired)}"
    return f"{what} by {row.by} at {at:%Y-%m-%d %H:%M:%S} UTC"


# --- what devices report


def report(reports: Sequence[wire.Report], now: int) -> None:
    """Take in what devices keep to; in the caller's transaction. What they said before changes nothing.

    Raises values.Bad (too_many_metrics) when one would have more settings than there is room for.
    """
    if not reports:
        return
    keys = {one.device for one in reports}
    devices = {one.key: one for one in Device.objects.filter(key__in=keys).only("key", "wanted")}
    known: dict[int, dict[str, Setting]] = {device.pk: {} for device in devices.values()}
    for row in Setting.objects.filter(device__in=known):
        known[row.device_id][row.name] = row
    changed: dict[tuple[int, str], Setting] = {}
    told = set()
    for one in reports:
        device = devices.get(one.device)  # it may have been deleted in this moment
        for row in _taken(device, known[device.pk], one, now) if device else ():
            changed[row.device_id, row.name] = row
            told.add(one.device)
    rows = list(changed.values())
    _store(rows, "reported", "reported_at", "answered")
    _store([row for row in rows if row.answered < row.version and row.sent_at is None], "sent_at")
    _ring(*sorted(told))


def _taken(device: Device, known: dict[str, Setting], said: wire.Report, now: int) -> Iterator[Setting]:
    # A version that it was never given is another hub's, or from before a backup was restored.
    version = None if said.version is None else min(said.version, device.wanted)
    if len(known.keys() | said.values.keys()) > values.MAX_METRICS:
        raise values.Bad("too_many_metrics", f"more than {values.MAX_METRICS} settings; report fewer")
    for name, value in said.values.items():
        row = known.setdefault(name, Setting(device=device, name=name))
        answered = _answered(row, value, version)
        if answered < row.version <= row.answered:
            row.sent_at = None  # it has lost what it was told, and is told anew at once
        if row.answered != answered or not _is(row.reported, value):
            row.reported, row.reported_at, row.answered = value, now, answered
            yield row
    for row in known.values():
        # What nobody wants any more it need not name: it may have no default to tell.
        unwanted = row.desired is None and row.sent_at is not None and row.name not in said.values
        if version and unwanted and row.answered < row.version <= version:
            row.answered, row.reported_at = version, now
            yield row


def _answered(row: Setting, value: Value, version: int | None) -> int:
    """Tell which version a device had when it reported a value; one that counts none shows it by what it keeps."""
    if version is not None:
        return version
    shown = row.sent_at is not None if row.desired is None else same(row.desired, value)
    return row.version if shown else 0


# --- what devices have to be told


def due(now: int, keys: Collection[str] | None = None) -> list[Difference]:
    """Return what has to be told now to devices that are awake (of these keys): at most AT_ONCE of them.

    That is what they were not told yet, or not since they came; and what they did not answer: after 10 s, and then
    whenever as much time again has gone by since it was wanted, or since they came.
    """
    rows = Setting.objects.filter(_OPEN, standing.REACHABLE)
    if keys is not None:
        rows = rows.filter(device__key__in=keys)
    rows = rows.annotate(
        waited=Least(Greatest(F("sent_at") - Greatest("at", "device__head__since"), SOON_MS), LATEST_MS)
    ).filter(
        Q(sent_at=None)
        | Q(sent_at__lt=F("device__head__since"))
        | Q(sent_at__lt=F("device__head__greeted_at"))
        | Q(sent_at__lte=now - F("waited")),
    )
    return differences(rows.order_by().values_list("device_id", flat=True).distinct()[:AT_ONCE])


def differences(pks: Iterable[int]) -> list[Difference]:
    """Return what these devices (row ids) have to be told, if they can hear it: all of it, the oldest first."""
    rows = Setting.objects.filter(_OPEN, device__in=list(pks)).order_by("device_id", "version", "name")
    fields = ("device_id", "device__key", "device__gateway__key", "device__wanted", "name", "desired", "version")
    found: dict[int, Difference] = {}
    for pk, key, gateway, version, name, desired, since in rows.values_list(*fields):
        one = found.setdefault(pk, Difference(pk, key, gateway, version, {}, {}))
        one.values[name], one.since[name] = desired, since
    return list(found.values())


def sent(told: Iterable[Difference], now: int) -> None:
    """Note that the broker has taken these for their devices."""
    told = list(told)
    with transaction.atomic():
        rows = Setting.objects.select_for_update(no_key=True).filter(device__in=[one.pk for one in told])
        list(rows.order_by("pk").values_list("pk", flat=True))  # in the order of all who write (_store)
        for one in told:
            # What was changed meanwhile is not what was sent.
            rows = Setting.objects.filter(device_id=one.pk, name__in=list(one.values), version__lte=one.version)
            if rows.update(sent_at=now):
                _ring(one.device)


# --- what is shown


def described(pks: Collection[int]) -> dict[int, tuple[int, list[dict[str, Any]]]]:
    """Return of each of these devices (row ids) the version of its desired state, and its settings by name."""
    rows: dict[int, dict[str, Setting]] = {}
    for row in Setting.objects.filter(device__in=pks):
        rows.setdefault(row.device_id, {})[row.name] = row
    found = {}
    for pk, wanted, specs in Device.objects.filter(pk__in=pks).values_list("pk", "wanted", "settings"):
        known = rows.get(pk, {})
        found[pk] = (wanted, [_shown(name, specs.get(name), known.get(name)) for name in sorted({*specs, *known})])
    return found


def changed(pks: Collection[int], since: int) -> list[int]:
    """Return which of these devices (row ids) have settings that changed since then (ms), whoever changed them."""
    rows = Setting.objects.filter(Q(at__gte=since) | Q(sent_at__gte=since) | Q(reported_at__gte=since))
    return list(rows.filter(device__in=pks).values_list("device_id", flat=True).distinct())


def _shown(name: str, spec: dict[str, Any] | None, row: Setting | None) -> dict[str, Any]:
    row = row or Setting(name=name)
    fields = ("desired", "reported", "version", "answered", "by", "at", "sent_at", "reported_at")
    return {"name": name, "spec": spec, **{field: getattr(row, field) for field in fields}, "state": state(row)}


def state(row: Setting) -> State:
    """Say where a setting stands: the device's own, told or still to be told, kept, or kept at another value."""
    if row.answered < row.version:
        return "waiting" if row.sent_at is None else "sent"
    if row.desired is None:
        return "own"
    return "kept" if same(row.desired, row.reported) else "different"


def same(wanted: Value | None, kept: Value | None) -> bool:
    """Whether a device keeps to what is wanted, as exactly as its numbers can be."""
    numbers = [one for one in (wanted, kept) if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) == 2 and any(isinstance(one, float) for one in numbers):  # noqa: PLR2004  both
        return math.isclose(*numbers, rel_tol=PRECISION)
    return _is(wanted, kept)


def _is(one: Value | None, other: Value | None) -> bool:
    # In Python True is 1; for a device it is not.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _store(rows: Sequence[Setting], *fields: str) -> None:
    """Write these fields alone: people and devices write at the same time, each their own.

    In one order for all who write, so that two never wait for each other crosswise.
    """
    rows = sorted(rows, key=lambda row: (row.pk is None, row.pk or 0, row.device_id, row.name))
    for row in rows:
        row.pk = None  # which row it is, its name says
    Setting.objects.bulk_create(rows, update_conflicts=True, unique_fields=["device", "name"], update_fields=fields)


def _ring(*keys: str) -> None:
    messages: list[Message] = [{"type": "device.settings", "device": key} for key in keys]
    if messages:
        announce_on_commit(*messages)
