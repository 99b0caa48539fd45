"""Commands end: cancelled by a person, or closed because their time is over, with what is known of them by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction

from devices import audit
from devices.commands import log, looking
from devices.models import Command

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from devices.lifecycle import State

# A bridge publishes within moments of its claim; a claim this old was left by one that died in between.
ORPHAN_MS: Final = 30_000
# A device that accepted a command may work on it longer than the command could wait for it.
SHORTEST_WORK_MS: Final = 60_000


def cancel(cid: str, now: int, by: str) -> bool:
    """Cancel a command that nobody has claimed yet; False when it is too late."""
    with transaction.atomic():
        rows = Command.objects.filter(pk=cid, claimed_at=None)
        cancelled = log.move(rows, "cancelled", now, "cancelled before it was sent", by)
        for command in cancelled:
            device = command.device
            audit.note("command.cancelled", device.key, {"name": command.name, "command": cid}, fleet=device.fleet)
    return bool(cancelled)


def sweep(now: int) -> int:
    """Close what has waited for too long; return how many. What may have been acted upon is never called expired."""
    closed = looking.sweep(now)
    rows = Command.objects.filter(expires_at__lte=now)
    waiting = rows.filter(state="queued", claimed_at=None)
    closed += _close(waiting, "expired", now, "its time ended before it could be sent")
    orphans = Command.objects.filter(state="queued", claimed_at__lte=now - ORPHAN_MS)
    forgetful = orphans.filter(device__remembers=0)
    closed += _close(forgetful, "unknown", now, "the bridge stopped while it was sending")
    # To who remembers they went out again until now.
    closed += _close(orphans.filter(expires_at__lte=now), "unknown", now, "nobody knows whether it was sent")
    closed += _close(rows.filter(state="sent"), "unknown", now, "the device did not answer in time")
    silent = rows.filter(state="received", changed_at__lte=now - SHORTEST_WORK_MS)
    closed += _close(silent, "timed_out", now, "the device accepted it and said nothing more")
    return closed


def _close(rows: QuerySet[Command], target: State, now: int, proof: str) -> int:
    """Move them, some at a time, so that as many as there are need no more memory."""
    closed = 0
    while rows.exists():
        moved = log.move(rows, target, now, proof, log.THE_HUB)
        closed += len(moved)
        if len(moved) < log.AT_ONCE:
            break
    return closed
