"""Presence where a real broker says it: last wills of sleepers, and the silence of a hub that was away itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from bridge import listener as listening
from bridge import mqtt
from bridge.threads import now_ms
from bridge.worker import Worker
from devices import registry, wire
from devices.models import Event, Fleet, Head
from tests.hub import Device, Hub, eventually
from tests.system.clients import Paho
from tests.system.stands import PATIENCE_S, Stand

READING = "hub/pump-1/telemetry"
HOUR_MS = 3_600_000


@pytest.fixture
async def worker(broker: Stand, ask: Callable[..., Any]) -> AsyncIterator[Worker]:
    """A bridge that comes back after an hour, in which a device that sends every second was not heard."""

    def prepare() -> None:
        device, _ = registry.create("pump-1", Fleet.objects.create(slug="greenhouse", name="Greenhouse"))
        long_ago = now_ms() - HOUR_MS
        heard = {"received_at": long_ago, "since": long_ago, "usual_ms": 1000}
        Head.objects.filter(pk=device.pk).update(presence="online", because="it sent data", **heard)

    await ask(prepare)
    made = Worker(mqtt.MqttUrl.parse(broker.service.url), name="silence")
    await made.book.reload()
    yield made
    for threads in (made.threads, made.listener._thread):
        threads.end()


def presence() -> str:
    return Head.objects.get(device__key="pump-1").presence


@pytest.mark.django_db(transaction=True)
async def test_a_bridge_that_comes_back_does_not_blame_devices_for_its_own_absence(
    worker: Worker, ask: Callable[..., Any]
) -> None:
    await worker.sweep_once(slow=True)
    assert await ask(presence) == "online"  # it does not hear yet
    task = asyncio.create_task(worker.listener.run())
    await asyncio.wait_for(worker.ready.wait(), PATIENCE_S)
    await worker.sweep_once(slow=True)
    assert await ask(presence) == "online"  # it has heard for a moment only
    worker.listener._hearing_since -= 11_000
    await worker.sweep_once(slow=True)
    assert await ask(presence) == "stale"
    assert (await ask(Event.objects.get)).because.startswith("no data for 60 min, usually every 1.0 s")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Broker:
    """Stands where the connection stands."""

    caught_up = True
    waiting = 0

    def ack(self, messages: list[wire.Message]) -> None:
        """Take it."""


@pytest.mark.django_db(transaction=True)
async def test_nor_for_what_waits_behind_a_backlog(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST", 2)
    inbound: Any = Broker()
    messages = [wire.Message(topic=READING, payload=b'{"t": %d}' % n, received_at=now_ms()) for n in range(2)]
    worker.listener._hears(inbound)
    worker.listener._hearing_since = 1
    await worker.listener.take(inbound, messages[:1])
    assert worker.listener.hearing_since == 1
    await worker.listener.take(inbound, messages)
    assert (worker.listener.hearing_since or 0) > 1


def test_a_sleepers_last_will_leaves_it_online_and_it_comes_back_by_itself(
    anywhere: Hub, new_device: Callable[..., Device]
) -> None:
    device = new_device()

    def because() -> tuple[str, str]:
        told = anywhere.ask("GET", f"devices/{device.key}/")["presence"]
        return told["state"], told["because"]

    with Paho(anywhere, device) as paho:
        paho.said("status", {"state": "online", "sleep_s": 900}, retain=True)
        eventually(lambda: because() == ("online", "it said so"))
        paho.vanish()
        eventually(lambda: because() == ("online", "asleep, as announced, for about 15 min"))
    with Paho(anywhere, device) as paho:
        paho.said("telemetry", {"t": 1})
        eventually(lambda: because() == ("online", "it woke and sent data"))


def test_a_new_secret_is_the_reason_why_a_device_is_offline(anywhere: Hub, new_device: Callable[..., Device]) -> None:
    device = new_device()
    with Paho(anywhere, device) as paho, anywhere.live() as live:
        live.sub(device.key)
        paho.said("telemetry", {"t": 1})
        live.row(device.key, t=1)
        anywhere.ask("POST", f"devices/{device.key}/rotate/")
        told = live.until(type="state", device=device.key, presence="offline")
    assert told["because"] == "its secret was changed"
