"""The audit: who did what to whom. Chained, so that an entry that is changed or taken out leaves a trace.

An entry is written in the transaction of what it tells of: both are there, or neither is. It is linked into the chain
afterwards, by `link`, so that nobody who changes something waits for anybody else. An entry's digest is the SHA-256 of
the digest before it and of its own fields: whoever has an export can check it. How far the chain goes is sealed under
SECRET_KEY, so that who can write the database alone cannot make another chain that holds.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import Max

from devices.models import AuditEntry, AuditHead, Token

if TYPE_CHECKING:
    from django.http import HttpRequest

    from devices.models import Fleet

# Entries that are linked in one transaction, and looked through at once.
BATCH: Final = 1_000
FIELDS: Final = ("seq", "at", "user", "by", "via", "fleet", "fleet_name", "action", "target", "detail")


class Actor(NamedTuple):
    """Who does something, and by what they came."""

    by: str
    user: int | None = None
    via: str = ""


THE_HUB: Final = Actor("the hub")
_actor: ContextVar[Actor | HttpRequest] = ContextVar("actor", default=THE_HUB)


@contextmanager
def acting(actor: Actor | HttpRequest) -> Iterator[None]:
    """Have what happens inside be done by this actor, or by whoever signs in with this request."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def person(user: User | AnonymousUser | None, via: str = "") -> Actor:
    """Return somebody as actor."""
    return Actor(user.get_username(), user.pk, via) if isinstance(user, User) else Actor("nobody", None, via)


def current() -> Actor:
    """Return who acts here and now."""
    actor = _actor.get()
    if isinstance(actor, Actor):
        return actor
    token = getattr(actor, "auth", None)
    via = f"token {token}" if isinstance(token, Token) else "session"
    return person(getattr(actor, "user", None), via)


def note(
    action: str,
    target: str,
    detail: dict[str, Any] | None = None,
    *,
    fleet: Fleet | None = None,
    actor: Actor | None = None,
) -> None:
    """Write down what is done to whom, in the transaction that does it. `detail`: JSON, and never a secret."""
    note_each(action, [(target, detail or {}, fleet)], actor)


def note_each(
    action: str, done: Iterable[tuple[str, dict[str, Any], Fleet | None]], actor: Actor | None = None
) -> None:
    """Write down what is done to many: target, detail and fleet of each."""
    done_by, now = actor or current(), time.time_ns() // 1_000_000
    AuditEntry.objects.bulk_create(
        AuditEntry(
            at=now,
            user=done_by.user,
            by=done_by.by[:150],
            via=done_by.via[:150],
            fleet=fleet.pk if fleet else None,
            fleet_name=fleet.name if fleet else "",
            action=action,
            target=target[:200],
            detail=detail,
        )
        for target, detail, fleet in done
    )


def link() -> int:
    """Put what is not in the chain yet at its end, and return how many those were. One at a time does it."""
    if not AuditEntry.objects.filter(seq=None).exists():
        return 0  # without the lock, which SQLite has one of
    with transaction.atomic():
        AuditHead.objects.get_or_create(pk=1)
        head = AuditHead.objects.select_for_update().get(pk=1)
        rows = list(AuditEntry.objects.filter(seq=None).order_by("pk")[:BATCH])
        for row in rows:
            row.seq = head.seq = head.seq + 1
            row.digest = head.digest = digest(row, head.digest)
        if rows:
            AuditEntry.objects.bulk_update(rows, ["seq", "digest"])
            head.seal = _seal(head)
            head.save()
    return len(rows)


def digest(row: AuditEntry, before: str) -> str:
    """Return an entry's digest: SHA-256 of the one before (hexadecimal) and of its fields as JSON (`sealed`)."""
    return hashlib.sha256((before + sealed(row)).encode()).hexdigest()


def sealed(row: AuditEntry) -> str:
    """Write an entry's fields as the digest takes them: a JSON array, in ASCII, keys sorted, without blanks."""
    return json.dumps([getattr(row, field) for field in FIELDS], sort_keys=True, separators=(",", ":"))


class Broken(Exception):
    """The chain does not hold; the message says where, and what that means."""


def link_all() -> None:
    """Put all that is there into the chain."""
    while link() == BATCH:
        pass


def verify() -> AuditHead:
    """Check every entry; return how far the chain goes, or raise Broken."""
    link_all()
    newest = AuditEntry.objects.aggregate(newest=Max("seq"))["newest"] or 0
    # Read after what is compared with it: it goes on meanwhile.
    head, _ = AuditHead.objects.get_or_create(pk=1)
    seq, before = 0, ""
    for row in AuditEntry.objects.filter(seq__lte=head.seq).order_by("seq").iterator(BATCH):
        if row.seq != seq + 1:
            raise Broken(f"Entry {seq + 1} is missing: somebody took it out.")
        seq, before = row.seq, digest(row, before)
        if before != row.digest:
            raise Broken(f"Entry {seq} is not as it was written: somebody changed it.")
    if (seq, before) != (head.seq, head.digest):
        raise Broken(f"The chain ends at entry {seq}, and went on to {head.seq}: somebody took its end away.")
    if newest > head.seq:
        raise Broken(f"The chain ends at entry {head.seq}, and entry {newest} stands behind it: somebody added it.")
    if head.seq and not hmac.compare_digest(head.seal, _seal(head)):
        raise Broken("The seal does not fit: the chain was made anew by somebody else, or SECRET_KEY was changed.")
    return head


def _seal(head: AuditHead) -> str:
    return hmac.new(_key(settings.SECRET_KEY), f"{head.seq} {head.digest}".encode(), hashlib.sha256).hexdigest()


@cache
def _key(secret_key: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"telemetry-hub audit")
    return derived.derive(secret_key.encode())


def told(row: AuditEntry) -> dict[str, Any]:
    """Return an entry as it is shown and exported."""
    return {field: getattr(row, field) for field in (*FIELDS, "digest")}
