"""What is gathered between two commits: each message by what it says, and whatever is wrong concerns one alone."""

from typing import NamedTuple

import pytest

from devices import wire
from devices.batch import sort

NOW = 1_790_000_000_000


class Entry(NamedTuple):
    enabled: bool = True
    gateway: str | None = None


DIRECTORY = {"pump-1": Entry(), "off": Entry(enabled=False), "gate": Entry(), "child": Entry(gateway="gate")}


def message(topic: str, payload: str = "1") -> wire.Message:
    return wire.Message(topic=topic, payload=payload.encode(), received_at=NOW)


def test_each_message_is_put_where_it_belongs_in_the_order_of_arrival() -> None:
    messages = [
        message("hub/pump-1/status", "online"),
        message("hub/pump-1/telemetry/t", "1"),
        message("hub/pump-1/meta/t", "°C"),
        message("hub/pump-1/ack/c1", "ok"),
        message("hub/pump-1/telemetry/t", "2"),
    ]
    batch = sort(messages, wire.read, DIRECTORY)
    assert [type(event).__name__ for event in batch.events] == ["Presence", "Frame", "Frame"]
    assert [event.values for event in batch.events if isinstance(event, wire.Frame)] == [{"t": 1}, {"t": 2}]
    assert [ack.cid for ack in batch.acks] == ["c1"]
    assert [announce.metrics for announce in batch.announces] == [{"t": {"unit": "°C"}}]
    assert not batch.rejects
    assert not batch.stranger


@pytest.mark.parametrize(
    ("topic", "payload", "key", "reason"),
    [
        ("hub/pump-1/telemetry", "{", "pump-1", "not_json"),
        ("hub/nobody/telemetry/t", "1", "nobody", "device_unknown"),
        ("hub/off/telemetry/t", "1", "off", "device_disabled"),
        ("hub/pump-1/sub/child/telemetry/t", "1", "child", "device_unknown"),
        ("hub/gate/sub/pump-1/telemetry/t", "1", "pump-1", "device_unknown"),
        ("hub/Pump/telemetry/t", "1", "", "topic_unknown"),
        ("elsewhere", "1", "", "topic_unknown"),
    ],
)
def test_what_may_not_be_said_becomes_a_reject_and_costs_itself_alone(
    topic: str, payload: str, key: str, reason: str
) -> None:
    good = message("hub/pump-1/telemetry/t")
    batch = sort([good, message(topic, payload), good], wire.read, DIRECTORY)
    (rejected,) = batch.rejects
    assert (rejected.key, rejected.reason) == (key, reason)
    assert rejected.detail
    assert len(batch.events) == 2
    assert batch.stranger is (reason == "device_unknown")


@pytest.mark.parametrize("key", ["nobody", "off", "gate/sub/nobody"])
@pytest.mark.parametrize("leaf", ["status", "telemetry/t", "telemetry", "meta", "ack/c1", "strange"])
def test_what_is_withdrawn_of_a_device_that_has_gone_is_no_reject(key: str, leaf: str) -> None:
    batch = sort([message(f"hub/{key}/{leaf}", "")], wire.read, DIRECTORY)
    assert (batch.rejects, batch.events, batch.others) == ([], [], 1)


@pytest.mark.parametrize("topic", ["hub/pump-1/status", "hub/Pump/status", "hub/gate/sub/child/telemetry/t"])
def test_an_empty_message_of_one_that_is_here_is_a_reject(topic: str) -> None:
    assert sort([message(topic, "")], wire.read, DIRECTORY).rejects


def test_a_gateway_speaks_for_its_child() -> None:
    batch = sort([message("hub/gate/sub/child/telemetry/t")], wire.read, DIRECTORY)
    assert [event.device for event in batch.events] == ["child"]


def test_what_the_hub_itself_publishes_says_nothing() -> None:
    batch = sort([message("hub/pump-1/cmd/led/c1", "on")], wire.read, DIRECTORY)
    assert [batch.events, batch.rejects, batch.acks, batch.announces] == [[], [], [], []]


def test_what_a_message_says_is_counted_so_that_no_message_disappears() -> None:
    messages = [
        message("hub/pump-1/telemetry", '[{"t":1},{"t":2},{"t":3}]'),
        message("hub/pump-1/telemetry/t"),
        message("hub/pump-1/telemetry", "{"),
        message("hub/pump-1/status", "online"),
        message("hub/pump-1/meta/t", "°C"),
        message("hub/pump-1/ack/c1", "ok"),
        message("hub/pump-1/cmd/led/c1", "on"),
        message("hub/nobody/meta/t", "°C"),
    ]
    batch = sort(messages, wire.read, DIRECTORY)
    readings = sum(isinstance(event, wire.Frame) for event in batch.events)
    assert (batch.batched, batch.others, len(batch.rejects), readings) == (2, 4, 2, 4)
    assert len(messages) + batch.batched == readings + batch.others + len(batch.rejects)
