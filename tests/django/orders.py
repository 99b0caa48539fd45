"""Commands on their way, for tests: devices that take them, and each step that a command may take."""

from typing import Any

from devices import commands, registry, telemetry, wire
from devices.dialects import Order
from devices.models import Command, CommandEvent, Device, Fleet

NOW = 1_790_000_000_000


def make_device(key: str, *, online: bool = True) -> Device:
    fleet, _ = Fleet.objects.get_or_create(slug="cellar", name="Cellar")
    device, _ = registry.create(key, fleet)
    if online:
        say(key, online=True)
    return device


def say(key: str, *, online: bool, now: int = NOW) -> None:
    telemetry.record([wire.Presence(device=key, online=online, received_at=now)], now)


def issue(device: Device, args: object = None, **given: Any) -> Command:
    return commands.issue(device, "led", args, user=None, now=NOW, **given)[0]


def handed_over(device: Device, **given: Any) -> Command:
    """A command that a bridge has taken and the broker has acknowledged."""
    command = issue(device, **given)
    commands.sent([claim(command, NOW + 1)], NOW + 2)
    return command


def claims(now: int = NOW) -> list[str]:
    """Take whatever can be sent; the ids."""
    return [order.cid for order in commands.claim(None, now)]


def claim(command: Command, now: int = NOW) -> Order:
    """Take a command for publishing, as the only one of its device."""
    (order,) = commands.claim(frozenset([command.device.key]), now)
    assert order.cid == command.pk
    return order


def ack(command: Command, status: wire.AckStatus, now: int = NOW + 9, device: str = "tank", **given: Any) -> bool:
    answer = wire.Ack(device=device, cid=command.pk, status=status, received_at=now, **given)
    return commands.settle([answer], now) == []


def state(command: Command) -> str:
    return Command.objects.get(pk=command.pk).state


def log(command: Command) -> list[tuple[str, int, str]]:
    return list(CommandEvent.objects.filter(command=command).values_list("state", "at", "proof"))
