"""What became of commands: claimed, sent, answered, expired; each move has one winner, and is logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Q

from devices import audit, lifecycle, presence, wire
from devices.commands import log
from devices.dialects import Order
from devices.groups import announce_on_commit
from devices.models import Command, CommandEvent

if TYPE_CHECKING:
    from devices.lifecycle import State

# A bridge publishes within moments of its claim; a claim this old was left by one that died in between.
ORPHAN_MS: Final = 30_000
# A device that accepted a command may work on it longer than the command could wait for it.
SHORTEST_WORK_MS: Final = 60_000
# Of devices that are online, those that sleep as they announced are not connected: what they are told waits for them.
_AWAKE: Final = Q(device__head__presence="online") & ~Q(device__head__because__startswith=presence.ASLEEP)


def waiting(now: int) -> list[tuple[str, str]]:
    """Return (device key, id) of what can be sent now: queued, unclaimed, not expired, and its device awake."""
    rows = Command.objects.filter(state="queued", claimed_at=None, expires_at__gt=now, device__enabled=True)
    rows = rows.filter(_AWAKE).order_by("created_at", "pk")
    return list(rows.values_list("device__key", "pk"))


def claim(cid: str, now: int) -> Order | None:
    """Take a command for publishing; None when it is not to be sent now, or another bridge was first."""
    ready = Command.objects.filter(pk=cid, state="queued", claimed_at=None, expires_at__gt=now)
    ready = ready.filter(_AWAKE, device__enabled=True)
    # The condition on the device cannot stand in an UPDATE of every database: read, then win or lose by the row.
    command = ready.select_related("device__gateway").first()
    if command is None:
        return None
    if Command.objects.filter(pk=cid, state="queued", claimed_at=None).update(claimed_at=now) != 1:
        return None
    gateway = command.device.gateway
    return Order(
        device=command.device.key,
        gateway=gateway.key if gateway else None,
        name=command.name,
        cid=command.pk,
        args=command.args,
        expires_at=command.expires_at,
    )


def sent(cid: str, now: int) -> None:
    """Note that the broker took the command for its device."""
    _move(cid, "sent", now, "the broker acknowledged it")


def unsent(cid: str) -> None:
    """Give a claim back: the broker refused the publish for sure, so it may be tried again until it expires."""
    Command.objects.filter(pk=cid, state="queued").update(claimed_at=None)


def lost(cid: str, now: int) -> None:
    """Note that the publish broke off: the broker may have it or not. It is not repeated: it might act twice."""
    _move(cid, "unknown", now, "the connection broke before the broker answered")


def settle(ack: wire.Ack, now: int) -> bool:
    """Take a device's answer; False when it answers nothing that is open to it (logged by the caller)."""
    command = Command.objects.filter(pk=ack.cid, device__key=ack.device).first()
    if command is None or (command.claimed_at is None and command.state != "cancelled"):
        return False
    if command.state == "queued":
        # Faster than the broker's word to us: the answer proves that it was sent.
        _move(ack.cid, "sent", now, "the device answered")
    if ack.status == "received" and _progress(ack, now):
        return True
    text = ack.message or wire.command_payload(ack.value).decode()
    return _move(ack.cid, ack.status, now, "the device answered", message=text, progress=ack.progress)


def _progress(ack: wire.Ack, now: int) -> bool:
    """Bring the progress of a received command up to date; in place, so that a chatty device fills no table."""
    with transaction.atomic():
        command = Command.objects.select_for_update(of=("self",)).filter(pk=ack.cid, state="received").first()
        if command is None:
            return False
        event = command.events.filter(state="received").last()
        if event and ack.progress is not None:
            event.progress = ack.progress
            event.save(update_fields=["progress"])
            Command.objects.filter(pk=ack.cid).update(changed_at=now)
            announce_on_commit(*log.messages([event]))
    return True


def cancel(cid: str, now: int, by: str) -> bool:
    """Cancel a command that nobody has claimed yet; False when it is too late."""
    with transaction.atomic():
        done = _move(cid, "cancelled", now, "cancelled before it was sent", by=by, unclaimed=True)
        if done:
            command = Command.objects.select_related("device__fleet").get(pk=cid)
            device = command.device
            audit.note("command.cancelled", device.key, {"name": command.name, "command": cid}, fleet=device.fleet)
    return done


def sweep(now: int) -> int:
    """Close what has waited for too long; return how many. What may have been acted upon is never called expired."""
    closed = 0
    rows = Command.objects.filter(state="queued", claimed_at=None, expires_at__lte=now)
    for cid in rows.values_list("pk", flat=True):
        closed += _move(cid, "expired", now, "its time ended before it could be sent", unclaimed=True)
    rows = Command.objects.filter(state="queued", claimed_at__lte=now - ORPHAN_MS)
    for cid in rows.values_list("pk", flat=True):
        closed += _move(cid, "unknown", now, "the bridge stopped while it was sending")
    rows = Command.objects.filter(state="sent", expires_at__lte=now)
    for cid in rows.values_list("pk", flat=True):
        closed += _move(cid, "unknown", now, "the device did not answer in time")
    rows = Command.objects.filter(state="received", expires_at__lte=now, changed_at__lte=now - SHORTEST_WORK_MS)
    for cid in rows.values_list("pk", flat=True):
        closed += _move(cid, "timed_out", now, "the device accepted it and said nothing more")
    return closed


def _move(  # noqa: PLR0913  what is written in the log
    cid: str,
    target: State,
    now: int,
    proof: str,
    *,
    by: str = "",
    message: str = "",
    progress: float | None = None,
    unclaimed: bool = False,
) -> bool:
    """Move a command if the table allows it; exactly one caller wins, the others change nothing."""
    with transaction.atomic():
        rows = Command.objects.filter(pk=cid, state__in=lifecycle.sources(target))
        if unclaimed:
            rows = rows.filter(claimed_at=None)
        if rows.update(state=target, changed_at=now) != 1:
            return False
        command = Command.objects.select_related("device", "user").get(pk=cid)
        _log(command, target, now, proof, by=by, message=message, progress=progress)
        return True


def _log(  # noqa: PLR0913  what is written in the log
    command: Command,
    state: State,
    now: int,
    proof: str,
    *,
    by: str = "",
    message: str = "",
    progress: float | None = None,
) -> None:
    log.write(
        [CommandEvent(command=command, state=state, at=now, proof=proof, by=by, message=message, progress=progress)]
    )
