"""Commands are acted upon in the hub's own sight: a device that fetches what an update is about has received it."""

from __future__ import annotations

from django.db import transaction

from devices.commands import log
from devices.models import Command


def seen(cid: str, now: int, proof: str) -> None:
    """Note what was seen of a device that works on a command. It is received by that, and its silence begins anew."""
    rows = Command.objects.filter(pk=cid, claimed_at__isnull=False)
    with transaction.atomic():
        log.move(rows.filter(state="queued"), "sent", now, proof, log.THE_DEVICE)
        if log.move(rows, "received", now, proof, log.THE_DEVICE):
            return
        for command in log.locked(rows.filter(state="received")):
            Command.objects.filter(pk=cid).update(changed_at=now)
            newest = command.events.filter(state="received").last()
            if newest and proof not in newest.proof:
                newest.command = command
                newest.proof = f"{newest.proof}; {proof}"[:200]
                newest.save(update_fields=["proof"])
                log.write([], *log.messages([newest]))
