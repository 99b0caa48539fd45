"""`manage.py bridge`: the bridge of a production set-up, or its standby. SIGTERM drains and exits 0."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from bridge import mqtt
from bridge.accounts import Accounts, dynsec
from bridge.book import OpenAccounts
from bridge.duty import Duty
from bridge.lead import lock, turn
from bridge.worker import Worker

SWITCH_S: Final = 0.0005


class Command(BaseCommand):
    """Run one bridge until it is told to stop."""

    help = "Carry readings from the broker into the hub, and commands to the devices."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the name, which is part of the session at the broker."""
        parser.add_argument(
            "--name",
            default="main",
            help="this bridge's name at the broker (default: main); of those of one name one works and the others "
            "stand by",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Work until SIGTERM or SIGINT."""
        if settings.MQTT is None:
            raise CommandError("MQTT_URL is not set: say where the broker is, mqtt://user:secret@host:1883.")
        # What stores must not wait 5 ms (Python's own choice) for what hears, each time the database has answered.
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()  # what is loaded stays: the collector need not look through it, with every message waiting
        asyncio.run(work(address(), options["name"]))


def address() -> mqtt.MqttUrl:
    """Return where the broker is, from the settings."""
    given = settings.MQTT
    assert given is not None, "MQTT_URL is not set"
    return mqtt.MqttUrl(
        scheme="mqtts" if given.tls else "mqtt",
        host=given.host,
        port=given.port,
        username=given.username,
        password=given.password,
        ca=str(settings.MQTT_CA) if settings.MQTT_CA else None,
    )


def accounts(url: mqtt.MqttUrl) -> OpenAccounts | None:
    """Return how to reach the broker's accounts, where they are ours to keep."""
    if settings.BROKER_ACCOUNTS != "dynsec":
        return None

    @asynccontextmanager
    async def opened() -> AsyncIterator[Accounts]:
        async with AsyncExitStack() as stack:
            if settings.BRIDGE_SHARE:  # the broker answers all who ask at that moment, whoever asked
                await stack.enter_async_context(turn("-accounts", settings.HUB_DATA))
            exchange = await stack.enter_async_context(mqtt.control(url))
            yield dynsec.Dynsec(exchange, url.username or "", partial(mqtt.forget, url))

    return opened


async def work(url: mqtt.MqttUrl, name: str) -> None:
    """Run a bridge; drain on SIGTERM and SIGINT."""
    bridge = duty(url, name, accounts(url))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, bridge.stopping.set)
    await bridge.run()


def duty(url: mqtt.MqttUrl, name: str, accounts: OpenAccounts | None) -> Duty:
    """Return the bridge of this name: one of as many as are started, of which one at a time works."""
    settings.HUB_DATA.mkdir(mode=0o700, parents=True, exist_ok=True)
    lead = lock(name, settings.HUB_DATA)

    def worker() -> Worker:
        return Worker(url, name=name, accounts=accounts, lead=lead)

    return Duty(lead, worker, alive=settings.HUB_DATA / f"bridge-{name}.alive")
