"""Commands are answered: what devices say of them, whole batches in a few statements, each answer in its turn."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, cast, get_args

from django.db import transaction

from devices import lifecycle, wire
from devices.commands import log
from devices.models import Command, CommandEvent, Device

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from devices.lifecycle import State

_STEPS: Final[tuple[str, ...]] = get_args(wire.Step)
_PROOF: Final = "the device answered"


def settle(acks: Sequence[wire.Ack], now: int) -> list[wire.Ack]:
    """Take devices' answers; return those that answer nothing which is open to them (logged by the caller)."""
    if not acks:
        return []
    with transaction.atomic():
        found = list(log.locked(Command.objects.filter(pk__in={ack.cid for ack in acks})))
        newest = _newest([command for command in found if command.state == "received"])
        talks = {command.pk: _Talk(command, newest.get(command.pk)) for command in found}
        idle = [ack for ack in acks if ack.cid not in talks or not talks[ack.cid].take(ack, now)]
        _keep(talks.values(), now)
    return idle


def _newest(commands: Collection[Command]) -> dict[str, CommandEvent]:
    """Return the newest event of each of these, which devices are working on."""
    if not commands:
        return {}
    rows = CommandEvent.objects.filter(command__in=commands, state="received").order_by("pk")
    return {event.command_id: event for event in rows}


def _keep(talks: Collection[_Talk], now: int) -> None:
    changed: defaultdict[str, list[str]] = defaultdict(list)
    for talk in talks:
        if talk.touched:
            changed[talk.command.state].append(talk.command.pk)
    for state, cids in changed.items():
        Command.objects.filter(pk__in=cids).update(state=state, changed_at=now)
    went_on = [talk.went_on for talk in talks if talk.went_on is not None]
    if went_on:
        CommandEvent.objects.bulk_update(went_on, ["progress"])
    log.write([event for talk in talks for event in talk.events], *log.messages(went_on))
    _believe({talk.command.device_id for talk in talks if talk.answered and not talk.command.device.answers})


def _believe(devices: Iterable[int]) -> None:
    """Note that these devices answer. Whose row is held by somebody else is noted with its next answer."""
    if new := sorted(devices):
        rows = Device.objects.select_for_update(of=("self",), no_key=True, skip_locked=True).filter(pk__in=new)
        Device.objects.filter(pk__in=[device.pk for device in rows.only("pk")]).update(answers=True)


class _Talk:
    """One command, and what a batch of answers makes of it.

    newest    the event at which it stands, while its device works on it
    events    what is new in its log; went_on: an event of which only the progress is new
    answered  whether its device said something that is about it; touched: whether it is another than it was
    """

    def __init__(self, command: Command, newest: CommandEvent | None) -> None:
        self.command = command
        self.newest = newest
        self.events: list[CommandEvent] = []
        self.went_on: CommandEvent | None = None
        self.answered = False
        self.touched = False

    def take(self, ack: wire.Ack, now: int) -> bool:
        """Take an answer; False when it changes nothing."""
        command = self.command
        if command.device.key != ack.device or command.claimed_at is None:
            return False
        self.answered = True
        if command.state == "queued":
            # Faster than the broker's word to us: the answer proves that it was sent.
            self._enter("sent", now)
        if ack.status == command.state == "received":
            return self._go_on(ack, now)
        if not lifecycle.may(cast("State", command.state), ack.status):
            return False
        self._enter(ack.status, now, ack)
        return True

    def _enter(self, state: State, now: int, ack: wire.Ack | None = None) -> None:
        self.command.state = state
        self.touched = True
        event = CommandEvent(command=self.command, state=state, at=now, proof=_PROOF, by=self.command.device.key)
        if ack is not None:
            event.message = ack.message or wire.command_payload(ack.value).decode()
            event.progress = ack.progress
            event.step = ack.step
        self.newest = event
        self.events.append(event)

    def _go_on(self, ack: wire.Ack, now: int) -> bool:
        """Take a word on the way: a new step is one event more; progress is brought up to date in place.

        So a device that talks much fills no table. Steps go forward only: what is of an older one came too late.
        """
        newest = self.newest
        if newest is None or (ack.step and _STEPS.index(ack.step) > _STEPS.index(newest.step)):
            self._enter("received", now, ack)
            return True
        if ack.step and ack.step != newest.step:
            return False
        self.touched = True
        if ack.progress is not None:
            newest.progress = ack.progress
            if newest.pk is not None:
                newest.command = self.command
                self.went_on = newest
        return True
