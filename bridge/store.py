"""A batch's way into the database: one transaction, synchronous, through the services."""

from __future__ import annotations

import logging

import msgspec
from django.db import DataError, IntegrityError, close_old_connections, transaction

from bridge.batch import Batch, Rejected, sort
from devices import commands, registry, rejects, telemetry, wire
from devices.groups import Message

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
    close_old_connections()
    try:
        return _commit(batch, now)
    except (DataError, IntegrityError, ValueError) as error:
        if len(batch.messages) > 1:
            logger.warning("a batch of %d cannot be stored whole: %s", len(batch.messages), error)
        return _one_by_one(batch, now)
    finally:
        close_old_connections()


def _commit(batch: Batch, now: int) -> Stored:
    with transaction.atomic():
        for announce in batch.announces:
            registry.learn(announce)
        recorded = telemetry.record(batch.events, now)
        for ack in batch.acks:
            if not commands.settle(ack, now):
                logger.info("an answer of %s to %s changes nothing: it is late, doubled or another's", ack.device, ack.cid)
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


def _one_by_one(batch: Batch, now: int) -> Stored:
    """Store each message alone; one that the database refuses becomes a Reject and costs itself only."""
    total = Stored()
    directory = registry.directory()
    for message in batch.messages:
        single = sort([message], wire.read, directory)
        try:
            stored = _commit(single, now)
        except (DataError, IntegrityError, ValueError) as error:
            key = wire.device_of(message.topic)
            detail = f"the database refused it: {str(error)[:200]}"
            poison = Rejected(key=key, message=message, reason="bad_value", detail=detail)
            stored = _commit(Batch(messages=[message], rejects=[poison]), now)
        total.announcements += stored.announcements
        total.frames += stored.frames
        total.duplicates += stored.duplicates
        total.rejected += stored.rejected
    return total
