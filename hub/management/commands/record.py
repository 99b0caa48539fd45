"""`record`: what a device sent, as a file that `simulate --as` plays again."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices.models import Device
from hub import sessions

_AHEAD = 2**62


class Command(BaseCommand):
    """Writes a session."""

    help = "Write what the journal has of a device as a session: `simulate --scenario FILE --as KEY` plays it again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name what may be said."""
        parser.add_argument("key", help="the device")
        parser.add_argument("--from", type=instant, dest="start", default=0, help="2026-11-20T10:00Z (default: all)")
        parser.add_argument("--to", type=instant, dest="end", default=_AHEAD, help="up to but without this instant")
        parser.add_argument("-o", "--output", type=Path, help="the file (default: KEY.session.jsonl)")

    def handle(self, *_: Any, **asked: Any) -> None:
        """Write it, and say its sum."""
        device = Device.objects.filter(key=asked["key"]).first()
        if device is None:
            raise CommandError(f"There is no device {asked['key']!r}.")
        path: Path = asked["output"] or Path(f"{device.key}.session.jsonl")
        last = b""
        with path.open("wb") as file:
            for line in sessions.session(device, asked["start"], asked["end"]):
                file.write(line)
                last = line
        self.stdout.write(f"{path}: {last.decode().strip()}")


def instant(text: str) -> int:
    """Read an instant; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no instant; write it as 2026-11-20T10:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
