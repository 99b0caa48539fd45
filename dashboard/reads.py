"""What live sockets read from the database: heads, rows behind a cursor, changes that no doorbell told of.

Synchronous; `run` brings it to a small pool of threads of its own, so that page views and sockets do not wait for
each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

import msgspec
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import close_old_connections
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Coalesce

from dashboard.protocol import MAX_BEHIND, Since
from devices import commands, jobs, registry, rights, telemetry, values
from devices.errors import Refusal, device_unknown
from devices.models import Command, Device, Head, Job

P = ParamSpec("P")
R = TypeVar("R")
FirstSeq = Callable[[int], int | None]
# Commands that changed in the last hour are shown to who comes now.
RECENT_MS: Final = 3_600_000
# Of a fleet, at most.
MOST_JOBS: Final = 50
OPEN: Final = ("queued", "sent", "received")
# A command's time is taken before its transaction commits, maybe by another machine: look this far back.
OVERLAP_MS: Final = 30_000
_threads: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="live-reads")


async def run(read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a read in the pool, with the care that connections of long-lived threads need."""
    return await run_in(_threads, read, *args, **kwargs)


async def run_in(threads: ThreadPoolExecutor, do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run what uses the database in these threads."""

    def careful() -> R:
        close_old_connections()
        try:
            return do(*args, **kwargs)
        finally:
            close_old_connections()

    return await sync_to_async(careful, thread_sensitive=False, executor=threads)()


def now_ms() -> int:
    """Return the time as everything stores it."""
    return time.time_ns() // 1_000_000


class Start(msgspec.Struct, frozen=True):
    """Where a subscription begins with one device.

    head     newest seq; cursor: rows behind it will be sent
    skipped  first and last seq that cannot be had, and why ("retention" | "limit"); None: nothing is missing
    """

    key: str
    pk: int
    head: int
    cursor: int
    skipped: tuple[int, int, str] | None
    state: dict[str, Any]
    commands: list[dict[str, Any]]


def rows_of(user: User, keys: list[str]) -> dict[str, int]:
    """Return key → row id; refuses the whole when one of the devices may not be seen."""
    # What is no key at all may be something that a database refuses to be asked for.
    valid = [key for key in keys if values.is_key(key)]
    found = dict(registry.visible_to(user).filter(key__in=valid).values_list("key", "pk"))
    for key in keys:
        if key not in found:
            raise device_unknown(key)
    return found


class Standing(NamedTuple):
    """Where a device stands: of its head, what a subscription begins with."""

    pk: int
    seq: int
    presence: str
    because: str
    since: int


def _standings(user: User, keys: Collection[str]) -> dict[str, Standing]:
    """Return those of these devices that this user may see."""
    valid = [key for key in keys if values.is_key(key)]
    fields = ("key", "pk", *(f"head__{field}" for field in Standing._fields[1:]))
    rows = registry.visible_to(user).filter(key__in=valid).values_list(*fields)
    found = {key: Standing(*fields) for key, *fields in rows}
    if any(one.seq is None for one in found.values()):  # made in a shell or by SQL, and not swept yet
        registry.complete()
        found = {key: Standing(*fields) for key, *fields in rows.all()}
    return found


class Asked(NamedTuple):
    """Who wants to begin with which devices, and from where; `told`: devices whose commands are known already."""

    user: User
    keys: list[str]
    since: Since | None
    told: Collection[str] = ()


def starts(user: User, keys: list[str], since: Since | None, told: Collection[str] = ()) -> list[Start]:
    """Find where each device begins; refuses the whole when one of them may not be seen."""
    (found,) = starts_of([Asked(user, keys, since, told)])
    if isinstance(found, Exception):
        raise found
    return found


def starts_of(asked: Sequence[Asked]) -> list[list[Start] | Exception]:
    """Find where each of several begins; whoever may not see one of their devices is refused."""
    users = {rights.who(one.user): one.user for one in asked}
    wanted: dict[object, set[str]] = {}
    for one in asked:
        wanted.setdefault(rights.who(one.user), set()).update(one.keys)
    seen = {who: _standings(users[who], wanted[who]) for who in users}
    first_seq = cache(telemetry.first_seq)
    found: list[list[Start] | Exception] = []
    for one in asked:
        try:
            found.append(_starts(one, seen[rights.who(one.user)], first_seq))
        except Refusal as refusal:
            found.append(refusal)
    return found


def _starts(asked: Asked, seen: Mapping[str, Standing], first_seq: FirstSeq) -> list[Start]:
    for key in asked.keys:
        if key not in seen:
            raise device_unknown(key)
    now = now_ms()
    untold = [seen[key].pk for key in asked.keys if key not in asked.told]
    recent = _recent_commands(untold, now - RECENT_MS) if untold else {}
    return [_start(key, seen[key], asked.since, now, first_seq, recent.get(key, [])) for key in asked.keys]


def _start(
    key: str, head: Standing, since: Since | None, now: int, first_seq: FirstSeq, commands: list[dict[str, Any]]
) -> Start:
    cursor, skipped = head.seq, None
    if since is not None and since.cursor is not None:
        asked = since.cursor.get(key, head.seq)
        # A cursor from the future belongs to another journal (a restored database): begin anew, and say so.
        cursor = min(asked, head.seq)
        skipped = (head.seq + 1, asked, "retention") if asked > head.seq else None
    elif since is not None and since.last_s is not None:
        from_ms = now - round(since.last_s * 1000)
        found = telemetry.cursor_at(head.pk, from_ms)
        cursor = head.seq if found is None else found
    if skipped is None and cursor < head.seq:
        oldest = first_seq if since and since.cursor else None
        cursor, skipped = _reachable(head, cursor, oldest)
    state = {"presence": head.presence, "because": head.because, "since": head.since}
    return Start(key, head.pk, head.seq, cursor, skipped, state, commands)


def _reachable(head: Standing, cursor: int, first_seq: FirstSeq | None) -> tuple[int, tuple[int, int, str] | None]:
    """Return from where on rows can be had; `first_seq`: who asked has a cursor, behind which some may be missing."""
    if head.seq - cursor > MAX_BEHIND:
        return head.seq - MAX_BEHIND, (cursor + 1, head.seq - MAX_BEHIND, "limit")
    if first_seq is None:
        return cursor, None
    first = first_seq(head.pk)
    if first is None or first > cursor + 1:
        last = head.seq if first is None else first - 1
        return last, (cursor + 1, last, "retention")
    return cursor, None


def _recent_commands(pks: list[int], since: int) -> dict[str, list[dict[str, Any]]]:
    """Return each device's commands that are open or changed lately, as cmd_state messages, oldest first."""
    rows = Command.objects.filter(device_id__in=pks)
    rows = rows.filter(Q(changed_at__gte=since) | Q(state__in=OPEN))
    return _as_messages(rows.order_by("-created_at")[:200])


def _as_messages(rows: QuerySet[Command]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for command in rows.select_related("device", "user").prefetch_related("events"):
        events = command.events.all()
        if events:
            found.setdefault(command.device.key, []).insert(0, command_message(command, list(events)[-1]))
    return found


def issued(wishes: list[commands.Wish]) -> list[tuple[Command, bool] | Refusal]:
    """Give the commands that came at the same moment; see commands.issue_each."""
    return commands.issue_each(wishes, now_ms())


def command_message(command: Command, event: Any) -> dict[str, Any]:  # noqa: ANN401
    """Say where a command stands, as its group was told."""
    return {
        "command": command.pk,
        "device": command.device.key,
        "name": command.name,
        "args": command.args,
        "state": command.state,
        "proof": event.proof,
        "at": event.at,
        "by": event.by if command.state == "cancelled" else str(command.user or "the hub"),
        "message": event.message,
        "progress": event.progress,
        "step": event.step,
        "reason": command.reason,
        "sends": command.sends,
        "expires_at": command.expires_at,
    }


class Changes(msgspec.Struct, frozen=True):
    """What a periodic check found: heads and presence of watched devices (by row id), commands that moved (by key)."""

    heads: dict[int, tuple[int, dict[str, Any]]]
    commands: dict[str, list[dict[str, Any]]]


def changes(pks: list[int], since: int) -> Changes:
    """Read the truth about watched devices: for whoever missed a doorbell."""
    heads = {}
    for pk, seq, *state in Head.objects.filter(pk__in=pks).values_list("pk", "seq", "presence", "because", "since"):
        heads[pk] = (seq, dict(zip(("presence", "because", "since"), state, strict=True)))
    moved = Command.objects.filter(device_id__in=pks, changed_at__gte=since).order_by("-changed_at")[:500]
    return Changes(heads, _as_messages(moved))


def fleet_id(user: User, slug: str) -> int:
    """Return the fleet's row id, or refuse."""
    return registry.find_fleet(user, slug).pk


def picture(user: User, fleet: int) -> tuple[dict[str, Mark], frozenset[str] | None]:
    """Return the marks of a fleet, and which part of it this user may see; None: all. Refuses one that may not be."""
    partly = rights.sees_parts(user) and not registry.sees_whole(user, fleet)
    return marks(fleet), registry.part_of(user, fleet) if partly else None


def jobs_of(fleet: int) -> list[dict[str, Any]]:
    """Return a fleet's jobs that are not over, or changed lately, as its group was told; the oldest first."""
    rows = Job.objects.filter(fleet_id=fleet).select_related("fleet")
    rows = rows.filter(Q(state__in=("running", "stopped")) | Q(changed_at__gte=now_ms() - RECENT_MS))
    return [{**jobs.message(job)} for job in reversed(rows.order_by("-created_at", "-pk")[:MOST_JOBS])]


def summaries(fleet: int, keys: set[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return presence and newest values of a fleet's devices (of these keys)."""
    devices = Device.objects.filter(fleet_id=fleet).select_related("head").order_by("key")
    if keys is not None:
        devices = devices.filter(key__in=keys)
    return {device.key: telemetry.summary(device.name, device.head) for device in devices}


class Mark(NamedTuple):
    """What tells that a device's summary changed."""

    name: str
    seq: int
    presence: str
    since: int


def mark_of(summary: dict[str, Any]) -> Mark:
    """Return the mark of a summary."""
    return Mark(*(summary[field] for field in Mark._fields))


def marks(fleet: int) -> dict[str, Mark]:
    """Return what tells for each device of a fleet whether its summary changed."""
    # One that was made past the registry has no head yet.
    head = (Coalesce("head__seq", 0), Coalesce("head__presence", Value("never")), Coalesce("head__since", 0))
    rows = Device.objects.filter(fleet_id=fleet).values_list("key", "name", *head)
    return {key: Mark(*mark) for key, *mark in rows}
