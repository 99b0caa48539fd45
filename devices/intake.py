"""The one way in: a batch's way into the database, in one transaction, through the services."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
from django.db import DataError, Error, IntegrityError, connection, transaction

from devices import commands, desired, learning, registry, rejects, telemetry, wire
from devices.batch import Batch, Rejected, rejected, sort
from devices.groups import Message
from devices.numbering import Receipt
from devices.values import Bad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

logger = logging.getLogger(__name__)


class Stored(msgspec.Struct):
    """What a commit leaves to be told: to watchers, and to the devices themselves; and how much it was.

    The numbers are as in groups.Passed, but for `rejects`, which has those over their limit as well.
    """

    announcements: list[Message] = []
    receipts: list[Receipt] = []
    rejects: list[Rejected] = []
    heard: int = 0
    batched: int = 0
    frames: int = 0
    duplicates: int = 0
    refused: int = 0
    others: int = 0

    def add(self, other: Stored) -> None:
        """Add what another commit left."""
        self.announcements += other.announcements
        self.receipts += other.receipts
        self.rejects += other.rejects
        self.heard += other.heard
        self.batched += other.batched
        self.frames += other.frames
        self.duplicates += other.duplicates
        self.refused += other.refused
        self.others += other.others


def take(messages: Sequence[wire.Message], directory: Mapping[str, registry.Entry], now: int) -> Stored:
    """Read messages of the native convention and store what they say; `now` in ms. See `store`."""
    return store(sort(messages, wire.read, directory), now)


def store(batch: Batch, now: int, fence: Callable[[], None] = lambda: None) -> Stored:
    """Commit a batch whole; or, when the database cannot take one of its rows, without that one.

    Raises OperationalError while the database is away: nothing was stored, and nothing may be acknowledged. So does
    `fence`, with which each transaction begins, for whoever may not store any more.
    """
    stored = _store(batch, now, fence)
    committed = time.time_ns() // 1_000_000
    for message in stored.announcements:
        if message["type"] == "device.frames" and (hops := message.get("hops")):
            hops[1] = committed
    return stored


def _store(batch: Batch, now: int, fence: Callable[[], None]) -> Stored:
    try:
        return _commit(batch, now, fence)
    except (Error, ValueError) as error:
        if not _is_poison(error):
            raise
        if len(batch.messages) > 1:
            logger.warning("a batch of %d cannot be stored whole: %s", len(batch.messages), error)
        return _apart(batch, now, fence)


def _commit(batch: Batch, now: int, fence: Callable[[], None] = lambda: None) -> Stored:
    # COPY is a context manager of the driver's: its errors come past Django's own wrapping.
    with connection.wrap_database_errors, transaction.atomic():
        fence()
        for announce in batch.announces:
            learning.learn(announce)
        recorded = telemetry.record(batch.events, now)
        for ack in commands.settle(batch.acks, now):
            logger.info("an answer of %s to %s changes nothing: it is late, doubled or another's", ack.device, ack.cid)
        desired.report(batch.reports, now)
        refused = [*batch.limited, *batch.rejects, *_refused(batch, recorded.refused)]
        rejects.keep(refused)
    return Stored(
        announcements=[*recorded.states, *recorded.frames],
        receipts=recorded.receipts,
        rejects=refused,
        heard=len(batch.messages) + len(batch.limited),
        batched=batch.batched,
        frames=sum(len(message["frames"]) for message in recorded.frames),
        duplicates=recorded.duplicates,
        refused=len(batch.limited),
        others=batch.others + recorded.noted,
    )


def _refused(batch: Batch, refused: Sequence[telemetry.Refused]) -> Iterator[Rejected]:
    """Keep of a refused frame the message that brought it; of one among others its own entry, which can be replayed."""
    frames = Counter(map(id, batch.origins)) if refused else Counter()
    for one in refused:
        message = batch.origins[one.index]
        if frames[id(message)] > 1:
            message = msgspec.structs.replace(message, payload=wire.entry_of(one.frame))
        yield Rejected(key=one.frame.device, message=message, reason=one.reason, detail=one.detail)


@transaction.atomic
def _apart(batch: Batch, now: int, fence: Callable[[], None]) -> Stored:
    """Store what can be stored: a message that is refused becomes a Reject and costs itself only.

    Still one transaction: when the database goes away meanwhile, nothing was stored, and all of it may come again.
    """
    stored = _commit(Batch(messages=[], limited=batch.limited), now, fence)
    stored.add(_in_halves(batch.messages, registry.directory(), now))
    return stored


def _in_halves(messages: Sequence[wire.Message], directory: Mapping[str, registry.Entry], now: int) -> Stored:
    try:
        return _commit(sort(messages, wire.read, directory), now)
    except (Error, ValueError) as error:
        if not _is_poison(error):
            raise
        if len(messages) == 1:
            return _commit(Batch(messages=messages, rejects=[rejected(messages[0], _bad(error))]), now)
    half = len(messages) // 2
    stored = _in_halves(messages[:half], directory, now)
    stored.add(_in_halves(messages[half:], directory, now))
    return stored


def _bad(error: Exception) -> Bad:
    return error if isinstance(error, Bad) else Bad("bad_value", f"the database refused it: {str(error)[:200]}")


# "Program limit exceeded" and its kind: of this row, not of the server, though the driver calls it operational.
_LIMIT_EXCEEDED: Final = "54"


def _is_poison(error: Exception) -> bool:
    """Whether it is a row that cannot be stored, and not the database that cannot store at this moment."""
    if isinstance(error, DataError | IntegrityError | ValueError):
        return True
    return str(getattr(error.__cause__, "sqlstate", "")).startswith(_LIMIT_EXCEEDED)
