"""`provision KEY`: make a device, or give it a new secret, and print its credentials once. `--csv`: make many."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError, transaction

from devices import provisioning, registry, wire
from devices.api import devices
from devices.errors import Refusal
from devices.models import Device, Fleet

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

MISUSED = 2


class Command(BaseCommand):
    """Makes a device and prints its credentials, which are shown this once."""

    help = "Make a device, or many (--csv), or give one a new secret (--rotate), and print the credentials once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name what may be said."""
        parser.add_argument(
            "key", nargs="?", help="lower case letters, digits, - and _: also MQTT user name and client id"
        )
        parser.add_argument("--fleet", help="slug of its fleet; not needed while there is only one")
        parser.add_argument("--name", help="what people call it")
        parser.add_argument("--gateway", help="key of the device that it speaks through")
        parser.add_argument("--rotate", action="store_true", help="give an existing device a new secret")
        parser.add_argument("--csv", type=Path, metavar="FILE", help="make a table of devices; print a report as CSV")
        parser.add_argument("--dry-run", action="store_true", help="with --csv: make nothing, only report")
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")

    def handle(self, *_: Any, **asked: Any) -> None:
        """Do it; a refusal is one sentence on stderr, and exit code 1 (2: misused)."""
        check(asked)
        try:
            self.stdout.write(self.report(asked) if asked["csv"] else self.one(asked))
        except Refusal as refusal:
            raise CommandError(told(refusal)) from None
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(f"The database is not ready ({error}); run `manage.py migrate` first.") from None

    def one(self, asked: dict[str, Any]) -> str:
        """Make one device, or give it a new secret, and return its credentials."""
        device, secret = self.rotated(asked) if asked["rotate"] else self.made(asked)
        shown = credentials(device, secret)
        return json.dumps(shown) if asked["json"] else as_text(shown)

    def report(self, asked: dict[str, Any]) -> str:
        """Make the devices of a table, and return what became of each row."""
        try:
            table = asked["csv"].read_bytes()
        except OSError as error:
            raise CommandError(f"The table cannot be read: {error}.") from None
        with transaction.atomic():
            fleet = chosen(asked["fleet"]) if asked["fleet"] or not Fleet.objects.exists() else None
            by = provisioning.Asked(fleets=Fleet.objects.all(), gateways=Device.objects.all(), fleet=fleet)
            rows = provisioning.provision(table, by, dry_run=asked["dry_run"])
            transaction.set_rollback(asked["dry_run"])  # of the fleet `main`, too
        return provisioning.report(rows, devices.broker()).removesuffix("\r\n")

    def made(self, asked: dict[str, Any]) -> tuple[Device, str]:
        """Make a device."""
        gateway = known(asked["gateway"]) if asked["gateway"] else None
        with transaction.atomic():  # a device that is refused leaves no fleet behind
            return registry.create(asked["key"], chosen(asked["fleet"]), asked["name"] or "", gateway)

    def rotated(self, asked: dict[str, Any]) -> tuple[Device, str]:
        """Give a device a new secret."""
        if others := [f"--{name}" for name in ("fleet", "name", "gateway") if asked[name] is not None]:
            message = f"--rotate changes the secret alone; leave out {', '.join(others)}."
            raise CommandError(message, returncode=MISUSED)
        device = known(asked["key"])
        return device, registry.rotate(device)


def check(asked: dict[str, Any]) -> None:
    """Refuse what does not go together."""
    if bool(asked["key"]) == bool(asked["csv"]):
        raise CommandError("Say the key of one device, or the table of many with --csv.", returncode=MISUSED)
    alone = ("name", "gateway", "rotate", "json") if asked["csv"] else ("dry_run",)
    if others := [f"--{name.replace('_', '-')}" for name in alone if asked[name]]:
        raise CommandError(
            f"{'With' if asked['csv'] else 'Without'} --csv leave out {', '.join(others)}.", returncode=MISUSED
        )


def chosen(slug: str | None) -> Fleet:
    """Return the fleet that is meant; where there is none at all, make `main`."""
    fleets = {fleet.slug: fleet for fleet in Fleet.objects.order_by("slug")}
    if slug is None and not fleets:
        return Fleet.objects.create(slug="main", name="Main")
    if slug is None and len(fleets) == 1:
        return next(iter(fleets.values()))
    there = ", ".join(fleets) or "none"
    if slug is None:
        raise CommandError(f"Say which fleet with --fleet; there are: {there}.", returncode=MISUSED)
    if slug not in fleets:
        raise CommandError(f"There is no fleet {slug!r}; there are: {there}.")
    return fleets[slug]


def known(key: str) -> Device:
    """Return a device that exists."""
    device = Device.objects.select_related("gateway").filter(key=key).first()
    if device is None:
        raise CommandError(f"There is no device {key!r}.")
    return device


def told(refusal: Refusal) -> str:
    """Say a refusal as it helps here."""
    if refusal.code == "key_taken":
        return f"{refusal.message} To give it a new secret, add --rotate."
    return refusal.message


def credentials(device: Device, secret: str) -> dict[str, Any]:
    """Return what the device, or who flashes it, needs to know."""
    gateway = device.gateway.key if device.gateway else None
    return {**devices.credentials(device, secret), "fleet": device.fleet.slug, "gateway": gateway}


def as_text(shown: dict[str, Any]) -> str:
    """Lay the credentials out for a person, with a line that works as it stands."""
    lines = [
        f"host:     {shown['mqtt']['host']}",
        f"port:     {shown['mqtt']['port']}",
        f"username: {shown['mqtt']['username']}",
        f"secret:   {shown['secret']}    (shown this once)",
        "",
        *example(shown),
    ]
    return "\n".join(lines)


def example(shown: dict[str, Any]) -> list[str]:
    """Return a first reading by mosquitto_pub."""
    key, gateway, mqtt = shown["key"], shown["gateway"], shown["mqtt"]
    topic = wire.topic(key, "telemetry", gateway=gateway)
    if gateway:
        return [f"{key} speaks through {gateway}, with the credentials of {gateway}, on {topic}."]
    words = ["mosquitto_pub", "-h", mqtt["host"], "-p", str(mqtt["port"]), "-u", key, "-P", shown["secret"]]
    words += ["-i", key, "-q", "1", "-t", topic, "-m", '{"temperature": 21.5}']
    return ["Send a first reading:", shlex.join(words)]
