"""A batch's way into the database: one transaction, synchronous, through the services."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
from django.db import DataError, IntegrityError, connection, transaction

from bridge.batch import Batch, Rejected, sort
from devices import commands, registry, rejects, telemetry, wire
from devices.groups import Message
from devices.values import Bad

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)


class Stored(msgspec.Struct):
    """What a commit leaves to be announced, and how much it was."""

    announcements: list[Message] = []
    frames: int = 0
    duplicates: int = 0
    rejected: int = 0


def store(batch: Batch, now: int) -> Stored:
    """Commit a batch whole; or, when the database cannot take one of its rows, message by message.

    Raises OperationalError while the database is away: nothing was stored, and nothing may be acknowledged.
    """
    try:
        return _commit(batch, now)
    except (DataError, IntegrityError, ValueError) as error:
        if len(batch.messages) > 1:
            logger.warning("a batch of %d cannot be stored whole: %s", len(batch.messages), error)
        return _one_by_one(batch, now)


def _commit(batch: Batch, now: int) -> Stored:
    # COPY is a context manager of the driver's: its errors come past Django's own wrapping.
    with connection.wrap_database_errors, transaction.atomic():
        for announce in batch.announces:
            registry.learn(announce)
        recorded = telemetry.record(batch.events, now)
        for ack in batch.acks:
            if not commands.settle(ack, now):
                logger.info(
                    "an answer of %s to %s changes nothing: it is late, doubled or another's", ack.device, ack.cid
                )
        refused = [_refused(one) for one in recorded.refused]
        rejects.keep([*map(_kept, batch.rejects), *refused], now)
    return Stored(
        announcements=[*recorded.states, *recorded.frames],
        frames=sum(len(message["frames"]) for message in recorded.frames),
        duplicates=recorded.duplicates,
        rejected=len(batch.rejects) + len(refused),
    )


def _kept(rejected: Rejected) -> rejects.Rejected:
    return rejects.Rejected(
        key=rejected.key,
        topic=rejected.message.topic,
        payload=rejected.message.payload,
        reason=rejected.reason,
        detail=rejected.detail,
    )


def _refused(one: telemetry.Refused) -> rejects.Rejected:
    return rejects.Rejected(
        key=one.frame.device,
        topic=wire.topic(one.frame.device, wire.TELEMETRY),
        payload=msgspec.json.encode(one.frame.values),
        reason=one.reason,
        detail=one.detail,
    )


@transaction.atomic
def _one_by_one(batch: Batch, now: int) -> Stored:
    """Store each message alone; one that is refused becomes a Reject and costs itself only.

    Still one transaction: when the database goes away meanwhile, nothing was stored, and all of it may come again.
    """
    total = Stored()
    directory = registry.directory()
    for message in batch.messages:
        stored = _alone(message, directory, now)
        total.announcements += stored.announcements
        total.frames += stored.frames
        total.duplicates += stored.duplicates
        total.rejected += stored.rejected
    return total


def _alone(message: wire.Message, directory: Mapping[str, registry.Entry], now: int) -> Stored:
    try:
        return _commit(sort([message], wire.read, directory), now)
    except Bad as bad:
        reason, detail = bad.reason, bad.detail
    except (DataError, IntegrityError, ValueError) as error:
        reason, detail = "bad_value", f"the database refused it: {str(error)[:200]}"
    poison = Rejected(key=wire.device_of(message.topic), message=message, reason=reason, detail=detail)
    return _commit(Batch(messages=[message], rejects=[poison]), now)
