"""Everything in one process: embedded broker, SQLite, in-memory layer, bridge and web server, and simulated devices.

`environment` says what the options mean before Django reads its settings; `Demo` starts the parts in order, and stops
them in the reverse of it, so that nothing that was taken in is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

LOOPBACK: Final = "127.0.0.1"
ANY: Final = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not bound
SIMULATORS_END_S: Final = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the demo's options."""
    parser.add_argument("--http-port", type=int, default=8000, help="where the dashboard is (another if it is busy)")
    parser.add_argument("--mqtt-port", type=int, default=1883, help="where devices connect (another if it is busy)")
    parser.add_argument("--bind", default=LOOPBACK, help="0.0.0.0 lets devices and browsers of the network in")
    parser.add_argument("--devices", type=int, default=5, help="how many simulated devices")
    parser.add_argument("--data", type=Path, help="where data is kept between runs (default: .data)")
    parser.add_argument("--no-simulators", action="store_true", help="start without simulated devices")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--for", dest="seconds", type=float, help="stop after so many seconds")


def environment(argv: Sequence[str]) -> dict[str, str]:
    """Return the environment that the options stand for; names that are set already win over ours."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    with contextlib.redirect_stderr(None):
        try:
            options, _ = parser.parse_known_args(argv)
        except SystemExit:
            return {}  # the command itself will say what is wrong
    made = {"ALLOWED_HOSTS": ",".join(hosts(options.bind))}
    if options.data:
        made["HUB_DATA"] = str(options.data)
    return made


def hosts(bind: str) -> list[str]:
    """Return the names by which browsers may call us: this machine's, when others may come."""
    names = ["localhost", LOOPBACK, "[::1]"]
    if bind in ANY:
        name = socket.gethostname()
        names += [name, f"{name}.local", *network_addresses()]
    elif bind not in names:
        names.append(bind)
    return names


def network_addresses() -> list[str]:
    """Return this machine's addresses, the one that others most likely reach first."""
    found = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a UDP socket sends nothing; it makes the kernel choose the address of the way out.
        probe.connect(("192.0.2.1", 9))
        found.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found += [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    return list(dict.fromkeys(str(address) for address in found))


def public_host(bind: str) -> str:
    """Return the address that devices are told."""
    if bind in ANY:
        return next(iter(network_addresses()), LOOPBACK)
    return bind


class Demo:
    """The parts, in the order in which they start."""

    def __init__(self, options: dict[str, Any], say: Callable[[str], None]) -> None:
        """Prepare; `run` starts everything and returns when all of it has ended."""
        from hub import embedded  # noqa: PLC0415 -- needs a set-up environment

        self.options = options
        self.say = say
        self.failed = False
        self.simulators: subprocess.Popen[bytes] | None = None
        self.http_port = embedded.free_port(options["bind"], options["http_port"])
        self.worker: Any = None
        self.working: asyncio.Task[None] | None = None

    def run(self) -> bool:
        """Run until Ctrl-C or the time is over; whether all went well."""
        from django.conf import settings  # noqa: PLC0415

        from bridge import mqtt  # noqa: PLC0415
        from hub import embedded  # noqa: PLC0415

        self._prepare_database()
        self.user, self.password = self._ensure_user(settings.HUB_DATA)
        if settings.MQTT is not None:
            from bridge.management.commands import bridge  # noqa: PLC0415

            url = bridge.address()
            self._serve(url, bridge.accounts(url))
            return not self.failed
        broker = embedded.Broker(settings.HUB_DATA, host=self.options["bind"], port=self.options["mqtt_port"])
        with broker:
            settings.MQTT_PUBLIC_HOST = public_host(self.options["bind"])
            settings.MQTT_PUBLIC_PORT = broker.port
            self._serve(mqtt.MqttUrl.parse(broker.url), lambda: contextlib.nullcontext(broker.accounts))
        return not self.failed

    def _prepare_database(self) -> None:
        from django.core.management import call_command  # noqa: PLC0415
        from django.db import connection  # noqa: PLC0415
        from django.db.migrations.executor import MigrationExecutor  # noqa: PLC0415

        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.say("Preparing the database …")
            call_command("migrate", verbosity=0, interactive=False)
        connection.close()

    def _ensure_user(self, data: Path) -> tuple[str, str]:
        """Return the demo's user; made once, with a password that only the data folder knows."""
        from django.contrib.auth import get_user_model  # noqa: PLC0415

        kept = data / "sign-in.json"
        if kept.exists():
            known = json.loads(kept.read_text())
            if get_user_model().objects.filter(username=known["user"]).exists():
                return known["user"], known["password"]
        password = secrets.token_urlsafe(12)
        user, _ = get_user_model().objects.get_or_create(
            username="admin",
            defaults={"is_staff": True, "is_superuser": True},
        )
        user.set_password(password)
        user.save()
        kept.touch(mode=0o600)
        kept.write_text(json.dumps({"user": user.username, "password": password}))
        return user.username, password

    def _credentials(self) -> list[dict[str, str]]:
        """Register the simulated devices, once, and return what they log in with."""
        from devices import registry  # noqa: PLC0415
        from devices.models import Device, Fleet  # noqa: PLC0415
        from simulators import fleet as simulated  # noqa: PLC0415
        from simulators import scenario  # noqa: PLC0415

        fleet, _ = Fleet.objects.get_or_create(slug="main", defaults={"name": "Main"})
        if self.options["no_simulators"]:
            return []
        keys = simulated.keys(scenario.load("calm"), self.options["devices"])
        present = set(Device.objects.filter(key__in=keys).values_list("key", flat=True))
        for key in keys:
            if key not in present:
                registry.create(key, fleet)
        return [{"key": one.key, "secret": one.secret} for one in registry.credentials(keys)]

    def _serve(self, url: Any, accounts: Any) -> None:
        """Serve HTTP and work as the bridge on one event loop; returns when both have ended."""
        from daphne.server import Server  # noqa: PLC0415 -- installs the reactor
        from twisted.internet import reactor  # noqa: PLC0415

        from bridge.worker import Worker  # noqa: PLC0415
        from hub.asgi import application  # noqa: PLC0415

        credentials = self._credentials()
        self.mqtt = url
        endpoint = f"tcp:port={self.http_port}:interface={self.options['bind'].replace(':', chr(92) + ':')}"

        async def start() -> None:
            self.worker = Worker(url, accounts=accounts)
            self.working = asyncio.create_task(self.worker.run(), name="bridge")
            self.working.add_done_callback(self._ended)
            await asyncio.wait(
                [self.working, asyncio.create_task(self.worker.ready.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not self.working.done():
                self._start_simulators(credentials)
                self._tell()

        def started() -> None:
            self.starting = asyncio.ensure_future(start())

        reactor.callWhenRunning(started)
        reactor.addSystemEventTrigger("before", "shutdown", self._drain)
        if self.options["seconds"]:
            reactor.callLater(self.options["seconds"], self._stop)
        Server(
            application,
            endpoints=[endpoint],
            websocket_max_message_size=65536,
            server_name="telemetry-hub",
        ).run()

    def _stop(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415

        if reactor.running:
            reactor.stop()

    def _ended(self, working: asyncio.Task[None]) -> None:
        """A bridge that ends by itself has met a bug: end loudly."""
        if not working.cancelled() and (error := working.exception()) is not None:
            self.failed = True
            self.say(f"The bridge failed: {error!r}. This is a bug; the data is safe, start again.")
            self._stop()

    def _drain(self) -> Any:
        """Stop in the reverse order of the start: devices, then the bridge once it has stored what it has."""
        from twisted.internet.defer import Deferred  # noqa: PLC0415

        return Deferred.fromFuture(asyncio.ensure_future(self._end_parts()))

    async def _end_parts(self) -> None:
        self.say("Stopping …")
        if self.simulators is not None and self.simulators.stdin is not None:
            self.simulators.stdin.close()
            try:
                await asyncio.to_thread(self.simulators.wait, SIMULATORS_END_S)
            except subprocess.TimeoutExpired:
                self.simulators.kill()
        if self.worker is not None and self.working is not None:
            self.worker.stopping.set()
            await asyncio.wait([self.working], timeout=10)

    def _start_simulators(self, credentials: list[dict[str, str]]) -> None:
        if not credentials:
            return
        job = {"host": self.mqtt.host, "port": self.mqtt.port, "tls": self.mqtt.scheme == "mqtts"}
        self.simulators = subprocess.Popen(  # noqa: S603 -- our own module
            [sys.executable, "-m", "simulators"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
            start_new_session=True,  # the terminal's Ctrl-C is for us; we end it in order
        )
        if self.simulators.stdin is not None:
            self.simulators.stdin.write(json.dumps({**job, "devices": credentials}).encode() + b"\n")
            self.simulators.stdin.flush()

    def _tell(self) -> None:
        from django.conf import settings  # noqa: PLC0415

        url = f"http://{public_host(self.options['bind'])}:{self.http_port}"
        self.say(f"user: {self.user}")
        self.say(f"password: {self.password}")
        self.say(f"mqtt: {settings.MQTT_PUBLIC_HOST}:{settings.MQTT_PUBLIC_PORT}")
        self.say(f"Hub ready: {url}")
        if not self.options["no_browser"] and sys.stdout.isatty() and os.environ.get("DISPLAY"):
            webbrowser.open(url)
