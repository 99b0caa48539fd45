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
from hub import sessions
from simulators import fleet, player, running, scenario, session
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
        parser.add_argument(
            "--scenario", default="calm", help=f"{shipped}, a JSON file, or a recorded session with --as"
        )
        parser.add_argument("--as", dest="shadow", metavar="KEY", help="play a recorded session as this device")
        parser.add_argument("--speed", type=positive, default=1.0, help="and so many times as fast (default 1)")
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
            if asked["shadow"] or _is_session(asked["scenario"]):
                self.play(asked)
                return
            script = scenario.load(asked["scenario"])
            keys = fleet.keys(script, asked["devices"], asked["prefix"])
            logins = given(asked["credentials"]) if asked["credentials"] else self.registered(keys)
            fleet.assemble(asked["seed"], logins, script)  # says now what is wrong with a kind
        except (Refusal, Unusable) as fault:
            raise CommandError(fault.message if isinstance(fault, Refusal) else str(fault)) from None
        asyncio.run(self.work(logins, script, asked))

    def play(self, asked: dict[str, Any]) -> None:
        """Play a recorded session as a shadow, and compare the sums at both ends."""
        if not (key := asked["shadow"]):
            raise CommandError("This is a recorded session: say with --as which device is to send it.")
        if not _is_session(asked["scenario"]):
            raise CommandError(f"--as plays a recorded session, and {asked['scenario']!r} is none; `record` makes one.")
        recorded = player.Session(Path(asked["scenario"]))
        if key == recorded.header.device:
            raise CommandError(f"{key} is who was recorded; a shadow is another device.")
        logins = given(asked["credentials"]) if asked["credentials"] else self.registered([key])
        if not (login := next((one for one in logins if one.key == key), None)):
            raise CommandError(f"There is no login for {key}.")
        before = 0 if asked["credentials"] else sessions.newest(key)
        say(f"recorded: {recorded.end.frames} frames, sha256 {recorded.end.sha256}")
        sent = asyncio.run(self.shadow(recorded, login, asked))
        say(f"sent:     {sent.frames} frames, sha256 {sent.sha256}")
        if not asked["credentials"]:
            stored = sessions.sum_of(key, before)
            say(f"stored:   {stored.frames} frames, sha256 {stored.sha256}")
            if stored != sent:
                raise CommandError(
                    f"What the hub has of {key} is not what was sent; did another program send as {key}?"
                )

    async def shadow(self, recorded: player.Session, login: Credentials, asked: dict[str, Any]) -> session.End:
        """Send it, until its end or Ctrl-C."""
        return await recorded.play(login, self.where(asked), asked["speed"], self.stop(asked))

    def registered(self, keys: list[str]) -> list[Credentials]:
        """Make the devices that do not exist yet, and return what all of them log in with."""
        try:
            main, _ = Fleet.objects.get_or_create(slug=FLEET, defaults={"name": "Main"})
            fleets = dict(Device.objects.filter(key__in=keys).values_list("key", "fleet__slug"))
            if elsewhere := sorted(key for key, slug in fleets.items() if slug != FLEET):
                raise CommandError(f"{elsewhere[0]} exists in another fleet; choose another --prefix (or --as).")
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
        where, stop, counts = self.where(asked), self.stop(asked), Counts()
        print(f"{len(logins)} devices on {where.host}:{where.port}; Ctrl-C ends them.", flush=True)
        telling = asyncio.create_task(running.tell(counts, say), name="tells how it goes")
        try:
            await running.run(
                logins,
                **where._asdict(),
                scenario=script,
                seed=asked["seed"],
                rate=asked["rate"],
                stop=stop,
                counts=counts,
            )
        finally:
            telling.cancel()
        say(str(counts))

    def where(self, asked: dict[str, Any]) -> player.Where:
        """The broker: the one that was named, else that of the hub's devices."""
        host, port = asked["host"] or settings.MQTT_PUBLIC_HOST, asked["port"] or settings.MQTT_PUBLIC_PORT
        tls = asked["tls"] or (settings.MQTT_PUBLIC_TLS and not asked["port"])
        return player.Where(host, port, tls, asked["ca"] or (str(settings.MQTT_CA) if settings.MQTT_CA else None))

    def stop(self, asked: dict[str, Any]) -> asyncio.Event:
        """What is set by Ctrl-C, SIGTERM or the end of the time."""
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if asked["seconds"]:
            loop.call_later(asked["seconds"], stop.set)
        return stop


def _is_session(name: str) -> bool:
    path = Path(name)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return session.is_session(file.read(200))


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
