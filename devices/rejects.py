"""Rejects: what could not be taken in is kept with its reason. The same again is counted, not stored again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from django.db import transaction
from django.db.models import F, QuerySet

from devices.models import Reject
from devices.values import MAX_PAYLOAD, Reason

# Kinds kept of one device; one more only raises the count of a row that stands for all others of that reason.
MAX_KINDS: Final = 100


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was refused: `key` is the device that the topic claims, "" when it names none."""

    key: str
    topic: str
    payload: bytes
    reason: Reason
    detail: str


def keep(rejected: Iterable[Rejected], now: int) -> None:
    """Keep or count each; `now` in ms."""
    with transaction.atomic():
        for one in rejected:
            _keep(one, now)


def _keep(one: Rejected, now: int) -> None:
    topic = one.topic.replace("\0", "�")
    digest = hashlib.blake2b(topic.encode(errors="replace") + b"\0" + one.payload, digest_size=16).hexdigest()
    same = Reject.objects.filter(key=one.key, reason=one.reason)
    if _count(same.filter(digest=digest), one, now):
        return
    payload = one.payload[:MAX_PAYLOAD]
    if Reject.objects.filter(key=one.key).count() >= MAX_KINDS:
        digest, topic, payload = "others", f"(others with this reason) {topic}", b""
        if _count(same.filter(digest=digest), one, now):
            return
    Reject.objects.create(
        key=one.key,
        topic=topic,
        payload=payload,
        reason=one.reason,
        detail=one.detail.replace("\0", "�"),
        digest=digest,
        first_at=now,
        last_at=now,
    )


def _count(rows: QuerySet[Reject], one: Rejected, now: int) -> bool:
    return bool(rows.update(count=F("count") + 1, last_at=now, detail=one.detail.replace("\0", "�")))
