"""Whether a hub that runs is safe: what can be tried at its broker, and seen in its data folder and among its people.

A check returns what it saw, or raises Unwise or Sick with what to do.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import check_password
from django.db.models import Q

from bridge import mqtt
from bridge.management.commands import bridge
from devices.models import Device
from hub import env, machine
from hub.faults import faults

if TYPE_CHECKING:
    from pathlib import Path

# A device made by another process than the bridge can connect within 10 s (docs/protocol/mqtt.md); and some patience.
PATIENCE_S: Final = 20.0
POLL_S: Final = 0.1
# A broker that cuts a connection for another of its name does so at once.
CUT_S: Final = 1.0
VERSION: Final = "$SYS/broker/version"
# What in the data folder opens something to whoever reads it.
KEYS: Final = ("secret_key", "sign-in.json")


class Sick(Exception):
    """A part does not work, or is open to somebody; the message says what to do."""


class Unwise(Exception):
    """A part works, and should not stay as it is; the message says what to do."""


class Patient(msgspec.Struct):
    """A device that the checks play."""

    device: Device
    secret: str
    url: mqtt.MqttUrl


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


async def strangers(patient: Patient) -> str:
    """Try to come in without a login, and with a wrong one."""
    nobody = msgspec.structs.replace(patient.url, username=None, password=None)
    if await mqtt.knock(nobody, f"doctor-{secrets.token_hex(4)}"):
        raise Sick("the broker lets in whoever comes, without a login: set `allow_anonymous false` (mosquitto.conf).")
    liar = msgspec.structs.replace(patient.url, password=secrets.token_hex(16))
    if await mqtt.knock(liar, patient.device.key):
        raise Sick("the broker lets a device in with any password: its accounts are not asked (mosquitto/README.md).")
    return "the broker lets nobody in without a login"


async def walls(patient: Patient) -> str:
    """Try to hear what is not the device's: everything, a neighbour's commands and settings."""
    for filter_ in ("#", "hub/#", "hub/somebody-else/cmd/#", "hub/somebody-else/desired"):
        with suppress(mqtt.DisconnectedError):
            async with mqtt.Inbound(patient.url, patient.device.key) as intruder:
                await intruder.subscribe([filter_])
                raise Sick(f"a device may subscribe to {filter_}: the broker needs ACLs (docs/protocol/mqtt.md).")
    return "a device hears nothing that is not its own"


async def names(patient: Patient, other: Patient) -> str:
    """Try to cut a device off by connecting under its client id with another device's login."""
    await broker(other)
    async with mqtt.Inbound(patient.url, patient.device.key) as victim:
        await mqtt.knock(other.url, patient.device.key)
        try:
            await asyncio.wait_for(victim.receive(1), CUT_S)
        except TimeoutError:
            return "no device can take another's place"
        except mqtt.DisconnectedError:
            pass
    raise Sick(
        "a device can cut another one off by taking its client id: the broker must bind client ids to accounts, as "
        "Mosquitto does."
    )


async def version() -> str:
    """Ask the broker which one it is, and look up what is known against it."""
    if settings.MQTT is None:
        return "the demo's own broker"
    try:
        said = await mqtt.retained(bridge.address(), VERSION)
    except mqtt.DisconnectedError as error:
        raise Sick(f"the bridge's own login is refused ({error}); is MQTT_URL right?") from None
    return judged(said) if said else f"the broker does not tell its version in {VERSION}"


def judged(said: str) -> str:
    """Look up what is known against a broker that calls itself so."""
    if known := faults(said):
        raise Unwise(
            f"{said} has published faults: {'; '.join(known)}. Update it; or, if it is a distribution's, see in its "
            "change log that they are mended there (Debian 12: in 2.0.11-1.2+deb12u2, which calls itself 2.0.11)."
        )
    return f"{said}, against which nothing is known here"


async def plain() -> str:
    """Try whether devices could send their passwords readable to the host that they are told."""
    host = settings.MQTT_PUBLIC_HOST
    if settings.MQTT is None or machine.loopback(host):
        return "devices are told an address of this machine alone"
    port = env.MQTT_PORTS["mqtt"]
    if settings.MQTT_PUBLIC_TLS and await takes_plain(host, port):
        raise Unwise(
            f"{host}:{port} takes plain MQTT besides: a device that is set up wrongly sends its password readable. "
            "Close that port to the network (docs/tls.md)."
        )
    return f"{host}:{port} takes no plain MQTT"


async def takes_plain(host: str, port: int) -> bool:
    """Whether somebody there answers in MQTT without TLS, if only to refuse."""
    return await mqtt.knock(mqtt.MqttUrl(scheme="mqtt", host=host, port=port)) is not None


def folder() -> str:
    """Look who may read the data folder."""
    data = settings.HUB_DATA
    if sys.platform == "win32" or not _open(data):
        return f"{data} is its owner's alone"
    if found := [name for name in KEYS if _open(data / name)]:
        raise Sick(
            f"others on this machine may read {' and '.join(found)} in {data}: chmod 700 {data}, and make new ones."
        )
    raise Unwise(f"others on this machine may look into {data}: chmod 700 {data}")


def _open(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & 0o077)


def people() -> str:
    """Try the first passwords that anybody would try on those who may do everything."""
    mighty = get_user_model().objects.filter(Q(is_superuser=True) | Q(is_staff=True), is_active=True)
    for user in mighty:
        name = user.get_username()
        if not user.password or not user.has_usable_password():
            raise Unwise(
                f"{name} has no password: give one (`manage.py changepassword {name}`), or take its rights away."
            )
        if any(check_password(guess, user.password) for guess in ("", name)):
            raise Sick(f"the password of {name} is its name, or nothing: `manage.py changepassword {name}`.")
    return f"administrators: {len(mighty)}, none with its name as password"
