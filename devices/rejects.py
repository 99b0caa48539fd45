"""Rejects: what could not be taken in is kept with its reason. The same again is counted, not stored again.

`visible_to` is the one door for pages and API. What becomes of them: devices.replay.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, cast

import msgspec
from django.db import transaction
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Subquery, Sum
from django.db.models.functions import Length

from devices import audit, inbox, registry, rights
from devices.errors import Refusal
from devices.models import Device, Reject, Role
from devices.values import MAX_COUNTER, MAX_PAYLOAD, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.contrib.auth.models import AnonymousUser, User
    from django.db.models import QuerySet

    from devices.batch import Rejected

logger = logging.getLogger(__name__)

# Kinds and bytes kept of one device; what comes on top only raises the count of a row that stands for all others of
# that reason. Enough to see what is wrong, and 10,000 broken devices fill no disk.
MAX_KINDS: Final = 100
MAX_BYTES: Final = 1_048_576
# Kinds kept of all keys that nobody registered: keys are free to invent.
MAX_STRANGE: Final = 1000
# Stands where the digest of one message would be.
OTHERS: Final = "others"


class _Kind(NamedTuple):
    """What makes two rejects the same."""

    key: str
    reason: Reason
    digest: str


class _Seen(msgspec.Struct):
    """One kind in a batch: the first and the newest of it, and how many."""

    first: Rejected
    newest: Rejected
    count: int = 0


def keep(rejected: Iterable[Rejected]) -> None:
    """Keep or count each, in the order in which they came. A handful of statements, however many there are."""
    seen: dict[_Kind, _Seen] = {}
    for one in sorted(rejected, key=lambda one: one.message.received_at):
        same = seen.setdefault(_Kind(one.key, one.reason, _digest(one)), _Seen(one, one))
        same.newest = one
        same.count += 1
    if seen:
        with transaction.atomic():
            inbox.add([_row(kind, same) for kind, same in _with_room(seen).items()])


def visible_to(user: User | AnonymousUser, role: Role = Role.VIEWER) -> QuerySet[Reject]:
    """Select what claims to be of a device in whose fleet the user has the role; of others: for administrators."""
    if rights.administers(user):
        return Reject.objects.all()
    return Reject.objects.filter(key__in=registry.visible_to(user, role).values("key"))


def find(user: User | AnonymousUser, pk: int, role: Role = Role.VIEWER) -> Reject:
    """Return one; refuses alike what does not exist and what may not be seen (404), then the role (403)."""
    row = visible_to(user).filter(pk=pk).first() if 0 < pk <= MAX_COUNTER else None
    if row is None:
        raise unknown(pk)
    if role is not Role.VIEWER and not visible_to(user, role).filter(pk=pk).exists():
        raise Refusal("forbidden", f"In the fleet of {row.key} this takes the role {role}; ask a manager.", 403)
    return row


class Chosen(TypedDict, total=False):
    """Of which device (its key; "" for what names none), for which reason; what is not there: any."""

    device: str
    reason: str


def select(user: User | AnonymousUser, chosen: Chosen, role: Role = Role.VIEWER) -> QuerySet[Reject]:
    """Select what one may see, or with the role do; with a role, a device that is named is looked for (404, 403)."""
    rows = visible_to(user, role)
    if "device" in chosen:
        if role is not Role.VIEWER and not rights.administers(user):
            registry.find(user, chosen["device"], role)
        rows = rows.filter(key=chosen["device"])
    return rows.filter(reason=chosen["reason"]) if "reason" in chosen else rows


def unknown(pk: int) -> Refusal:
    """Refuse what is not there (any more), or may not be seen."""
    return Refusal("reject_unknown", f"There is no reject {pk}, or you may not see it, or it was replayed.", 404)


def groups(rows: QuerySet[Reject]) -> QuerySet[Reject, dict[str, Any]]:
    """Gather by device and reason: kinds, how many messages in all, when first and last, and the newest detail."""
    same = Reject.objects.filter(key=OuterRef("key"), reason=OuterRef("reason")).order_by("-last_at", "-pk")
    gathered = rows.values("key", "reason").annotate(
        kinds=Count("pk"),
        messages=Sum("count"),
        began_at=Min("first_at"),
        newest_at=Max("last_at"),
        newest_detail=Subquery(same.values("detail")[:1]),
    )
    return cast("QuerySet[Reject, dict[str, Any]]", gathered)


def newest_groups(rows: QuerySet[Reject]) -> QuerySet[Reject, dict[str, Any]]:
    """Gather them as above, the newest first."""
    return groups(rows).order_by(F("newest_at").desc(), "key", "reason")


def discard(rows: QuerySet[Reject], by: str) -> int:
    """Delete these for good; return how many there were."""
    with transaction.atomic():
        keys = Counter(rows.values_list("key", flat=True))
        count, _ = rows.delete()
        note("rejects.discarded", keys)
    logger.info("%s discarded %d rejects", by, count)
    return count


def note(action: str, keys: Counter[str]) -> None:
    """Write down what was done with so many rejects of each of these keys."""
    devices = {device.key: device for device in Device.objects.filter(key__in=keys).select_related("fleet")}
    for key, count in sorted(keys.items()):
        fleet = devices[key].fleet if key in devices else None
        audit.note(action, key or "no device", {"count": count}, fleet=fleet)


def _digest(one: Rejected) -> str:
    topic = one.message.topic.encode(errors="replace")
    return hashlib.blake2b(topic + b"\0" + one.message.payload, digest_size=16).hexdigest()


def _row(kind: _Kind, same: _Seen) -> inbox.Row:
    one, message = same.newest, same.newest.message
    others = kind.digest == OTHERS
    return inbox.Row(
        *kind,
        topic=storable(f"(others with this reason) {message.topic}" if others else message.topic),
        payload=b"" if others else message.payload[:MAX_PAYLOAD],
        size=len(message.payload),
        position=None if others else one.position,
        qos=message.qos,
        retain=message.retain,
        detail=storable(one.detail),
        first_at=same.first.message.received_at,
        last_at=message.received_at,
        times=same.count,
    )


def _with_room(seen: dict[_Kind, _Seen]) -> dict[_Kind, _Seen]:
    """Gather those for which there is no room in the rows that stand for all others, before a database sees them."""
    known = inbox.known({kind.key for kind in seen}, {kind.digest for kind in seen})
    room = _Room({kind.key for kind in seen if kind not in known})
    kept: dict[_Kind, _Seen] = {}
    for kind, same in seen.items():
        place = kind if kind in known else room.place(kind, len(same.newest.message.payload[:MAX_PAYLOAD]))
        total = kept.setdefault(place, _Seen(same.first, same.newest))
        total.newest = same.newest
        total.count += same.count
    return kept


class _Room:
    """What may still be kept of each of these keys, looked up once for a batch."""

    def __init__(self, keys: set[str]) -> None:
        self._kinds: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._strangers: set[str] = set()
        self._strange = 0
        if keys:
            self._look(keys)

    def place(self, kind: _Kind, size: int) -> _Kind:
        """Return the kind itself if there is room for it, else the one that stands for all others; `size` in bytes."""
        key = kind.key
        if self._kinds[key] >= MAX_KINDS or self._bytes[key] + size > MAX_BYTES:
            return kind._replace(digest=OTHERS)
        if key in self._strangers:
            if self._strange >= MAX_STRANGE:
                return kind._replace(key="", digest=OTHERS)
            self._strange += 1
        self._kinds[key] += 1
        self._bytes[key] += size
        return kind

    def _look(self, keys: set[str]) -> None:
        for key, kinds, size in _kept(keys):
            self._kinds[key], self._bytes[key] = kinds, size
        self._strangers = keys - {"", *Device.objects.filter(key__in=keys).values_list("key", flat=True)}
        if self._strangers:
            registered = Device.objects.filter(key=OuterRef("key"))
            strange = Reject.objects.filter(~Exists(registered)).exclude(key="")
            self._strange = strange[:MAX_STRANGE].count()


def _kept(keys: set[str]) -> Iterator[tuple[str, int, int]]:
    rows = Reject.objects.filter(key__in=keys).values("key")
    yield from rows.annotate(kinds=Count("pk"), bytes=Sum(Length("payload"))).values_list("key", "kinds", "bytes")


def storable(text: str) -> str:
    """Show what no database takes as what it is: a character that cannot be shown."""
    return text.replace("\0", "�").encode(errors="replace").decode()
