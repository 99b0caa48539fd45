"""Proves the whole path from end to end with devices of its own: a frame in, a command out, and nothing beside it.

A check returns what it saw, or raises Unwise or Sick with what to do. The devices are made for the checks, and deleted.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

import msgspec
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.checks import ERROR
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from bridge import mqtt
from devices import commands, registry
from devices.models import Command, Device, Fleet, Frame
from hub import checks, inspection, options
from hub.inspection import PATIENCE_S, POLL_S, Patient, Sick, Unwise
from simulators import running, scenario
from simulators.fleet import Credentials

FLEET: Final = "doctor"
# More than this, and what devices say with their own time is flagged or looks late.
CLOCK_MS: Final = 1_000


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


async def path(patient: Patient) -> str:
    """Let a simulated device send a frame and answer a command."""
    stop = asyncio.Event()
    login = Credentials(patient.device.key, patient.secret, "pump")
    url = patient.url
    where = {"host": url.host, "port": url.port, "tls": url.scheme == "mqtts", "ca": url.ca}
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
async def patient(there: mqtt.MqttUrl) -> AsyncIterator[Patient]:
    """Make a device for the checks, and delete it with all that it said."""

    def admit() -> tuple[Device, str]:
        fleet, _ = Fleet.objects.get_or_create(slug=FLEET, defaults={"name": "Doctor"})
        return registry.create(f"doctor-{secrets.token_hex(4)}", fleet, name="The doctor's")

    def discharge(device: Device) -> None:
        registry.remove(device)
        if not Device.objects.filter(fleet__slug=FLEET).exists():
            Fleet.objects.filter(slug=FLEET).delete()

    device, secret = await sync_to_async(admit)()
    url = msgspec.structs.replace(there, username=device.key, password=secret)
    try:
        yield Patient(device, secret, url)
    finally:
        await sync_to_async(discharge)(device)


def address() -> mqtt.MqttUrl:
    """Return where devices connect: as the settings say, or where the demo on this data folder runs."""
    if settings.MQTT is None:
        try:
            demo = json.loads((settings.HUB_DATA / options.RUNNING).read_text())
        except OSError:
            raise Sick("MQTT_URL is not set and no demo runs: start `python3 manage.py demo` first.") from None
        return mqtt.MqttUrl(scheme="mqtt", host=demo["host"], port=demo["port"])
    return mqtt.MqttUrl(
        scheme="mqtts" if settings.MQTT_PUBLIC_TLS else "mqtt",
        host=settings.MQTT_PUBLIC_HOST,
        port=settings.MQTT_PUBLIC_PORT,
        ca=str(settings.MQTT_CA) if settings.MQTT_CA else None,
    )


Verdict = Literal["well", "unwise", "sick"]
Say = Callable[[Verdict, str, str], None]
Check = Callable[[], Awaitable[str]]


async def examine(say: Say) -> bool:
    """Run every check in order and say what each found; whether none is sick. What needs a sick part is left out."""
    parts: dict[str, Check] = {"database": sync_to_async(database), "clock": sync_to_async(clock), "layer": layer}
    if not all([await _one(say, name, check) for name, check in parts.items()]):
        return False
    safe = settled(say)
    for name, check in {"folder": inspection.folder, "people": inspection.people}.items():
        safe = await _one(say, name, sync_to_async(check)) and safe
    try:
        there = address()
    except Sick as sick:
        say("sick", "broker", str(sick))
        return False
    async with patient(there) as one, patient(there) as other:
        if not await _one(say, "broker", partial(inspection.broker, one)):
            return False
        rest: dict[str, Check] = {
            "strangers": partial(inspection.strangers, one),
            "walls": partial(inspection.walls, one),
            "names": partial(inspection.names, one, other),
            "version": inspection.version,
            "plain": inspection.plain,
            "path": partial(path, one),
        }
        return all([await _one(say, name, check) for name, check in rest.items()]) and safe


def settled(say: Say) -> bool:
    """Say what is unwise in the settings of a hub that is more than a demo; whether nothing is sick."""
    if settings.MQTT is None or (settings.HUB_DATA / options.RUNNING).exists():
        say("well", "settings", "a demo's; before production, `manage.py check --deploy` says what is unwise")
        return True
    found = list(checks.mistakes(settings.ENV))
    for mistake in found:
        say("sick" if mistake.level >= ERROR else "unwise", "settings", f"{mistake.msg} {mistake.hint}")
    if not found:
        say("well", "settings", "nothing unwise in them")
    return all(mistake.level < ERROR for mistake in found)


async def _one(say: Say, name: str, check: Check) -> bool:
    try:
        found = await check()
    except Unwise as unwise:
        say("unwise", name, str(unwise))
        return True
    except Sick as sick:
        say("sick", name, str(sick))
        return False
    say("well", name, found)
    return True
