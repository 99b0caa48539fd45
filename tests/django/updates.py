"""A device that takes updates, what it can be told to install, and what it asks for then; for two modules."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import time_machine
from asgiref.sync import async_to_sync
from django.core.files.base import ContentFile
from django.test import Client

from devices import commands, firmware
from devices.models import Command, Device, Firmware, Fleet
from tests.django.conftest import NOW

IMAGE: Final = bytes(range(256)) * 1000
DIGEST: Final = hashlib.sha256(IMAGE).hexdigest()
ADDRESS: Final = "https://hub.example.org"


def add(fleet: Fleet, version: str = "1.5.0", image: bytes = IMAGE, now: int = NOW, **about: str) -> Firmware:
    return firmware.add(fleet, firmware.About(version, **about), ContentFile(image, "x.bin"), user=None, now=now)


def order(device: Device, kept: Firmware, now: int = NOW, **given: Any) -> Command:
    args = {"firmware": kept.pk}
    return commands.issue(device, "update", args, user=None, now=now, confirmed=True, **given)[0]


def hand_over(command: Command) -> None:
    """Have it be with the broker."""
    Command.objects.filter(pk=command.pk).update(claimed_at=NOW, state="sent")


class Fetching:
    """A device, and what it was told to fetch."""

    def __init__(self, device: Device, secret: str, command: Command) -> None:
        self.device = device
        self.secret = secret
        self.command = command
        self.path = firmware.address(command.pk).removeprefix(ADDRESS)

    def ask(self, path: str = "", method: str = "GET", who: tuple[str, str] | None = None, **headers: str) -> Any:
        """Ask as the device, or as somebody else."""
        given = ":".join(who or (self.device.key, self.secret))
        basic = f"Basic {base64.b64encode(given.encode()).decode()}"
        said = {"Authorization": basic, **{name.replace("_", "-"): value for name, value in headers.items()}}
        with time_machine.travel(NOW / 1000 + 1, tick=False):
            answer: Any = Client(headers=said).generic(method, path or self.path)
            if answer.streaming:
                answer.content_sent = collected(answer.streaming_content)
            return answer

    @property
    def log(self) -> list[tuple[str, str]]:
        """Return what was proved of the command."""
        return list(self.command.events.values_list("state", "proof"))


@async_to_sync
async def collected(parts: Any) -> bytes:
    return b"".join([part async for part in parts])
