"""Desired state on both brokers: who is awake is told at once, who sleeps when it wakes, who keeps silent again."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db.models import F

from bridge import mqtt
from bridge.threads import now_ms
from bridge.worker import Worker
from devices import desired, registry
from devices.intake import Stored
from devices.models import Fleet, Head, Setting
from tests.hub import Device, Hub, eventually
from tests.system.clients import Paho
from tests.system.stands import Stand

NewDevice = Callable[..., Device]
META = {"settings": {"interval_s": {"type": "number", "min": 1, "max": 3600, "unit": "s"}, "label": {"type": "text"}}}


def told(client: Paho) -> dict[str, Any]:
    """The next that a device is told to keep to."""
    while True:
        heard = client.heard()
        if heard.topic.endswith("/desired"):
            assert not heard.retained
            message: dict[str, Any] = json.loads(heard.payload)
            return message


def setting(hub: Hub, device: Device, name: str = "interval_s") -> dict[str, Any]:
    rows = hub.ask("GET", f"devices/{device.key}/settings/")["settings"]
    return next((row for row in rows if row["name"] == name), {})


def want(hub: Hub, device: Device, **values: Any) -> dict[str, Any]:
    answer: dict[str, Any] = hub.ask("PATCH", f"devices/{device.key}/settings/", json={"desired": values})
    return answer


def awake(hub: Hub, device: Device, client: Paho, **status: Any) -> None:
    """Have a device say what it is, and that it is there; it hears already what the hub says."""
    client.said("meta", META, retain=True)
    client.said("status", {"state": "online", **status}, retain=True)
    eventually(lambda: hub.ask("GET", f"devices/{device.key}/")["presence"]["state"] == "online")
    eventually(lambda: setting(hub, device))


def test_who_is_awake_is_told_at_once_and_everybody_sees_what_it_keeps(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device, hears=("desired",)) as client, anywhere.live() as live:
        awake(anywhere, device, client)
        client.said("reported", {"version": 0, "values": {"interval_s": 10}})
        eventually(lambda: setting(anywhere, device).get("reported") == 10)
        live.sub(device.key)
        assert live.until(type="settings")["settings"][0]["reported"] == 10
        assert want(anywhere, device, interval_s=30, label="x" * 300)["version"] == 1
        # What is too large for small devices comes by itself; the rest fits. Only the last one is the whole of it.
        assert [told(client), told(client)] == [
            {"version": 0, "values": {"interval_s": 30}},
            {"version": 1, "values": {"label": "x" * 300}},
        ]
        client.said("reported", {"version": 1, "values": {"interval_s": 30}})
        states: list[str] = []
        while states[-1:] != ["kept"]:
            message = live.until(type="settings", device=device.key, version=1)
            states += [row["state"] for row in message["settings"] if row["name"] == "interval_s"]
    assert setting(anywhere, device)["answered"] == 1


def test_who_sleeps_gets_it_when_it_wakes(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device("sleeper")
    with Paho(anywhere, device, hears=("desired",)) as client:
        awake(anywhere, device, client, sleep_s=900)
        client.vanish()
        eventually(lambda: anywhere.ask("GET", f"devices/{device.key}/")["presence"]["because"].startswith("asleep"))
    want(anywhere, device, interval_s=60)
    assert setting(anywhere, device)["state"] == "waiting"
    with Paho(anywhere, device, hears=("desired",)) as client:
        client.said("status", {"state": "online", "sleep_s": 900}, retain=True)
        assert told(client) == {"version": 1, "values": {"interval_s": 60}}
        client.said("reported", {"version": 1, "values": {"interval_s": 60}})
        eventually(lambda: setting(anywhere, device)["state"] == "kept")


def test_who_keeps_another_value_is_shown_with_it(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device, hears=("desired",)) as client:
        awake(anywhere, device, client)
        want(anywhere, device, interval_s=30)
        assert told(client) == {"version": 1, "values": {"interval_s": 30}}
        client.said("reported", {"version": 1, "values": {"interval_s": 20}})
        eventually(lambda: setting(anywhere, device)["state"] == "different")


def test_a_device_behind_a_gateway_is_told_through_it(anywhere: Hub, new_device: NewDevice) -> None:
    gate = new_device("gate")
    child = new_device("child")
    anywhere.ask("PATCH", f"devices/{child.key}/", json={"gateway": gate.key})
    with Paho(anywhere, gate, hears=("sub/+/desired",)) as client:
        client.said(f"sub/{child.key}/status", "online")
        eventually(lambda: anywhere.ask("GET", f"devices/{child.key}/")["presence"]["state"] == "online")
        want(anywhere, child, interval_s=5)
        heard = client.heard()
        assert heard.topic == client.topic(f"sub/{child.key}/desired")
        client.said(f"sub/{child.key}/reported", {"interval_s": 5})
        eventually(lambda: setting(anywhere, child)["state"] == "kept")


# --- the bridge, step by step


@pytest.fixture
async def worker(broker: Stand, ask: Callable[..., Any]) -> AsyncIterator[Worker]:
    """A bridge that does nothing by itself, and knows one device, which is awake and does not know what is wanted."""

    def prepare() -> None:
        device, _ = registry.create("pump-1", Fleet.objects.create(slug="greenhouse", name="Greenhouse"))
        Head.objects.filter(pk=device.pk).update(presence="online", since=1)
        desired.want(device, {"interval_s": 30}, None, now_ms())

    await ask(prepare)
    made = Worker(mqtt.MqttUrl.parse(broker.service.url), name="steps")
    yield made
    for threads in (made.threads, made.listener._thread):
        threads.end()


def sent_at(since: int | None = None) -> int | None:
    """When it was sent; with `since`, as if that had been so long ago (ms)."""
    if since is not None:
        Setting.objects.update(sent_at=F("sent_at") - since, at=F("at") - since)
    return Setting.objects.get().sent_at


@pytest.mark.django_db(transaction=True)
async def test_it_is_sent_once_the_broker_has_it_and_again_to_who_keeps_silent(
    worker: Worker, broker: Stand, ask: Callable[..., Any]
) -> None:
    assert await worker.desired.tell(None) == 0  # without a connection
    assert await ask(sent_at) is None
    async with (
        broker.hub(identifier="device") as device,
        mqtt.outbound(worker.sender.url, "Bridge-out") as worker.sender.outbound,
    ):
        await device.subscribe("hub/pump-1/desired")
        message = ("hub/pump-1/desired", '{"version":1,"values":{"interval_s":30}}')
        assert await worker.desired.tell(["pump-1"]) == 1
        assert await device.heard() == message
        assert await ask(sent_at) is not None
        assert await worker.desired.tell(None) == 0
        await ask(sent_at, desired.SOON_MS)
        assert await worker.desired.tell(None) == 1
        assert await device.heard() == message


@pytest.mark.django_db(transaction=True)
async def test_a_connection_that_breaks_leaves_it_unsent(worker: Worker, ask: Callable[..., Any]) -> None:
    async with mqtt.outbound(worker.sender.url, "Bridge-out") as gone:
        pass
    worker.sender.outbound = gone
    assert await worker.desired.tell(None) == 0
    assert await ask(sent_at) is None


@pytest.mark.django_db(transaction=True)
async def test_a_doorbell_rings_it_and_so_does_a_device_that_comes(
    worker: Worker, broker: Stand, ask: Callable[..., Any]
) -> None:
    async with (
        broker.hub(identifier="device") as device,
        mqtt.outbound(worker.sender.url, "Bridge-out") as worker.sender.outbound,
    ):
        await device.subscribe("hub/pump-1/desired")
        running = asyncio.create_task(worker.desired.run())
        await worker.relay_one({"type": "device.settings", "device": "pump-1"})
        assert (await device.heard())[0] == "hub/pump-1/desired"
        came: Any = {"type": "device.state", "device": "pump-1", "presence": "online", "because": "", "since": 0}
        await ask(lambda: Head.objects.update(since=now_ms() + 60_000))
        await worker.tell(Stored(announcements=[came]))
        assert (await device.heard())[0] == "hub/pump-1/desired"
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
