"""What tests of firmware begin with: a folder for files, a device that takes updates, one that has been told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devices import registry
from devices.models import Device
from hub import settings as deployed
from tests.django.updates import ADDRESS, Fetching, add, hand_over, order


@pytest.fixture
def on_disk(settings: Any, tmp_path: Path) -> Path:
    """Keep files as a deployment does, in a folder of the test's own."""
    kept: dict[str, Any] = deployed.STORAGES["default"]
    options = kept["OPTIONS"] | {"location": tmp_path / "files"}
    settings.STORAGES = settings.STORAGES | {"default": kept | {"OPTIONS": options}}
    return tmp_path / "files" / "firmware"


@pytest.fixture
def updatable(pump: Device, settings: Any) -> Device:
    """A device of a model that takes updates, awake, of a hub that knows its own address."""
    settings.HUB_ADDRESS = ADDRESS
    pump.commands["update"] = {"type": "update"}
    pump.model, pump.firmware = "Pump", "1.4.2"
    pump.save()
    pump.head.presence, pump.head.because = "online", "heard"
    pump.head.save()
    return pump


@pytest.fixture
def fetching(updatable: Device) -> Fetching:
    """Have a command to update be at its device."""
    secret = registry.rotate(updatable)
    command = order(updatable, add(updatable.fleet))
    hand_over(command)
    return Fetching(Device.objects.get(pk=updatable.pk), secret, command)
