"""`simulate`: devices that speak only the wire, on any broker."""

import asyncio
import contextlib
import signal
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any, Final

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from devices import registry
from devices.errors import Refusal
from devices.models import Device, Fleet
from simulators import fleet, running, scenario
from simulators.counts import Counts
from simulators.fleet import Credentials
from simulators.script import Scenario, Unusable

FLEET: Final = "main"


class Command(BaseCommand):
    """Registers what is missing, or takes given credentials, and then speaks MQTT alone."""

    help = (
        "Run simulated devices over MQTT. They are registered in the fleet `main` when they do not exist; "
        "with --credentials no database is needed."
    )
    requires_system_checks: tuple[str, ...] = ()  # with --credentials it runs where no hub is set up

    def add_arguments(self, parser: CommandParser) -> None:
        """Name what may be said."""
        shipped = ", ".join(scenario.names())
        parser.add_argument("--devices", type=int, default=5, help="how many (default 5)")
        parser.add_argument("--rate", type=positive, help="measurements a second of each device, not the scenario's")
        parser.add_argument("--scenario", default="calm", help=f"{shipped}, or a JSON file (default calm)")
        parser.add_argument("--host", help="the broker (default: where the hub's devices connect)")
        parser.add_argument("--port", type=int, help="its port")
        parser.add_argument("--tls", action="store_true", help="speak MQTT over TLS (default: as the hub's devices do)")
        parser.add_argument("--ca", help="a file of certificates to trust for that (default: MQTT_CA, or the system's)")
        parser.add_argument("--credentials", help="a JSON file: what `provision --json` prints, in a list")
        parser.add_argument("--seed", type=int, default=1, help="another number, other devices (default 1)")
        parser.add_argument("--for", type=positive, dest="seconds", help="end after so many seconds (default: Ctrl-C)")
        parser.add_argument("--prefix", default="sim-", help="what their keys begin with (default sim-)")

    def handle(self, *_: Any, **asked: Any) -> None:
        """Do it; a mistake is one sentence on stderr."""
        try:
            script = scenario.load(asked["scenario"])
            logins = given(asked["credentials"]) if asked["credentials"] else self.registered(script, asked)
            fleet.assemble(asked["seed"], logins, script)  # says now what is wrong with a kind
        except (Refusal, Unusable) as fault:
            raise CommandError(fault.message if isinstance(fault, Refusal) else str(fault)) from None
        asyncio.run(self.work(logins, script, asked))

    def registered(self, script: Scenario, asked: dict[str, Any]) -> list[Credentials]:
        """Make the devices that do not exist yet, and return what all of them log in with."""
        keys = fleet.keys(script, asked["devices"], asked["prefix"])
        try:
            main, _ = Fleet.objects.get_or_create(slug=FLEET, defaults={"name": "Main"})
            fleets = dict(Device.objects.filter(key__in=keys).values_list("key", "fleet__slug"))
            if elsewhere := sorted(key for key, slug in fleets.items() if slug != FLEET):
                raise CommandError(f"{elsewhere[0]} exists in another fleet; choose another --prefix.")
            for key in keys:
                if key not in fleets:
                    registry.create(key, main)
            logins = {one.key: Credentials(one.key, one.secret) for one in registry.credentials(keys)}
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(f"The database is not ready ({error}); run `manage.py migrate` first.") from None
        if absent := [key for key in keys if key not in logins]:
            self.stderr.write(f"Left out, since they may not log in themselves: {', '.join(absent)}")
        return [logins[key] for key in keys if key in logins]

    async def work(self, logins: list[Credentials], script: Scenario, asked: dict[str, Any]) -> None:
        """Run them until Ctrl-C, SIGTERM or the end of the time."""
        host, port = asked["host"] or settings.MQTT_PUBLIC_HOST, asked["port"] or settings.MQTT_PUBLIC_PORT
        tls = asked["tls"] or (settings.MQTT_PUBLIC_TLS and not asked["port"])
        ca = asked["ca"] or (str(settings.MQTT_CA) if settings.MQTT_CA else None)
        stop, counts = asyncio.Event(), Counts()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if asked["seconds"]:
            loop.call_later(asked["seconds"], stop.set)
        print(f"{len(logins)} devices on {host}:{port}; Ctrl-C ends them.", flush=True)
        telling = asyncio.create_task(running.tell(counts, say), name="tells how it goes")
        try:
            await running.run(
                logins,
                host=host,
                port=port,
                tls=tls,
                ca=ca,
                scenario=script,
                seed=asked["seed"],
                rate=asked["rate"],
                stop=stop,
                counts=counts,
            )
        finally:
            telling.cancel()
        say(str(counts))


def given(path: str) -> list[Credentials]:
    """Read the credentials of a file; CommandError says what it must hold, and never repeats a secret."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=list[Credentials])
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise CommandError(f'{path}: {error}; it must be a list of {{"key", "secret"}}.') from None


def positive(text: str) -> float:
    """A number above nought; not a word, not infinity."""
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < float("inf"):
            return number
    raise ArgumentTypeError(f"{text!r} must be a number above 0")


def say(line: str) -> None:
    """Tell a person."""
    print(line, flush=True)
