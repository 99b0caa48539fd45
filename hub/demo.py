"""Everything in one process: embedded broker, SQLite, in-memory layer, bridge and web server, and simulated devices.

The parts start in the order in which they need each other, and stop in the reverse of it, so that nothing that was
taken in is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import subprocess
import sys
import webbrowser
from typing import TYPE_CHECKING, Any, Final

from daphne.server import Server  # first: it installs the reactor that the line below is about
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from bridge import mqtt
from bridge.book import OpenAccounts
from bridge.duty import Duty
from bridge.management.commands import bridge
from devices import registry
from devices.models import Device, Fleet
from hub import embedded, env, options
from hub.asgi import application
from simulators import fleet as simulated
from simulators import scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

reactor: Any = installed  # Twisted's reactor is a module that is another one at run time

SCENARIO: Final = "calm"
SIMULATORS_END_S: Final = 5
BRIDGE_END_S: Final = 10
BROKER_CHECK_S: Final = 1
# Whoever waits for the address is told why it does not come.
SAY_WAITING_S: Final = 5


def run(chosen: dict[str, Any], say: Callable[[str], None]) -> bool:
    """Run until Ctrl-C, or until the time is over; whether all went well."""
    # Whoever looks at this terminal wants the address and the password, and what goes wrong.
    logging.getLogger("bridge").setLevel(logging.WARNING)
    prepare_database(say)
    if settings.MQTT is not None:
        url = bridge.address()
        return Demo(chosen, say, url, bridge.accounts(url)).serve()
    with embedded.Broker(settings.HUB_DATA, host=chosen["bind"], port=chosen["mqtt_port"]) as broker:
        settings.MQTT_PUBLIC_HOST = options.public_host(chosen["bind"])
        settings.MQTT_PUBLIC_PORT = broker.port
        settings.MQTT_PUBLIC_TLS = False
        url = mqtt.MqttUrl.parse(broker.url)
        demo = Demo(chosen, say, url, lambda: contextlib.nullcontext(broker.accounts))
        demo.broker = broker
        return demo.serve()


def prepare_database(say: Callable[[str], None]) -> None:
    """Bring the tables up to date, when they are not."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        say("Preparing the database …")
        call_command("migrate", verbosity=0, interactive=False)
    connection.close()


def ensure_user(data: Path) -> tuple[str, str]:
    """Return the demo's user; made once, with a password that only the data folder knows."""
    kept = data / "sign-in.json"
    users = get_user_model().objects
    if kept.exists():
        known = json.loads(kept.read_text())
        if users.filter(username=known["user"]).exists():
            return known["user"], known["password"]
    password = secrets.token_urlsafe(12)
    user, _ = users.get_or_create(username="admin", defaults={"is_staff": True, "is_superuser": True})
    user.set_password(password)
    user.save()
    kept.touch(mode=0o600)
    kept.write_text(json.dumps({"user": user.get_username(), "password": password}))
    return user.get_username(), password


def simulated_devices(count: int) -> list[dict[str, str]]:
    """Register the simulated devices, once, and return what they log in with."""
    fleet, _ = Fleet.objects.get_or_create(slug="main", defaults={"name": "Main"})
    keys = simulated.keys(scenario.load(SCENARIO), count)
    present = set(Device.objects.filter(key__in=keys).values_list("key", flat=True))
    for key in keys:
        if key not in present:
            registry.create(key, fleet)
    return [{"key": one.key, "secret": one.secret} for one in registry.credentials(keys)]


class Demo:
    """The parts that run on one event loop, and the child process beside it."""

    def __init__(
        self,
        chosen: dict[str, Any],
        say: Callable[[str], None],
        url: mqtt.MqttUrl,
        accounts: OpenAccounts | None,
    ) -> None:
        """Prepare everything that needs no loop."""
        self.chosen = chosen
        self.say = say
        self.url = url
        self.accounts = accounts
        self.user, self.password = ensure_user(settings.HUB_DATA)
        self.credentials = simulated_devices(0 if chosen["no_simulators"] else chosen["devices"])
        self.http_port = embedded.free_port(chosen["bind"], chosen["http_port"])
        self.address = f"http://{options.public_host(chosen['bind'])}:{self.http_port}"
        settings.HUB_ADDRESS = settings.HUB_ADDRESS or self.address
        self.simulators: subprocess.Popen[bytes] | None = None
        self.bridge: Duty | None = None
        self.working: asyncio.Task[None] | None = None
        self.broker: embedded.Broker | None = None
        self.failed = False

    def serve(self) -> bool:
        """Serve HTTP and work as the bridge; return when both have ended: whether all went well."""
        reactor.callWhenRunning(self._started)
        reactor.addSystemEventTrigger("before", "shutdown", self._drain)
        LoopingCall(self._look_after_broker).start(BROKER_CHECK_S, now=False)
        if self.chosen["seconds"]:
            reactor.callLater(self.chosen["seconds"], self._stop)
        interface = self.chosen["bind"].replace(":", r"\:")
        Server(
            application,
            endpoints=[f"tcp:port={self.http_port}:interface={interface}:backlog=4096"],
            websocket_handshake_timeout=30,
            server_name="telemetry-hub",
        ).run()
        return not self.failed

    def _started(self) -> None:
        self.starting = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        self.bridge = bridge.duty(self.url, "main", self.accounts)
        self.working = asyncio.create_task(self.bridge.run(), name="bridge")
        self.working.add_done_callback(self._ended)
        ready = asyncio.create_task(self.bridge.ready.wait(), name="bridge ready")
        done, _ = await asyncio.wait([self.working, ready], timeout=SAY_WAITING_S, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self.say(
                "Waiting: another hub works on this database and broker; this one takes over when it ends."
                if self.bridge.standing_by.is_set()
                else "Waiting for the broker …"
            )
            await asyncio.wait([self.working, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self.working.done():
            self._start_simulators()
            self._tell()

    def _start_simulators(self) -> None:
        """Start the devices as a child; secrets go through the pipe, at whose end it ends."""
        if not self.credentials:
            return
        where = {"host": self.url.host, "port": self.url.port, "tls": self.url.scheme == "mqtts", "ca": self.url.ca}
        job = {**where, "scenario": SCENARIO, "devices": self.credentials}
        self.simulators = subprocess.Popen(
            [sys.executable, "-m", "simulators"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=settings.BASE_DIR,
            start_new_session=True,  # the terminal's Ctrl-C is for us; we end it in order
        )
        if self.simulators.stdin is not None:
            self.simulators.stdin.write(json.dumps(job).encode() + b"\n")
            self.simulators.stdin.flush()

    def _tell(self) -> None:
        self.say(f"user: {self.user}")
        self.say(f"password: {self.password}")
        self.say(f"mqtt: {settings.MQTT_PUBLIC_HOST}:{settings.MQTT_PUBLIC_PORT}")
        (settings.HUB_DATA / options.RUNNING).write_text(
            json.dumps({"host": self.url.host, "port": self.url.port, "url": self.address}),
        )
        self.say(f"Hub ready: {self.address}")
        if not self.chosen["no_browser"] and sys.stdout.isatty() and env.has_screen():
            webbrowser.open(self.address)

    def _ended(self, working: asyncio.Task[None]) -> None:
        """A bridge that ends by itself has met a bug: end loudly."""
        if not working.cancelled() and (error := working.exception()) is not None:
            self.failed = True
            self.say(f"The bridge failed: {error!r}. This is a bug; the data is safe, start again.")
            self._stop()

    def _look_after_broker(self) -> None:
        """Start the embedded broker again if it died; its sessions and retained messages are on the disk."""
        if self.broker is not None and not self.broker.alive and self.working is not None and reactor.running:
            self.say("The embedded broker ended; starting it again.")
            self.broker.start()

    def _stop(self) -> None:
        if reactor.running:
            reactor.stop()

    def _drain(self) -> Deferred[None]:
        return Deferred.fromFuture(asyncio.ensure_future(self._end_parts()))

    async def _end_parts(self) -> None:
        """Stop in the reverse order of the start: devices, then the bridge once it has stored what it has."""
        self.say("Stopping …")
        (settings.HUB_DATA / options.RUNNING).unlink(missing_ok=True)
        if self.simulators is not None and self.simulators.stdin is not None:
            self.simulators.stdin.close()
            try:
                await asyncio.to_thread(self.simulators.wait, SIMULATORS_END_S)
            except subprocess.TimeoutExpired:
                self.simulators.kill()
        if self.bridge is not None and self.working is not None:
            self.bridge.stopping.set()
            await asyncio.wait([self.working], timeout=BRIDGE_END_S)
