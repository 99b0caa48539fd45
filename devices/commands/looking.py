"""Commands of devices that never answer: a reading that shows what was wanted is the proof that it was done."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from django.db.models import F, Q

from devices import telemetry, values, wire
from devices.commands import log
from devices.models import Command, Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

# A sweep looks at so many commands, those first that have most to be looked through; at so many together, and at so
# many frames of each. What is left over is for the next one.
COMMANDS: Final = 500
TOGETHER: Final = 50
FRAMES: Final = 100
# What was late or kept by the broker says how it was, not how it is.
_PAST: Final = telemetry.LATE | telemetry.RETAINED


def sweep(now: int) -> int:
    """Settle what readings prove that came since the command was claimed; return how many."""
    rows = Command.objects.filter(state="sent", device__answers=False, args__isnull=False)
    rows = rows.filter(device__head__seq__gt=F("looked_seq")).select_related("device__head")
    fields = ("name", "args", "claimed_at", "expires_at", "looked_seq", "device__head__seq")
    behind = F("device__head__seq") - F("looked_seq")
    found = list(rows.only(*fields).order_by(behind.desc(), "pk")[:COMMANDS])
    return sum(_look(found[at : at + TOGETHER], now) for at in range(0, len(found), TOGETHER))


def _look(commands: Sequence[Command], now: int) -> int:
    frames = _frames(commands)
    proofs = {}
    for command in commands:
        for frame in frames[command.device_id]:
            if _shows(frame, command):
                proofs[command.pk] = _proof(command, frame.seq)
                break
        command.looked_seq = min(_from(command) + FRAMES, command.device.head.seq)
    Command.objects.bulk_update(commands, ["looked_seq"])
    if not proofs:
        return 0
    return len(log.move(Command.objects.filter(pk__in=proofs), "succeeded", now, proofs, log.THE_DEVICE))


def _frames(commands: Sequence[Command]) -> defaultdict[int, list[Frame]]:
    """Read what is still to be looked through, of several devices in one statement."""
    wanted = Q()
    for command in commands:
        seq = _from(command)
        wanted |= Q(device=command.device_id, seq__gt=seq, seq__lte=seq + FRAMES)
    frames: defaultdict[int, list[Frame]] = defaultdict(list)
    rows = Frame.objects.filter(wanted).order_by("device", "seq")
    for frame in rows.only("device_id", "seq", "received_at", "flags", "values"):
        frames[frame.device_id].append(frame)
    return frames


def _from(command: Command) -> int:
    return command.looked_seq or 0


def _shows(frame: Frame, command: Command) -> bool:
    """Whether a frame came in the command's time, and has under its name what it wanted."""
    if frame.flags & _PAST or frame.seq <= _from(command) or command.name not in frame.values:
        return False
    if not (command.claimed_at or 0) <= frame.received_at < command.expires_at:
        return False
    return _read(command.args) == _read(frame.values[command.name])


def _read(value: object) -> object:
    """Read a value as a device would say it: on, "on" and true are the same, and so is 1."""
    try:
        return values.scalar_of("args", wire.command_payload(value).decode())
    except values.Bad:
        return value


def _proof(command: Command, seq: int) -> str:
    shown = wire.command_payload(command.args).decode()
    return f"its reading {command.name[:80]} = {shown[:60]} (frame {seq})"
