"""Commands: evidence, not hope. Issue, claim, settle, expire; each move is one UPDATE with one winner, and logged."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Q

from devices import arguments, audit, firmware, lifecycle, presence, wire
from devices.dialects import Order
from devices.errors import Refusal, device_unknown
from devices.groups import announce_on_commit
from devices.models import Command, CommandEvent, Device, Head

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from devices.lifecycle import State

DEFAULT_TTL_S: Final = 60
# Devices that sleep for most of a day are told when they wake, and have the night for it.
UPDATE_TTL_S: Final = 86_400
MAX_TTL_S: Final = 7 * 86_400
MAX_WAITING: Final = 50
MAX_KEY: Final = 128
MAX_REASON: Final = 200
# A bridge publishes within moments of its claim; a claim this old was left by one that died in between.
ORPHAN_MS: Final = 30_000
# A device that accepted a command may work on it longer than the command could wait for it.
SHORTEST_WORK_MS: Final = 60_000
# Of devices that are online, those that sleep as they announced are not connected: what they are told waits for them.
_AWAKE: Final = Q(device__head__presence="online") & ~Q(device__head__because__startswith=presence.ASLEEP)


def issue(  # noqa: PLR0913  an order has this many parts
    device: Device,
    name: str,
    args: object,
    *,
    user: User | None,
    now: int,
    ttl_s: int | None = None,
    key: str | None = None,
    reason: str = "",
    confirmed: bool = False,
) -> tuple[Command, bool]:
    """Queue a command and ring the bridge; return it and whether it is new (False: the key was used before).

    ttl_s      how long it may wait and be worked on; None: as is usual for what it is
    reason     why, in a person's words; kept with it and in the audit
    confirmed  whether the person was asked: a command that is announced as dangerous is not taken otherwise

    Refusals: command_unknown, bad_args, invalid (ttl_s, key, reason), confirmation_needed (409), too_many_waiting,
    device_unknown (just deleted).
    """
    ttl_s = default_ttl(device, name) if ttl_s is None else ttl_s
    check_ttl(ttl_s)
    check_key(key)
    check_reason(reason)
    with transaction.atomic():
        # The head's lock: of two requests with one key the second finds the first one's command.
        if Head.objects.select_for_update(of=("self",)).filter(pk=device.pk).first() is None:
            raise device_unknown(device.key)
        if key is not None and (old := Command.objects.filter(device=device, key=key).first()):
            return old, False
        args = arguments.of_command(device, name, args)
        if is_dangerous(device, name) and not confirmed:
            message = f"{device.key} calls {name} dangerous: confirm it (`confirm`: true), and say why (`reason`)."
            raise Refusal("confirmation_needed", message, 409)
        if Command.objects.filter(device=device, state="queued").count() >= MAX_WAITING:
            message = f"{MAX_WAITING} commands wait for {device.key} already; wait for it, or cancel some."
            raise Refusal("too_many_waiting", message, 429)
        # On the second, so that its id can say it.
        expires_at = -(-(now + ttl_s * 1000) // 1000) * 1000
        command = Command.objects.create(
            id=wire.cid(expires_at, secrets.randbits(30)),
            device=device,
            name=name,
            args=args,
            key=key,
            user=user,
            created_at=now,
            changed_at=now,
            expires_at=expires_at,
            reason=reason,
        )
        _log(command, "queued", now, "accepted by the hub", by=str(user or "the hub"))
        actor = audit.person(user) if user else None
        detail = {"name": name, "command": command.pk} | ({"reason": reason} if reason else {})
        audit.note("command.issued", device.key, detail, fleet=device.fleet, actor=actor)
        announce_on_commit({"type": "device.order", "device": device.key, "command": command.pk})
    return command, True


def default_ttl(device: Device, name: str) -> int:
    """Return for how long a command is good unless somebody says it: an update for as long as its address is."""
    return UPDATE_TTL_S if is_update(device, name) else DEFAULT_TTL_S


def is_update(device: Device, name: str) -> bool:
    """Whether a device announced this as the command by which it takes firmware."""
    return bool(device.commands.get(name, {}).get("type") == "update")


def is_dangerous(device: Device, name: str) -> bool:
    """Whether a device announced that people are to be asked before it is told so. An update always is."""
    return bool(device.commands.get(name, {}).get("dangerous")) or is_update(device, name)


def check_reason(reason: str) -> None:
    """Refuse what is no reason that can be kept."""
    if len(reason) > MAX_REASON or "\0" in reason:
        message = f"The reason must have at most {MAX_REASON} characters."
        raise Refusal("invalid", message, fields={"reason": f"must have at most {MAX_REASON} characters"})


def check_ttl(ttl_s: object) -> None:
    """Refuse what is no time to live."""
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int) or not 1 <= ttl_s <= MAX_TTL_S:
        message = f"ttl_s must be a whole number of seconds from 1 to {MAX_TTL_S}."
        raise Refusal("invalid", message, fields={"ttl_s": "is out of range"})


def check_key(key: str | None) -> None:
    """Refuse what cannot be an idempotency key."""
    if key is not None and not (key.isprintable() and 0 < len(key) <= MAX_KEY):
        message = f"key must have 1 to {MAX_KEY} printable characters; a UUID does."
        raise Refusal("invalid", message, fields={"key": "is not valid"})


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
        args=firmware.told(command),
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
            _ring(command, event)
    return True


def reached(cid: str, now: int, proof: str) -> None:
    """Note by what else than its answers it shows that a device has a command: it is received, if it was not yet."""
    with transaction.atomic():
        if Command.objects.filter(pk=cid, state="queued", claimed_at__isnull=False).exists():
            _move(cid, "sent", now, proof)
        if not _move(cid, "received", now, proof):
            _tell_more(cid, now, proof)


def _tell_more(cid: str, now: int, proof: str) -> None:
    """Add to what proves that a command was received, in place; who does something for it is not silent."""
    command = Command.objects.select_for_update(of=("self",)).filter(pk=cid, state="received").first()
    event = command and command.events.filter(state="received").last()
    if command and event:
        Command.objects.filter(pk=cid).update(changed_at=now)
        if proof not in event.proof:
            event.proof = f"{event.proof}; {proof}"[:200]
            event.save(update_fields=["proof"])
            _ring(command, event)


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
    event = CommandEvent(command=command, state=state, at=now, proof=proof, by=by, message=message, progress=progress)
    event.save()
    _ring(command, event)


def _ring(command: Command, event: CommandEvent) -> None:
    announce_on_commit(
        {
            "type": "device.command_state",
            "command": command.pk,
            "device": command.device.key,
            "name": command.name,
            "args": command.args,
            "state": event.state,
            "proof": event.proof,
            "at": event.at,
            "by": event.by or str(command.user or "the hub"),
            "message": event.message,
            "progress": event.progress,
            "step": event.step,
            "reason": command.reason,
            "sends": command.sends,
            "expires_at": command.expires_at,
        },
    )
