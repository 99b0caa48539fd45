"""The log of commands: each move is one row more, with its proof, its time and who did it, and rings once committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction

from devices import lifecycle
from devices.groups import CommandState, Message, announce_on_commit
from devices.models import Command, CommandEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from django.db.models import QuerySet

    from devices.lifecycle import State

# Who does what neither a person nor a device did. Devices are called by their keys, which have no blanks.
THE_HUB: Final = "the hub"
THE_BROKER: Final = "the broker"
# Stands for the key of whichever device it is.
THE_DEVICE: Final = ""
# Rows that are moved in one transaction.
AT_ONCE: Final = 500


def locked(rows: QuerySet[Command]) -> QuerySet[Command]:
    """Lock commands in one order, so that two writers never wait for each other crosswise; with whom they concern.

    NO KEY: whoever writes the log of one refers to it, and need not wait.
    """
    rows = rows.select_for_update(of=("self",), no_key=True).select_related("device", "user")
    return rows.order_by("pk")


def move(rows: QuerySet[Command], target: State, now: int, proof: str | Mapping[str, str], by: str) -> list[Command]:
    """Move those of some commands which the table allows; of several callers one moves each. At most 500 at once.

    proof  one for all, or one for each id
    """
    with transaction.atomic():
        found = list(locked(rows.filter(state__in=lifecycle.sources(target)))[:AT_ONCE])
        if found:
            Command.objects.filter(pk__in=[command.pk for command in found]).update(state=target, changed_at=now)
            write([_event(command, target, now, proof, by) for command in found])
    return found


def _event(command: Command, state: State, now: int, proof: str | Mapping[str, str], by: str) -> CommandEvent:
    text = proof if isinstance(proof, str) else proof[command.pk]
    who = command.device.key if by == THE_DEVICE else by
    return CommandEvent(command=command, state=state, at=now, proof=text, by=who)


def write(events: Sequence[CommandEvent], *more: Message) -> None:
    """Write these down, and ring for them; `more`: what else is to be rung for."""
    CommandEvent.objects.bulk_create(events)
    announce_on_commit(*more, *messages(events))


def messages(events: Iterable[CommandEvent]) -> list[CommandState]:
    """Say what watchers are told of events; their commands are there with device and user."""
    return [_message(event.command, event) for event in events]


def _message(command: Command, event: CommandEvent) -> CommandState:
    giver = str(command.user or THE_HUB)
    return {
        "type": "device.command_state",
        "command": command.pk,
        "device": command.device.key,
        "name": command.name,
        "args": command.args,
        "state": event.state,
        "proof": event.proof,
        "at": event.at,
        "by": event.by if event.state == "cancelled" else giver,
        "message": event.message,
        "progress": event.progress,
        "step": event.step,
        "reason": command.reason,
        "sends": command.sends,
        "expires_at": command.expires_at,
    }
