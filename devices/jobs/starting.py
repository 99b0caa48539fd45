"""A job is started: its devices are selected, each is asked whether it takes the command, and gets its turn."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec
from django.db import IntegrityError, transaction

from devices import arguments, audit, commands, registry
from devices.errors import Refusal
from devices.groups import announce_on_commit
from devices.jobs.counting import message
from devices.jobs.selection import select
from devices.models import Fleet, Job, Role, Target

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from devices.jobs.asked import Asked

# One request makes all of their rows, and somebody waits.
MOST: Final = 100_000
LONGEST: Final = 200
AT_ONCE: Final = 1_000


class Plan(msgspec.Struct):
    """What a job would do. Devices by row id and key; `refused` with the reason; `dangerous`: keys that call it so.

    ttl_s   for how long each command is good
    """

    ready: list[tuple[int, str]] = []
    refused: list[tuple[int, str, str]] = []
    dangerous: list[str] = []
    ttl_s: int = commands.DEFAULT_TTL_S

    @property
    def total(self) -> int:
        """How many are selected."""
        return len(self.ready) + len(self.refused)


def plan(asked: Asked, user: User) -> Plan:
    """Select, and ask of each device whether it takes the command. Nothing is made."""
    asked.check()
    found = Plan()
    rows = select(user, asked.fleet, asked.selection).select_related(None).order_by("key")
    for device in rows[: MOST + 1].iterator(AT_ONCE):
        try:
            arguments.of_command(device, asked.name, asked.args)
        except Refusal as refusal:
            found.refused.append((device.pk, device.key, refusal.message[:LONGEST]))
            continue
        found.ready.append((device.pk, device.key))
        found.ttl_s = max(found.ttl_s, commands.default_ttl(device, asked.name))
        if commands.is_dangerous(device, asked.name):
            found.dangerous.append(device.key)
    found.ttl_s = asked.ttl_s or found.ttl_s
    return found


def start(asked: Asked, user: User, now: int, key: str | None = None) -> tuple[Job, bool]:
    """Make a job; return it and whether it is new (False: the key was used before in this fleet).

    Refusals: invalid, device_unknown (404), nothing_selected, too_many_selected, confirmation_needed (409), and what
    the devices say when none of them takes the command.
    """
    commands.check_key(key)
    if key is not None and (old := _of_key(asked.fleet, key)):
        return old, False
    found = plan(asked, user)
    if not found.total:
        nothing = f"The selection has no device of the fleet {asked.fleet} that you may command; change it."
        raise Refusal("nothing_selected", nothing, fields={"selection": "selects nothing"})
    check(asked, found)
    try:
        with transaction.atomic():
            job = _make(asked, user, now, key, found)
            detail = {"name": asked.name, "count": job.total, "selection": asked.selection, "reason": asked.reason}
            audit.note("job.started", job.pk, detail, fleet=asked.fleet, actor=_actor(user))
            announce_on_commit(message(job))
    except IntegrityError:
        if key is not None and (old := _of_key(asked.fleet, key)):
            return old, False  # another request with the same key was first
        raise
    return job, True


def _actor(user: User) -> audit.Actor:
    """Return who acts here; by a schedule, whose it is."""
    here = audit.current()
    return here if here.user == user.pk else audit.person(user)


def _of_key(fleet: Fleet, key: str) -> Job | None:
    return Job.objects.filter(fleet=fleet, key=key).select_related("fleet", "user").first()


def check(asked: Asked, found: Plan) -> None:
    """Refuse what too many devices would get, none would take, or one calls dangerous and nobody has confirmed."""
    if found.total > MOST:
        message = f"More than {MOST} devices are selected; select fewer, by a tag."
        raise Refusal("too_many_selected", message, fields={"selection": "selects too many"})
    if found.refused and not found.ready:
        _, _, reason = found.refused[0]
        message = f"None of the {found.total} selected devices takes it: {reason}"
        raise Refusal("bad_args", message, fields={"args": reason})
    if found.dangerous and not asked.confirmed:
        named = f"{found.dangerous[0]} and {len(found.dangerous) - 1} more call" if found.dangerous[1:] else None
        who = named or f"{found.dangerous[0]} calls"
        message = f"{who} {asked.name} dangerous: confirm it (`confirm`: true), and say why (`reason`)."
        raise Refusal("confirmation_needed", message, 409)


def _make(asked: Asked, user: User, now: int, key: str | None, found: Plan) -> Job:
    counted = {"waiting": len(found.ready)} | ({"refused": len(found.refused)} if found.refused else {})
    job = Job.objects.create(
        id=secrets.token_hex(6),
        user=user,
        key=key,
        created_at=now,
        changed_at=now,
        total=found.total,
        counts=counted,
        **asked.columns() | {"ttl_s": found.ttl_s},
    )
    # Those that refused come last: a stage is a share of the others first.
    turns = [*((pk, name, "") for pk, name in found.ready), *found.refused]
    for at in range(0, len(turns), AT_ONCE):
        Target.objects.bulk_create(
            Target(job=job, device_id=pk, key=name, position=at + place, refused=refused)
            for place, (pk, name, refused) in enumerate(turns[at : at + AT_ONCE])
        )
    return job


def visible_to(user: User, role: Role = Role.VIEWER) -> QuerySet[Job]:
    """Return the jobs that the user may see: those of fleets that they see all of."""
    return Job.objects.filter(fleet__in=registry.whole_fleets_of(user, role).values("pk")).select_related(
        "fleet", "user"
    )


def barred(user: User | None, fleet: Fleet) -> str:
    """Say why nothing may be commanded in the name of this user any more; "": it may."""
    if user is None:
        return "The account of whoever asked for it was deleted"
    if not registry.whole_fleets_of(user, Role.OPERATOR).filter(pk=fleet.pk).exists():
        return f"{user} may not command all of the fleet {fleet} any more"
    return ""


def find(user: User, pk: str, role: Role = Role.VIEWER) -> Job:
    """Return one job; refuses alike what does not exist and what may not be seen (404), then the role (403)."""
    job = visible_to(user).filter(pk=pk).first()
    if job is None:
        raise Refusal("job_unknown", f"There is no job {pk!r}, or you may not see it.", 404)
    if role is not Role.VIEWER:
        registry.find_whole_fleet(user, job.fleet.slug, role)
    return job
