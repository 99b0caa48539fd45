"""Proves the whole path from end to end with a device of its own: a frame in, a command out, and nothing beside it.

A check returns what it saw, or raises Sick with what to do. The device is made for the checks, and deleted.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import msgspec
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from bridge import mqtt
from devices import commands, registry
from devices.models import Command, Device, Fleet, Frame
from simulators import running, scenario
from simulators.fleet import Credentials

FLEET: Final = "doctor"
# A device made by another process than the bridge can connect within 10 s (docs/protocol/mqtt.md); and some patience.
PATIENCE_S: Final = 20.0
# More than this, and what devices say with their own time is flagged or looks late.
CLOCK_MS: Final = 1_000
POLL_S: Final = 0.1


class Sick(Exception):
    """A part does not work; the message says what to do."""


class Patient(msgspec.Struct):
    """The device that the checks play."""

    device: Device
    secret: str
    url: mqtt.MqttUrl


def database() -> str:
    """Ask the database, and whether its tables are up to date."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise Sick(f"{error}; is DATABASE_URL right, and the server up?") from error
    if missing:
        raise Sick(f"{len(missing)} migrations are missing: run `python3 manage.py migrate`.")
    return f"{connection.vendor}, tables up to date"


def clock() -> str:
    """Compare this machine's clock with the database's, where that is another machine's."""
    if connection.vendor != "postgresql":
        return "one machine, one clock"
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        theirs = float(cursor.fetchone()[0])
    off = abs(theirs - (before + time.time()) / 2) * 1000
    if off > CLOCK_MS:
        raise Sick(f"the database's clock is {off:.0f} ms off; let NTP set both.")
    return f"{off:.0f} ms from the database's"


async def layer() -> str:
    """Send a message through the layer, and receive it."""
    channels: Any = get_channel_layer()
    try:
        async with asyncio.timeout(5):
            channel = await channels.new_channel("doctor")
            await channels.send(channel, {"type": "doctor.ping"})
            await channels.receive(channel)
    except Exception as error:
        raise Sick(f"{type(error).__name__} {error}; is REDIS_URL right, and Redis up?") from error
    return "Redis" if settings.REDIS_URL else "in memory: web and bridge have to be one process"


async def broker(patient: Patient) -> str:
    """Log in as the device: then the broker is up, and its accounts follow the registry."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            async with mqtt.Inbound(patient.url, patient.device.key):
                return f"{patient.url!r} lets the device in"
        except mqtt.DisconnectedError as error:
            if time.monotonic() > deadline:
                remedy = "is the broker up, a bridge running, and BROKER_ACCOUNTS right?"
                raise Sick(f"{patient.url!r}: {error}; {remedy}") from None
            await asyncio.sleep(POLL_S)


async def walls(patient: Patient) -> str:
    """Try to hear what is not the device's: everything, a neighbour's commands."""
    for filter_ in ("#", "hub/#", "hub/somebody-else/cmd/#"):
        with suppress(mqtt.DisconnectedError):
            async with mqtt.Inbound(patient.url, patient.device.key) as intruder:
                await intruder.subscribe([filter_])
                raise Sick(f"a device may subscribe to {filter_}: the broker needs ACLs (docs/protocol/mqtt.md).")
    return "a device hears nothing that is not its own"


async def path(patient: Patient) -> str:
    """Let a simulated device send a frame and answer a command."""
    stop = asyncio.Event()
    login = Credentials(patient.device.key, patient.secret, "pump")
    where = {"host": patient.url.host, "port": patient.url.port, "tls": patient.url.scheme == "mqtts"}
    living = asyncio.create_task(
        running.run([login], **where, scenario=scenario.load("calm"), rate=5, stop=stop),  # type: ignore[arg-type]
        name="doctor's device",
    )
    try:
        frames = Frame.objects.filter(device=patient.device)
        await _until(lambda: frames.all().exists(), "no frame arrived; is a bridge running?")
        command = await sync_to_async(_order)(patient.device)
        done = Command.objects.filter(pk=command, state="succeeded")
        await _until(lambda: done.all().exists(), "a command was not answered; look at the bridge's log")
    finally:
        stop.set()
        await living
    return "a frame came in, a command went out and was confirmed"


def _order(device: Device) -> str:
    device.refresh_from_db()
    command, _ = commands.issue(device, "relay", args=True, user=None, now=time.time_ns() // 1_000_000, ttl_s=30)
    return command.pk


async def _until(there: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await sync_to_async(there)():
        if time.monotonic() > deadline:
            raise Sick(otherwise)
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def patient(host: str, port: int) -> AsyncIterator[Patient]:
    """Make a device for the checks, and delete it with all that it said."""

    def admit() -> tuple[Device, str]:
        fleet, _ = Fleet.objects.get_or_create(slug=FLEET, defaults={"name": "Doctor"})
        return registry.create(f"doctor-{secrets.token_hex(4)}", fleet, name="The doctor's")

    def discharge(device: Device) -> None:
        registry.remove(device)
        if not Device.objects.filter(fleet__slug=FLEET).exists():
            Fleet.objects.filter(slug=FLEET).delete()

    device, secret = await sync_to_async(admit)()
    scheme = "mqtts" if settings.MQTT and settings.MQTT.tls else "mqtt"
    url = mqtt.MqttUrl(scheme=scheme, host=host, port=port, username=device.key, password=secret)
    try:
        yield Patient(device, secret, url)
    finally:
        await sync_to_async(discharge)(device)


def address() -> tuple[str, int]:
    """Return where devices connect: as the settings say, or where the demo on this data folder runs."""
    if settings.MQTT is None:
        try:
            demo = json.loads((settings.HUB_DATA / "running.json").read_text())
        except OSError:
            raise Sick("MQTT_URL is not set and no demo runs: start `python3 manage.py demo` first.") from None
        return demo["host"], demo["port"]
    return settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT


Say = Callable[[bool, str, str], None]


async def examine(say: Say) -> bool:
    """Run every check in order and say what each found; whether all are well. What needs a sick part is left out."""
    well = True
    for name, check in (("database", sync_to_async(database)), ("clock", sync_to_async(clock)), ("layer", layer)):
        well = await _one(say, name, check) and well
    if not well:
        return False
    try:
        host, port = address()
    except Sick as sick:
        say(False, "broker", str(sick))  # noqa: FBT003  the third of three words
        return False
    async with patient(host, port) as device:
        for name, step in (("broker", broker), ("walls", walls), ("path", path)):
            if not await _one(say, name, partial(step, device)):
                return False
    return True


async def _one(say: Say, name: str, check: Callable[[], Awaitable[str]]) -> bool:
    try:
        found = await check()
    except Sick as sick:
        say(False, name, str(sick))  # noqa: FBT003  the third of three words
        return False
    say(True, name, found)  # noqa: FBT003  the third of three words
    return True
