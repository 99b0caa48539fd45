"""asyncapi.yaml and mqtt.md against the native convention: what devices say, and what the hub tells them."""

import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import topic_matches_sub

from devices import wire
from devices.batch import Rejected
from devices.dialects import Order, Publish, native
from devices.numbering import Receipt
from devices.values import REASONS, Bad
from devices.wire import topics
from hub.env import CHECKOUT
from tests import asyncapi

NOW = 1_790_000_000_000
PAGE = (CHECKOUT / "docs/protocol/mqtt.md").read_text(encoding="utf-8")
CHANNELS: dict[str, Any] = {name: one for name, one in asyncapi.document()["channels"].items() if name != "live"}
OPERATIONS = [one for one in asyncapi.document()["operations"].values() if "live" not in one["channel"]["$ref"]]
FILLED = {
    "device": "kitchen",
    "gateway": "hall",
    "metric": "temperature",
    "item": "led",
    "name": "led",
    "cid": "k3vq8s",
}
SAYS = {
    "telemetry": wire.Frame,
    "location": wire.Frame,
    "status": wire.Presence,
    "meta": wire.Announce,
    "ack": wire.Ack,
    "reported": wire.Report,
}


def messages_of(channel: str) -> list[asyncapi.Message]:
    """Its messages."""
    refs = asyncapi.refs(CHANNELS[channel]["messages"])
    return [asyncapi.messages()[ref.removeprefix("#/components/messages/")] for ref in refs]


def topic_of(channel: str) -> str:
    return str(CHANNELS[channel]["address"]).format(**FILLED)


def channels_of(topic: str) -> list[str]:
    """The channels whose addresses such a topic fits."""

    def pattern(address: str) -> str:
        return re.sub(r"\{\w+\}", "[^/]+", address)

    return [name for name, one in CHANNELS.items() if re.fullmatch(pattern(one["address"]), topic)]


def payload_of(message: asyncapi.Message, example: Any) -> bytes:
    return example.encode() if message.is_text else msgspec.json.encode(example)


def read(topic: str, payload: bytes) -> list[wire.Event]:
    return wire.read(wire.Message(topic=topic, payload=payload, received_at=NOW, qos=1, mid=1))[1]


def allowed(channel: str, payload: bytes) -> bool:
    """Whether the payload is one of the messages of a channel."""
    for message in messages_of(channel):
        try:
            content = payload.decode() if message.is_text else json.loads(payload)
        except ValueError:
            continue
        if not message.faults(content):
            return True
    return False


def by_action(action: str) -> list[str]:
    refs = [one["channel"]["$ref"] for one in OPERATIONS if one["action"] == action]
    return [ref.removeprefix("#/channels/") for ref in refs]


# --- what devices say

EXAMPLES = [
    (channel, payload_of(message, example))
    for channel in by_action("receive")
    for message in messages_of(channel)
    for example in message.examples
]


@pytest.mark.parametrize(("channel", "payload"), EXAMPLES)
def test_a_devices_example_says_what_its_channel_is_for(channel: str, payload: bytes) -> None:
    topic = topic_of(channel)
    word = topic.split("/")[4 if "/sub/" in topic else 2]
    events = read(topic, payload)
    assert events
    assert all(isinstance(event, SAYS[word]) and event.device == "kitchen" for event in events)


# What can be said in a schema. Limits on bytes, doubled keys, identities and the like are the hub's own.
@pytest.mark.parametrize(
    ("channel", "payload"),
    [
        *(("telemetry", text) for text in ("{}", "[]", "5", '"x"', "null", "[5]", '[{"t":1},{}]', '{"values":5}')),
        *(("telemetry", text) for text in ('{"t":1,"ts":"now"}', '{"t":1,"ts":true}', '{"t":1,"dt":5}')),
        *(("telemetry", text) for text in ('{"t":1,"boot":-1}', '{"t":1,"seq":1.5}', '{"t":1,"device":5}')),
        *(("value", text) for text in ("", " ", "a\x00b", "x" * 1025)),
        *(("status", text) for text in ("", "away", "{}", '{"state":"away"}', '{"state":5}', "[]")),
        *(("status", text) for text in ('{"state":"online","sleep_s":-1}', '{"state":"online","sleep_s":1e3}')),
        *(("status", text) for text in ('{"state":"online","sleep_s":40000000}', '{"state":"online","fw":5}')),
        *(("meta", text) for text in ("[]", "5", '{"name":5}', '{"metrics":5}', '{"commands":"x"}')),
        *(
            ("meta", text)
            for text in ('{"metrics":{"a+b":"V"}}', '{"metrics":{"t":5}}', '{"metrics":{"t":{"unit":5}}}')
        ),
        *(("meta", text) for text in ('{"commands":{"a b":"bool"}}', '{"commands":{"led":"toggle"}}')),
        *(("metaItem", text) for text in ('{"type":"toggle"}', '{"type":"enum"}', '{"type":"enum","options":[]}')),
        *(("metaItem", text) for text in ('{"type":"number","min":"low"}', '{"unit":5}', "x" * 129)),
        *(("location", text) for text in ("{}", '{"lat":1}', '{"lat":91,"lon":0}', '{"lat":1,"lon":"west"}', "[]")),
        *(
            ("reported", text)
            for text in ("", "5", "[]", '{"a":null}', '{"a":[1]}', '{"a+b":1}', '{"values":{"a":{}}}')
        ),
        *(
            ("reported", text)
            for text in ('{"values":{"a":{}}}', '{"version":-1,"values":{}}', '{"version":"7","values":{"a":1}}')
        ),
        *(("ack", text) for text in ("", "done", "{}", '{"status":"done"}', '{"status":"ok","value":[]}', "[]")),
        *(("ack", text) for text in ('{"status":"ok","progress":"half"}', '{"status":"ok","progress":true}')),
    ],
)
def test_what_the_file_refuses_the_hub_refuses(channel: str, payload: str) -> None:
    assert not allowed(channel, payload.encode())
    with pytest.raises(Bad):
        read(topic_of(channel), payload.encode())


# --- what the hub tells devices


def orders() -> Iterator[Publish]:
    given = [None, True, False, 21.5, 5, "eco", "", {"r": 255, "g": [0]}, [1, 2]]
    for args, gateway in product(given, (None, "hall")):
        order = Order(device="kitchen", gateway=gateway, name="led", cid="k3vq8s2mzt5p", args=args, expires_at=NOW)
        yield native.encode(order)


def notices() -> Iterator[Publish]:
    for gateway in (None, "hall"):
        yield native.receipt(Receipt("kitchen", 3, 17), gateway)
        yield native.receipt(Receipt("kitchen", 3, 17, [[20, 24], [30, 30]]), gateway)
        yield native.receipt(Receipt("kitchen", 3, 0, [[at, at] for at in range(2, 400, 2)]), gateway)
        few = {"interval_s": 30, "mode": None, "on": True, "name": "é"}
        yield from native.desired("kitchen", gateway, 7, few, dict.fromkeys(few, 7))
        many = {f"setting_{number}": "x" * 90 for number in range(9)}
        yield from native.desired("kitchen", gateway, 7, many, dict.fromkeys(many, 7))
        for reason, more in product(REASONS, (0, 4)):
            message = wire.Message(topic="hub/kitchen/telemetry", payload=b"{", received_at=NOW)
            refused = Rejected(key="kitchen", message=message, reason=reason, detail="long " * 99)  # type: ignore[arg-type]
            yield native.error(refused, more, gateway)


@pytest.mark.parametrize("publish", [*orders(), *notices()], ids=lambda publish: publish.topic)
def test_what_the_hub_publishes_is_in_the_file(publish: Publish) -> None:
    (channel,) = channels_of(publish.topic)
    assert allowed(channel, publish.payload)
    (operation,) = [one for one in OPERATIONS if one["channel"]["$ref"] == f"#/channels/{channel}"]
    mqtt = operation["bindings"]["mqtt"]
    assert operation["action"] == "send"
    assert (mqtt["qos"], mqtt["retain"]) == (publish.qos, publish.retain)


# --- the topics


def is_read(topic: str) -> bool:
    try:
        read(topic, b"ok")
    except Bad as bad:
        return bad.reason != "topic_unknown"
    return True


def test_every_topic_that_the_hub_reads_is_a_channel_and_no_other() -> None:
    words = [value for value in vars(topics).values() if isinstance(value, str) and re.fullmatch("[a-z]+", value)]
    heard = [word for word in [*words, "other"] if word not in topics.OURS]
    assert {"telemetry", "status", "ack", "sub", "hub"} <= set(heard)
    for root, word, behind in product(("hub/kitchen", "hub/hall/sub/kitchen"), heard, ("", "/a", "/a/b", "/a/b/c")):
        # hub/kitchen/sub/a is the beginning of a child's topic, and no word of it.
        topic = f"{root}/{word}{behind}"
        assert is_read(topic) == (channels_of(topic) != []), topic


def test_the_hub_hears_every_channel_and_speaks_on_those_that_are_its_own() -> None:
    ours = {name for name in CHANNELS if topics.is_ours(topic_of(name))}
    assert set(by_action("send")) == ours
    assert set(by_action("receive")) == set(CHANNELS) - ours
    assert all(topic_matches_sub(filter_, topic_of(name)) for name in CHANNELS for filter_ in native.FILTERS)


def test_what_is_retained_is_what_a_bridge_of_a_share_asks_for() -> None:
    retained = {one["channel"]["$ref"] for one in OPERATIONS if one["bindings"]["mqtt"]["retain"]}
    asked = {name for name in CHANNELS if any(topic_matches_sub(one, topic_of(name)) for one in wire.RETAINED_FILTERS)}
    assert retained == {f"#/channels/{name}" for name in asked}


# --- mqtt.md

ROW = re.compile(r"^\| `(hub/[^`]+)` \|[^|]*\|(.*)\|$", re.MULTILINE)
SECTIONS = {"Telemetry": "telemetry", "Meta": "meta", "Commands": "ack", "Settings": "reported"}


def rows() -> Iterator[tuple[str, str]]:
    """Each topic of the page's table with each JSON of its row."""
    for topic, told in ROW.findall(PAGE):
        for example in re.findall(r"`(\{[^`]*\})`", told):
            yield topic, example


def blocks() -> Iterator[tuple[str, str]]:
    """Each example in the page's blocks, with the channel that its section is about."""
    for title, channel in SECTIONS.items():
        section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
        for block in re.findall(r"^```\n(.*?)^```", section, re.DOTALL | re.MULTILINE):
            examples = [block] if title == "Meta" else [line.split("  ")[0] for line in block.splitlines()]
            yield from ((channel, example) for example in examples)


def test_the_pages_topics_are_the_channels() -> None:
    named = {topic for topic, _ in ROW.findall(PAGE)} - {"hub/<gateway>/sub/<child>/…"}
    shown = {re.sub(r"<[^>]+>", "x", topic) for topic in named}
    assert {name for topic in shown for name in channels_of(topic)} == {
        name for name, one in CHANNELS.items() if "gateway" not in one["parameters"]
    }


@pytest.mark.parametrize(("topic", "example"), list(rows()))
def test_an_example_in_the_pages_table_is_as_the_file_says(topic: str, example: str) -> None:
    (channel,) = channels_of(re.sub(r"<[^>]+>", "x", topic))
    assert allowed(channel, example.encode())


@pytest.mark.parametrize(("channel", "example"), list(blocks()))
def test_an_example_in_a_block_of_the_page_is_as_the_file_says(channel: str, example: str) -> None:
    given = example.replace('"ts":…,"values":{…}', '"ts":1735689600000,"values":{"t":1}')
    assert allowed(channel, given.encode())
    assert read(topic_of(channel), given.encode())
