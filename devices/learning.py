"""What devices say about themselves is kept: names, what they measure, take, and let themselves be set to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import transaction

from devices import registry, values, wellknown
from devices.groups import announce_on_commit
from devices.models import Device, Metric

if TYPE_CHECKING:
    from devices import wire

# Commands, and likewise settings.
MAX_COMMANDS: Final = 200
MAX_REMEMBERED: Final = 1_000_000
# What a device says about itself, and is kept in its row.
_SAID: Final = ("name", "model", "firmware", "commands", "settings", "remembers")


def learn(said: wire.Announce) -> None:
    """Keep what a device says about itself. Its name is taken only while nobody has given it one.

    Raises values.Bad (too_many_metrics), and keeps nothing of it, when it would describe more than there is room for.
    """
    with transaction.atomic():
        # NO KEY: whoever stores its frames or commands at this moment need not wait, nor we for them.
        device = Device.objects.select_for_update(of=("self",), no_key=True).filter(key=said.device).first()
        if device is None:
            return
        _check_room(device, said)
        before = {field: getattr(device, field) for field in _SAID}
        device.name = device.name or said.name
        device.model = said.model or device.model
        device.firmware = said.fw or device.firmware
        device.commands = {**device.commands, **said.commands}
        device.settings = {**device.settings, **said.settings}
        device.remembers = device.remembers if said.remembers is None else min(said.remembers, MAX_REMEMBERED)
        if any(getattr(device, field) != old for field, old in before.items()):
            device.save(update_fields=list(_SAID))
        if device.name != before["name"]:
            registry.changed(device.key)
        if device.settings != before["settings"]:
            announce_on_commit({"type": "device.settings", "device": device.key})
        for name, kind in said.metrics.items():
            _describe(device, name, kind)


def _check_room(device: Device, said: wire.Announce) -> None:
    for what in ("commands", "settings"):
        if len(getattr(device, what).keys() | getattr(said, what).keys()) > MAX_COMMANDS:
            raise values.Bad("too_many_metrics", f"more than {MAX_COMMANDS} {what}; announce fewer")
    if said.metrics:
        names = Metric.objects.filter(device=device).values_list("name", flat=True)
        if len(said.metrics.keys() | set(names)) > values.MAX_METRICS:
            raise values.Bad("too_many_metrics", f"more than {values.MAX_METRICS} metrics; announce fewer")


def _describe(device: Device, name: str, said: dict[str, Any]) -> None:
    given = {"unit": said.get("unit"), "device_class": said.get("class")}
    given = {field: text for field, text in given.items() if text}
    usual = wellknown.kind(name)._asdict()
    Metric.objects.update_or_create(device=device, name=name, defaults=given, create_defaults=usual | given)
