"""Rejects: what could not be taken in is kept with its reason. The same again is counted, not stored again."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, F, OuterRef, Sum
from django.db.models.functions import Length

from devices.models import Device, Reject
from devices.values import MAX_PAYLOAD, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devices.batch import Rejected

# Kinds and bytes kept of one device; what comes on top only raises the count of a row that stands for all others of
# that reason. Enough to see what is wrong, and 10,000 broken devices fill no disk.
MAX_KINDS: Final = 100
MAX_BYTES: Final = 1_048_576
# Kinds kept of all keys that nobody registered: keys are free to invent.
MAX_STRANGE: Final = 1000
_OTHERS: Final = "others"


class _Kind(NamedTuple):
    """What makes two rejects the same."""

    key: str
    reason: Reason
    digest: str


def keep(rejected: Iterable[Rejected], now: int) -> None:
    """Keep or count each; `now` in ms."""
    counts: Counter[_Kind] = Counter()
    newest: dict[_Kind, Rejected] = {}
    for one in rejected:
        kind = _Kind(one.key, one.reason, _digest(one))
        counts[kind] += 1
        newest[kind] = one
    with transaction.atomic():
        # In one order for all, so that two writers never wait for each other crosswise.
        for kind in sorted(newest):
            _keep(kind, newest[kind], counts[kind], now)


def _digest(one: Rejected) -> str:
    topic = one.message.topic.encode(errors="replace")
    return hashlib.blake2b(topic + b"\0" + one.message.payload, digest_size=16).hexdigest()


def _keep(kind: _Kind, one: Rejected, count: int, now: int) -> None:
    if _count(kind, one, count, now):
        return
    topic, payload = one.message.topic, one.message.payload[:MAX_PAYLOAD]
    if room := _no_room(kind.key, len(payload)):
        kind = kind._replace(key="" if room == "strange" else kind.key, digest=_OTHERS)
        topic, payload = f"(others with this reason) {topic}", b""
        if _count(kind, one, count, now):
            return
    try:
        with transaction.atomic():
            Reject.objects.create(
                **kind._asdict(),
                topic=_storable(topic),
                payload=payload,
                size=len(one.message.payload),
                position=one.position,
                qos=one.message.qos,
                retain=one.message.retain,
                detail=_storable(one.detail),
                first_at=now,
                last_at=now,
                count=count,
            )
    except IntegrityError:
        # Another writer was first with the same kind.
        _count(kind, one, count, now)


def _count(kind: _Kind, one: Rejected, count: int, now: int) -> bool:
    same = Reject.objects.filter(**kind._asdict())
    return bool(same.update(count=F("count") + count, last_at=now, detail=_storable(one.detail)))


def _no_room(key: str, size: int) -> str:
    """Why one more kind of this key is not kept: "full", "strange" (too many keys that nobody registered), or ""."""
    kept = Reject.objects.filter(key=key).aggregate(kinds=Count("pk"), bytes=Sum(Length("payload")))
    if kept["kinds"] >= MAX_KINDS or (kept["bytes"] or 0) + size > MAX_BYTES:
        return "full"
    if key and not Device.objects.filter(key=key).exists():
        registered = Device.objects.filter(key=OuterRef("key"))
        if Reject.objects.filter(~Exists(registered)).exclude(key="").count() >= MAX_STRANGE:
            return "strange"
    return ""


def _storable(text: str) -> str:
    """Show what no database takes as what it is: a character that cannot be shown."""
    return text.replace("\0", "�").encode(errors="replace").decode()
