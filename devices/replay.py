"""Replay: what was refused is taken in once more, when its cause is mended. Once, however many ask at the same time.

What is replayed is of the past: it is stored at the time at which it came, and says nothing of whether the device is
there now.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Least

from devices import intake, registry, rejects, wire
from devices.batch import sort
from devices.errors import Refusal
from devices.groups import announce_on_commit
from devices.models import Device, Event, Head, Reject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

    from devices.batch import Rejected

logger = logging.getLogger(__name__)

# One call replays at most this many: each is a transaction of its own, and somebody waits for the answer.
MOST: Final = 200

Result = Literal["stored", "known", "taken", "refused"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one. The same message that came `count` times is replayed once.

    stored: as `frames` frames; known: the journal had all of it; taken: there was no reading in it to store;
    refused: again, now with `reason` and `detail`. `partly`: how many of its frames were refused, and are kept apart.
    """

    result: Result
    count: int
    frames: int = 0
    duplicates: int = 0
    partly: int = 0
    reason: str = ""
    detail: str = ""

    @property
    def message(self) -> str:
        """Say it in a sentence or two."""
        if self.result == "refused":
            return f"Refused again, {self.reason}: {self.detail}."
        said = _SAID[self.result].format(frames="1 frame" if self.frames == 1 else f"{self.frames} frames")
        if self.partly:
            said += f" {self.partly} of its readings were refused and are kept, each with its reason."
        return said if self.count == 1 else f"{said} It had come {self.count} times; it was replayed once."


_SAID: Final = {
    "stored": "Stored: {frames}.",
    "known": "The journal has it already; nothing was doubled.",
    "taken": "Taken. There was no new reading in it to store.",
}


class Replayed(msgspec.Struct):
    """What became of many. `left` were not tried yet; `next`: behind which to go on (None: there are no more).

    cut   cannot be replayed, because the hub did not keep them whole
    """

    replayed: int = 0
    refused: int = 0
    cut: int = 0
    frames: int = 0
    duplicates: int = 0
    left: int = 0
    next: int | None = None

    @property
    def message(self) -> str:
        """Say it in a sentence or two."""
        said = [f"Replayed {self.replayed}: {self.frames} frames stored, {self.duplicates} known already."]
        if self.refused:
            said.append(f"{self.refused} were refused again; their rows say why.")
        if self.cut:
            said.append(f"{self.cut} were not kept whole and cannot be replayed.")
        if self.left:
            said.append(f"{self.left} are left; replay again.")
        return " ".join(said)


def one(reject: Reject, now: int, by: str) -> Outcome:
    """Take a message in again; `now` in ms. It leaves the inbox, or is refused again and stays with the new reason.

    Raises Refusal: it is gone (somebody else was faster), or was not kept whole.
    """
    with transaction.atomic():
        outcome = _one(reject.pk, registry.directory(), now, by)
        rejects.note("rejects.replayed", Counter([reject.key]))
    return outcome


def many(rows: QuerySet[Reject], now: int, by: str, behind: int = 0) -> Replayed:
    """Replay the first of these, in the order in which they came first; those behind the row `behind` (pk)."""
    directory = registry.directory()
    asked = rows.filter(pk__gt=behind).order_by("pk").values_list("pk", "key")
    done, keys = Replayed(), Counter[str]()
    for pk, key in list(asked[:MOST]):
        done.next = pk
        try:
            _add(done, _one(pk, directory, now, by))
        except Refusal as refusal:
            done.cut += refusal.code == "not_whole"
        else:
            keys[key] += 1
    rejects.note("rejects.replayed", keys)
    done.left = 0 if done.next is None else asked.filter(pk__gt=done.next).count()
    done.next = done.next if done.left else None
    return done


def _add(done: Replayed, outcome: Outcome) -> None:
    done.replayed += outcome.result != "refused"
    done.refused += outcome.result == "refused"
    done.frames += outcome.frames
    done.duplicates += outcome.duplicates


@transaction.atomic
def _one(pk: int, directory: Mapping[str, registry.Entry], now: int, by: str) -> Outcome:
    row, device = _locked(pk)
    if not is_whole(row):
        message = f"Of reject {pk} the hub kept only what it needs to show and count it; it cannot be replayed."
        raise Refusal("not_whole", message, 409)
    try:
        stored = _take(row, directory, now)
    except _RefusedAgain as again:
        _stay(row, again.fault)
        outcome = Outcome(result="refused", count=row.count, reason=row.reason, detail=row.detail)
    else:
        row.delete()
        outcome = _outcome(stored, row.count)
        if device is not None:
            because = f"{by} replayed what was refused as {row.reason}: {outcome.message}"
            Event.objects.create(device=device, at=now, kind="replay", because=because[:200])
    logger.info("%s replayed reject %d of %r (%s): %s", by, pk, row.key, row.reason, outcome.result)
    return outcome


def is_whole(row: Reject) -> bool:
    """Whether the message is there as it came."""
    return row.digest != rejects.OTHERS and row.size <= len(row.payload)


def _locked(pk: int) -> tuple[Reject, Device | None]:
    """Lock what the message may change, then the row: in the order in which ingest does, so nobody waits crosswise."""
    key = Reject.objects.filter(pk=pk).values_list("key", flat=True).first()
    device = Device.objects.select_for_update(of=("self",), no_key=True).filter(key=key or "").first()
    if device is not None:
        Head.objects.select_for_update(of=("self",)).filter(pk=device.pk).first()
    row = Reject.objects.select_for_update().filter(pk=pk).first()
    if row is None:
        raise rejects.unknown(pk)
    return row, device


class _RefusedAgain(Exception):
    """Nothing of it could be taken in; what was written of it is taken back."""

    def __init__(self, fault: Rejected) -> None:
        super().__init__(fault.reason)
        self.fault = fault


@transaction.atomic
def _take(row: Reject, directory: Mapping[str, registry.Entry], now: int) -> intake.Stored:
    message = wire.Message(topic=row.topic, payload=bytes(row.payload), received_at=row.last_at, retain=row.retain)
    batch = sort([message], wire.read, directory)
    # Whether it was there then says nothing of now.
    frames = [event for event in batch.events if isinstance(event, wire.Frame)]
    batch.events = [msgspec.structs.replace(frame, past=True) for frame in frames]
    stored = intake.store(batch, now)
    if stored.rejects and not (stored.frames or stored.duplicates):
        raise _RefusedAgain(stored.rejects[0])
    for told in stored.announcements:
        if told["type"] == "device.frames":
            del told["hops"]  # it was underway until somebody mended it, and says nothing of the path
        announce_on_commit(told)
    return stored


def _outcome(stored: intake.Stored, count: int) -> Outcome:
    result: Result = "stored" if stored.frames else "known" if stored.duplicates else "taken"
    return Outcome(
        result=result,
        count=count,
        frames=stored.frames,
        duplicates=stored.duplicates,
        partly=len(stored.rejects),
    )


def _stay(row: Reject, fault: Rejected) -> None:
    """Keep it with what is wrong with it now; together with the same message, if that came again since."""
    reason, row.reason = row.reason, fault.reason
    row.detail, row.position = rejects.storable(fault.detail), fault.position
    try:
        with transaction.atomic():
            row.save(update_fields=["reason", "detail", "position"])
    except IntegrityError:
        same = Reject.objects.filter(key=row.key, reason=row.reason, digest=row.digest)
        same.update(count=F("count") + row.count, first_at=Least("first_at", row.first_at))
        Reject.objects.filter(pk=row.pk, reason=reason).delete()
