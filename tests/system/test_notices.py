"""What the hub tells devices of their own messages, on both brokers: receipts, refusals, and what a limit does."""

import json
from collections.abc import Callable
from typing import Any

from tests.hub import Device, Hub, eventually
from tests.system.clients import Paho

NewDevice = Callable[..., Device]


def told(client: Paho, suffix: str) -> dict[str, Any]:
    """The next notice of a kind."""
    while True:
        heard = client.heard()
        if heard.topic == client.topic(suffix):
            notice: dict[str, Any] = json.loads(heard.payload)
            return notice


def receipt(client: Paho, **expected: Any) -> dict[str, Any]:
    """Wait for a receipt that says so."""
    while True:
        notice = told(client, "receipt")
        if expected.items() <= notice.items():
            return notice


def test_a_device_that_numbers_its_frames_gets_receipts_of_what_is_committed(
    anywhere: Hub, new_device: NewDevice
) -> None:
    device = new_device()
    with Paho(anywhere, device, hears=("receipt",)) as client:
        for n in (1, 2, 3):
            client.said("telemetry", {"boot": 7, "seq": n, "values": {"n": n}})
        assert receipt(client, seq=3) == {"boot": 7, "seq": 3}
        client.said("telemetry", {"boot": 7, "seq": 6, "values": {"n": 6}})
        assert receipt(client, have=[[6, 6]]) == {"boot": 7, "seq": 3, "have": [[6, 6]]}
        assert len(anywhere.frames(device.key)) == 4
        numbering = anywhere.ask("GET", f"devices/{device.key}/")["numbering"]
        assert numbering == {"boot": 7, "newest": 6, "committed": 3, "missing": 2}
        client.said("telemetry", {"boot": 7, "seq": 4, "values": {"n": 4}})
        client.said("telemetry", {"boot": 7, "seq": 5, "values": {"n": 5}})
        assert receipt(client, seq=6) == {"boot": 7, "seq": 6}


def test_a_frame_that_is_sent_again_is_answered_again(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device, hears=("receipt",)) as client:
        for _ in range(2):
            client.said("telemetry", {"boot": 1, "seq": 1, "values": {"n": 1}}, qos=0)
            assert told(client, "receipt") == {"boot": 1, "seq": 1}
    assert len(anywhere.frames(device.key)) == 1


def test_a_device_is_told_what_was_refused_and_why(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device, hears=("error",)) as client:
        client.said("telemetry", '{"t": 1')
        notice = told(client, "error")
        assert (notice["reason"], notice["topic"]) == ("not_json", client.topic("telemetry"))
        assert notice["detail"]


def test_a_flood_is_refused_and_counted_to_the_last_message_and_costs_no_other_device_anything(
    anywhere: Hub, new_device: NewDevice
) -> None:
    flooder, calm = new_device(), new_device()
    anywhere.ask("PATCH", f"devices/{flooder.key}/", json={"rate": 1, "burst": 50})
    with Paho(anywhere, flooder, hears=("error",)) as flood, Paho(anywhere, calm) as quiet:
        sent = flood_until_told(flood)
        for n in range(20):
            quiet.said("telemetry/n", str(n))
        eventually(lambda: len(anywhere.frames(calm.key)) == 20)
        eventually(lambda: accounted(anywhere, flooder) == sent, "all of the flood is stored or refused")
    assert len(anywhere.frames(flooder.key)) < sent
    assert anywhere.ask("GET", "rejects/", params={"device": calm.key})["results"] == []


def flood_until_told(client: Paho) -> int:
    """Send far more than a limit allows. (A bridge that has just connected takes all that the broker had kept.)"""
    for sent in range(1, 100_000):
        client.publish("telemetry", {"boot": 1, "seq": sent, "values": {"n": sent}})
        if client.waiting and told(client, "error")["reason"] == "rate_limited":
            return sent
    raise AssertionError("nothing was refused")


def accounted(hub: Hub, device: Device) -> int:
    refused = hub.ask("GET", "rejects/", params={"device": device.key, "limit": 1000})["results"]
    return len(hub.frames(device.key)) + sum(row["count"] for row in refused)
