"""Two fleets with the same things in them. What belongs to the foreign one bears a mark wherever there is room for it.

A table, a column, or a kind of thing that this does not know fails the suite and says what is missing here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cache
from typing import Any, Final

from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import BinaryField, CharField, JSONField, Model, QuerySet, TextField
from django.utils import timezone

from devices import audit, desired, members, registry, rejects, telemetry, wire
from devices.batch import Rejected
from devices.history import repairs, rollups
from devices.models import (
    ClaimCode,
    Command,
    CommandEvent,
    Device,
    Firmware,
    Fleet,
    Head,
    Invitation,
    Job,
    Membership,
    Metric,
    Reject,
    Role,
    Run,
    Schedule,
    Tag,
    Target,
    Token,
)
from tests.django.conftest import NOW

# Nothing that is drawn by lot looks like it.
MARK: Final = "zq7vk"
# What a reading or a row id says instead of the mark.
NUMBER: Final = 2202.0202
FIRST_ID: Final = 22_020_200
_SEEN: Final = re.compile(rf"{MARK}[a-z-]*|{MARK.encode().hex()}|\b2202\.02|\b220202\d\d\b")


@dataclass(frozen=True)
class Names:
    """What stands for each part of an address, and for each field that names something, in one fleet."""

    key: str
    gateway: str
    fresh: str  # a key that nobody has
    metric: str
    cid: str
    repair: int
    pk: int  # of a reject
    slug: str
    username: str
    token: str
    code: int  # of a claim code, by its row
    invitation: int  # by its row
    share: str  # a share link, by what it is listed as
    secret: str  # that opens nothing: what a link opens is for whoever has it
    stray: str  # a key that publishes, and that nobody has registered
    job: str
    stopped: str  # another job
    schedule: int  # by its row
    file: int  # of a firmware, by its row
    signature: str  # that is none: what it opens takes credentials besides
    tag: str
    table: str  # of devices to be made, as CSV
    password: str = "wrong-fleet horse battery"  # not the right one

    @property
    def selection(self) -> dict[str, list[str]]:
        """Return what selects a device of the fleet."""
        return {"devices": [self.key]}

    def values(self) -> list[str]:
        """Return all of them, the longest first."""
        return sorted((str(getattr(self, field.name)) for field in fields(self)), key=len, reverse=True)


def names_of(fleet: str, first_id: int, **given: str) -> Names:
    """Return what things are called in a fleet. All of it is as long as in any other: answers can be compared."""
    return Names(
        **given,
        key=f"{fleet}-pump",
        gateway=f"{fleet}-gate",
        fresh=f"{fleet}-new",
        metric=f"{fleet}-temp",
        cid=f"{fleet}command",
        repair=first_id,
        pk=first_id + 1,
        slug=f"{fleet}-fleet",
        username=f"{fleet}-viewer",
        token=f"{fleet}-token",
        code=first_id + 2,
        invitation=first_id + 3,
        share=f"{fleet}-share",
        secret=f"{fleet}-secret",
        stray=f"{fleet}-stray",
        job=f"{fleet}jobjob1",
        stopped=f"{fleet}jobjob2",
        schedule=first_id + 4,
        file=first_id + 5,
        signature=f"{fleet}-signature",
        tag=f"{fleet}-tag",
        table=f"key,name,gateway,fleet\n{fleet}-new,a row,{fleet}-gate,{fleet}-fleet\n",
    )


FOREIGN: Final = names_of(MARK, FIRST_ID)
OWN: Final = names_of(
    "yours", 77_070_700, password="yours-fleet horse battery"
)  # the largest: ids that are given later follow these
# Names that nothing has.
NOTHING: Final = names_of("never", 33_030_300)

# How each table leads to what the fleet is called (slugs, keys and user names all begin with the same word).
TABLES: Final = {
    "Fleet": "slug",
    "Membership": "fleet__slug",
    "Device": "fleet__slug",
    "Metric": "device__fleet__slug",
    "Head": "device__fleet__slug",
    "Frame": "device__fleet__slug",
    "Rollup": "device__fleet__slug",
    "Rolled": "device__fleet__slug",
    "Event": "device__fleet__slug",
    "Repair": "device__fleet__slug",
    "Reject": "key",
    "Setting": "device__fleet__slug",
    "Command": "device__fleet__slug",
    "CommandEvent": "command__device__fleet__slug",
    "Token": "user__username",
    "DeviceRole": "device__fleet__slug",
    "Invitation": "fleet__slug",
    "ClaimCode": "fleet__slug",
    "AuditEntry": "fleet_name",
    "Tag": "device__fleet__slug",
    "Firmware": "fleet__slug",
    "Job": "fleet__slug",
    "Target": "job__fleet__slug",
    "Schedule": "fleet__slug",
    "Run": "schedule__fleet__slug",
}
# What belongs to no fleet.
OF_NOBODY: Final = ("AuditHead",)
# Columns of text in which the hub alone writes, words of its own.
OUR_WORDS: Final = frozenset(
    "Device.secret_box Metric.type Head.presence Head.numbering Event.state Reject.digest Reject.client "
    "CommandEvent.state CommandEvent.step Token.fleets Token.devices AuditEntry.action AuditEntry.digest "
    "Job.stages Job.counts Job.forgiven Schedule.stages Schedule.cron Schedule.zone".split()
)


def tables() -> list[type[Model]]:
    """Return all tables of the domain, and that of the users."""
    found = apps.get_app_config("devices").get_models()
    return [*(table for table in found if table.__name__ not in OF_NOBODY), User]


def rows_of(fleet: str, table: type[Model]) -> QuerySet[Any]:
    """Select the rows of a table that belong to a fleet."""
    name = table.__name__
    path = "username" if table is User else TABLES.get(name)
    assert path, f"say in TABLES how a row of {name} leads to its fleet, and have plant() make one"
    return table._default_manager.filter(**{f"{path}__startswith": fleet})


def fingerprint(fleet: str = MARK) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that a fleet has."""
    found = {}
    with connection.cursor() as cursor:
        for name, asked in _questions(fleet):
            cursor.execute(*asked)
            found[name] = [
                tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
                for row in cursor.fetchall()
            ]
    return found


@cache
def _questions(fleet: str) -> list[tuple[str, tuple[str, tuple[Any, ...]]]]:
    """Return what to ask of each table, in SQL: it is asked a thousand times."""
    rows = ((table.__name__, rows_of(fleet, table).order_by("pk").values_list()) for table in tables())
    return [(name, found.query.sql_with_params()) for name, found in rows]


def unmarked() -> list[str]:
    """Return the columns of text in which no row of the foreign fleet bears the mark, as it should."""
    return [
        f"{table.__name__}.{field.name}"
        for table in tables()
        if table is not User
        for field in table._meta.concrete_fields
        if isinstance(field, CharField | TextField | JSONField | BinaryField)
        and not field.choices
        and f"{table.__name__}.{field.name}" not in OUR_WORDS
        and not any(_marked(value) for value in rows_of(MARK, table).values_list(field.name, flat=True))
    ]


def _marked(value: Any) -> bool:
    text = bytes(value).decode() if isinstance(value, bytes | memoryview) else str(value)
    return MARK in text


def foreign_words(answer: str, asked: str) -> set[str]:
    """Return what an answer tells of the foreign fleet, but for what was asked by name."""
    asked = asked.lower()
    return {word for word in _SEEN.findall(answer.lower()) if word not in asked}


def plant(names: Names) -> None:
    """Make a fleet with one of everything in it."""
    word = names.slug.removesuffix("-fleet")
    fleet = Fleet.objects.create(slug=names.slug, name=f"{word}-fleet-name")
    people = {role: _member(fleet, f"{word}-{role}", role) for role in Role}
    with audit.acting(audit.person(people[Role.MANAGER], f"{word}-via")):
        _things(fleet, names, people)
    _firmware(fleet, names, people[Role.MANAGER])
    _papers(fleet, names, people)


def _things(fleet: Fleet, names: Names, people: dict[Role, User]) -> None:
    word = names.slug.removesuffix("-fleet")
    gateway, _ = registry.create(names.gateway, fleet)
    members.except_for(gateway, names.username, Role.VIEWER)
    device, _ = registry.create(names.key, fleet, f"{word}-name")
    device.commands = {"relay": {"type": "bool"}, f"{word}-order": {"type": "action", "unit": f"{word}-unit"}}
    device.settings = {"interval_s": {"type": "number"}, f"{word}-setting": {"type": "text", "unit": f"{word}-unit"}}
    device.model, device.firmware = f"{word}-model", f"{word}-firmware"
    device.save()
    members.except_for(device, names.username, Role.VIEWER)
    _readings(device, names)
    Metric.objects.filter(device=device).update(unit=f"{word}-unit", device_class=f"{word}-class", type="number")
    _command(device, names, people[Role.OPERATOR])
    Tag.objects.create(device=device, name=names.tag)
    _jobs(fleet, device, names, people[Role.OPERATOR])
    told = {f"{word}-setting": f"{word}-kept"}
    desired.report([wire.Report(device=device.key, values=told, received_at=NOW)], NOW)
    desired.want(device, {f"{word}-setting": f"{word}-wanted"}, people[Role.OPERATOR], NOW)
    made = repairs.mark(
        device, repairs.Range(frozenset((names.metric,)), NOW, NOW + 9), f"{word}-why", people[Role.MANAGER], NOW
    )
    type(made).objects.filter(pk=made.pk).update(id=names.repair)
    message = wire.Message(topic=f"hub/{names.key}/{word}-topic", payload=f"{word}-payload".encode(), received_at=NOW)
    rejects.keep([Rejected(key=names.key, message=message, reason="not_json", detail=f"{word}-detail")])
    Reject.objects.filter(key=names.key).update(id=names.pk)
    stray = wire.Message(topic=f"hub/{names.stray}/telemetry", payload=b'{"a":1}', received_at=NOW)
    rejects.keep([Rejected(key=names.stray, message=stray, reason="device_unknown", detail=f"{word}-detail")])


def _jobs(fleet: Fleet, device: Device, names: Names, user: User) -> None:
    word = names.slug.removesuffix("-fleet")
    asked = {
        "fleet": fleet, "name": f"{word}-order", "args": f"{word}-args", "ttl_s": 60, "reason": f"{word}-reason",
        "selection": names.selection, "user": user, "created_at": NOW,
    }  # fmt: skip
    told = {"because": f"{word}-because", "total": 1, "changed_at": NOW}
    states = ((names.job, "running", f"{word}-key"), (names.stopped, "stopped", None))
    job, _ = (Job.objects.create(id=pk, state=state, key=key, **told, **asked) for pk, state, key in states)
    turn = {"device": device, "key": device.key, "position": 0}
    Target.objects.create(job=job, command_id=names.cid, refused=f"{word}-refused", **turn)
    schedule = Schedule.objects.create(
        id=names.schedule, title=f"{word}-title", cron="0 6 * * *", next_at=NOW + 10**11, **asked
    )
    Run.objects.create(schedule=schedule, due_at=NOW, job=job, missed=f"{word}-missed")


def _firmware(fleet: Fleet, names: Names, user: User) -> None:
    word = names.slug.removesuffix("-fleet")
    texts = {part: f"{word}-{part}" for part in ("version", "model", "file", "sha256", "notes")}
    Firmware.objects.create(id=names.file, fleet=fleet, size=1, user=user, created_at=NOW, **texts)


def _papers(fleet: Fleet, names: Names, people: dict[Role, User]) -> None:
    word = names.slug.removesuffix("-fleet")
    offered = {"fleet": fleet, "made_by": people[Role.MANAGER], "expires_at": timezone.now() + timedelta(days=1)}
    Invitation.objects.create(id=names.invitation, digest=f"{word}-invited", name=f"{word}-guest", **offered)
    ClaimCode.objects.create(id=names.code, digest=f"{word}-claimed", key=names.fresh, **offered)
    papers = {"user": people[Role.MANAGER], "created": timezone.now(), "expiry": offered["expires_at"]}
    shown = [Device.objects.get(key=names.key).pk]
    Token.objects.bulk_create(
        [
            Token(digest=f"{word}-digest", token_key=names.token, name=f"{word}-token-name", **papers),
            Token(
                digest=f"{word}-shown", token_key=names.share, name=f"{word}-share-name", access="read", link=True,
                devices=shown, **papers,
            ),
        ]
    )  # fmt: skip


def _member(fleet: Fleet, username: str, role: Role) -> User:
    user = User.objects.create_user(username, f"{username}@example.org", f"{fleet.slug} horse battery")
    Membership.objects.create(fleet=fleet, user=user, role=role)
    return user


def _readings(device: Device, names: Names) -> None:
    own = names is not FOREIGN
    told = {names.metric: 1.0 if own else NUMBER, f"{names.metric}-text": names.metric}
    frames = [wire.Frame(device=device.key, values=told, received_at=NOW + at, ts=NOW + at) for at in (0, 1000, 2000)]
    telemetry.record(frames, NOW)
    rollups.roll(1000)
    Head.objects.filter(device=device).update(because=f"{names.metric}-because")


def _command(device: Device, names: Names, user: User) -> None:
    word = names.metric
    row = Command.objects.create(
        id=names.cid, device=device, name=f"{word}-order", args=f"{word}-args", key=f"{word}-key", user=user,
        created_at=NOW, changed_at=NOW, expires_at=NOW + 60_000, reason=f"{word}-reason",
    )  # fmt: skip
    told = {"proof": f"{word}-proof", "by": user.username, "message": f"{word}-message"}
    CommandEvent.objects.create(command=row, state="queued", at=NOW, **told)
