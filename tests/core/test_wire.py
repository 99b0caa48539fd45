"""The native convention: a friendly table (bytes → events), a hostile one (bytes → reason), and any bytes at all."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import values, wire
from devices.values import Bad
from devices.wire import Ack, Announce, Frame, Presence

NOW = 1_750_000_000_000
YEAR_MS = 366 * 86_400_000


def message(topic: str, payload: bytes | str, **options: Any) -> wire.Message:
    data = payload.encode() if isinstance(payload, str) else payload
    return wire.Message(topic=topic, payload=data, received_at=NOW, **options)


def read(topic: str, payload: bytes | str, **options: Any) -> list[wire.Event]:
    gateway, events = wire.read(message(topic, payload, **options))
    assert gateway is None
    return events


def frame(topic: str, payload: bytes | str, **options: Any) -> Frame:
    (event,) = read(topic, payload, **options)
    assert isinstance(event, Frame)
    return event


def refused(topic: str, payload: bytes | str) -> Bad:
    with pytest.raises(Bad) as caught:
        wire.read(message(topic, payload))
    return caught.value


# --- the friendly table


def said(device: str = "kitchen", **given: Any) -> Frame:
    return Frame(device=device, received_at=NOW, **given)


@pytest.mark.parametrize(
    ("topic", "payload", "event"),
    [
        # status
        ("status", "online", Presence(device="kitchen", online=True, received_at=NOW)),
        ("status", "offline", Presence(device="kitchen", online=False, received_at=NOW)),
        ("status", " Online\n", Presence(device="kitchen", online=True, received_at=NOW)),
        (
            "status",
            '{"state":"online","fw":"1.2","sleep_s":900}',
            Presence(device="kitchen", online=True, received_at=NOW, sleep_s=900, fw="1.2"),
        ),
        ("status", '{"state":"offline","fw":null}', Presence(device="kitchen", online=False, received_at=NOW)),
        # telemetry, scalar
        ("telemetry/temperature", "21.40", said(values={"temperature": 21.4})),
        ("telemetry/door", "ON", said(values={"door": True})),
        ("telemetry/text", " hello world #1 ", said(values={"text": "hello world #1"})),
        # telemetry, JSON
        ("telemetry", '{"temperature":21.5,"humidity":40}', said(values={"temperature": 21.5, "humidity": 40})),
        ("telemetry", '{"on":true,"mode":"eco","none":null}', said(values={"on": True, "mode": "eco"})),
        ("telemetry", '{"env":{"t":21},"rgb":[1,2]}', said(values={"env.t": 21, "rgb.0": 1, "rgb.1": 2})),
        ("telemetry", '{"values":{"t":1},"rssi":-60}', said(values={"t": 1, "rssi": -60})),
        ("telemetry", '{"a:b":"c:d"}', said(values={"a:b": "c:d"})),
        ("telemetry", '{"dt":-5000,"t":1}', said(values={"t": 1}, ts=NOW - 5000)),
        ("telemetry", '{"dt":0,"t":1}', said(values={"t": 1}, ts=NOW)),
        ("telemetry", '{"device":"kitchen","device_id":null,"t":1}', said(values={"t": 1})),
        # one counter without the other numbers nothing
        ("telemetry", '{"boot":7,"t":1}', said(values={"t": 1})),
        ("telemetry", '{"seq":7,"t":1}', said(values={"t": 1})),
        # meta
        (
            "meta",
            '{"name":"Kitchen","model":"S1","fw":"2"}',
            Announce(device="kitchen", name="Kitchen", model="S1", fw="2"),
        ),
        (
            "meta",
            '{"metrics":{"temperature":{"unit":"°C","class":"temperature"},"rssi":"dBm"}}',
            Announce(
                device="kitchen",
                metrics={"temperature": {"unit": "°C", "class": "temperature"}, "rssi": {"unit": "dBm"}},
            ),
        ),
        (
            "meta",
            json.dumps(
                {
                    "commands": {
                        "led": {"type": "bool"},
                        "setpoint": {"type": "number", "min": 5, "max": 30, "step": 0.5, "unit": "°C"},
                        "mode": {"type": "enum", "options": ["eco", "auto"]},
                        "reboot": "action",
                        "say": {"type": "text", "extra": 1},
                    }
                }
            ),
            Announce(
                device="kitchen",
                commands={
                    "led": {"type": "bool"},
                    "setpoint": {"type": "number", "min": 5, "max": 30, "step": 0.5, "unit": "°C"},
                    "mode": {"type": "enum", "options": ["eco", "auto"]},
                    "reboot": {"type": "action"},
                    "say": {"type": "text"},
                },
            ),
        ),
        ("meta", '{"metrics":[],"commands":null}', Announce(device="kitchen")),
        ("meta/temperature", "°C", Announce(device="kitchen", metrics={"temperature": {"unit": "°C"}})),
        (
            "meta/temperature",
            '{"unit":"K","class":"temperature"}',
            Announce(device="kitchen", metrics={"temperature": {"unit": "K", "class": "temperature"}}),
        ),
        ("meta/led", '{"type":"bool"}', Announce(device="kitchen", commands={"led": {"type": "bool"}})),
        # location
        ("location", '{"lat":52.5,"lon":13.4}', said(values={"lat": 52.5, "lon": 13.4})),
        (
            "location",
            '{"lat":-90,"lon":180,"acc":5,"batt":80}',
            said(values={"lat": -90, "lon": 180, "acc": 5, "batt": 80}),
        ),
        # ack
        ("ack/c1", "ok", Ack(device="kitchen", cid="c1", status="succeeded", received_at=NOW)),
        ("ack/c1", "OK 21.5", Ack(device="kitchen", cid="c1", status="succeeded", received_at=NOW, message="21.5")),
        (
            "ack/c1",
            "error valve is stuck",
            Ack(device="kitchen", cid="c1", status="failed", received_at=NOW, message="valve is stuck"),
        ),
        ("ack/c1", "rejected", Ack(device="kitchen", cid="c1", status="rejected", received_at=NOW)),
        (
            "ack/c1",
            '{"status":"accepted","progress":0.4}',
            Ack(device="kitchen", cid="c1", status="received", received_at=NOW, progress=0.4),
        ),
        (
            "ack/c1",
            '{"status":"ok","value":21.5,"message":null,"progress":7}',
            Ack(device="kitchen", cid="c1", status="succeeded", received_at=NOW, value=21.5, progress=1.0),
        ),
    ],
)
def test_every_shape_of_the_convention_is_read(topic: str, payload: str, event: wire.Event) -> None:
    assert read(f"hub/kitchen/{topic}", payload) == [event]


@pytest.mark.parametrize("payload", [b"", b" \n"])
def test_a_withdrawn_announcement_of_one_item_says_nothing(payload: bytes) -> None:
    assert read("hub/kitchen/meta/temperature", payload) == []


def test_a_withdrawn_announcement_says_nothing() -> None:
    assert read("hub/kitchen/meta", b"") == []


@pytest.mark.parametrize("level", ["cmd/led/c1", "receipt", "error"])
def test_the_hubs_own_echo_says_nothing(level: str) -> None:
    assert read(f"hub/kitchen/{level}", b"\xff\0") == []


@pytest.mark.parametrize(
    "ts", ["1735689600", "1735689600.0", "1735689600000", "1735689600000000"], ids=["s", "s with a point", "ms", "µs"]
)
def test_ts_is_read_in_seconds_milliseconds_and_microseconds(ts: str) -> None:
    assert frame("hub/kitchen/telemetry", f'{{"ts":{ts},"values":{{"t":1}}}}').ts == 1_735_689_600_000


def test_a_batch_gives_its_frames_in_order() -> None:
    batch = '[{"ts":1735689600,"values":{"t":1}},{"dt":-10,"t":2},{"t":3}]'
    events = read("hub/kitchen/telemetry", batch)
    assert [(event.ts, event.values) for event in events if isinstance(event, Frame)] == [
        (1_735_689_600_000, {"t": 1}),
        (NOW - 10, {"t": 2}),
        (None, {"t": 3}),
    ]


def test_a_gateway_speaks_for_its_child() -> None:
    gateway, events = wire.read(message("hub/attic/sub/kitchen/telemetry/t", "1"))
    assert (gateway, events) == ("attic", [said(values={"t": 1})])


def test_a_device_may_be_called_sub() -> None:
    gateway, events = wire.read(message("hub/sub/sub/sub/telemetry/t", "1"))
    assert (gateway, events) == ("sub", [said("sub", values={"t": 1})])
    assert read("hub/sub/status", "online") == [Presence(device="sub", online=True, received_at=NOW)]


def test_before_arrival_says_nothing_of_a_retained_message() -> None:
    event = frame("hub/kitchen/telemetry", '{"dt":-5000,"t":1}', retain=True)
    assert (event.ts, event.retained) == (None, True)


# --- what tells a duplicate


def mark(payload: str, topic: str = "hub/kitchen/telemetry", **options: Any) -> tuple[int | None, int]:
    event = frame(topic, payload, **options)
    return event.mark, event.mark_ms


def test_a_numbered_frame_is_told_by_its_number_whatever_else_it_says() -> None:
    one = mark('{"boot":1,"seq":7,"t":1,"dt":-5}')
    assert one == mark('{"boot":1,"seq":7,"t":1,"dt":-900}', qos=1, mid=4, dup=True)
    assert one[1] > YEAR_MS
    assert one != mark('{"boot":2,"seq":7,"t":1}')
    assert one != mark('{"boot":1,"seq":8,"t":1}')
    assert one != mark('{"boot":1,"seq":7,"t":1}', topic="hub/attic/telemetry")
    assert frame("hub/kitchen/telemetry", '{"boot":1,"seq":7,"t":1}').boot == 1
    assert frame("hub/kitchen/telemetry", '{"boot":1,"seq":7,"t":1}').n == 7


def test_boot_and_seq_are_not_run_together() -> None:
    assert mark('{"boot":1,"seq":11,"t":1}') != mark('{"boot":11,"seq":1,"t":1}')


def test_a_frame_with_a_time_is_told_by_time_and_values_never_by_time_alone() -> None:
    one = mark('{"ts":1735689600,"t":1}')
    assert one == mark('{"ts":1735689600000,"values":{"t":1}}')
    assert one[1] > YEAR_MS
    assert one != mark('{"ts":1735689600,"t":2}')
    assert one != mark('{"ts":1735689601,"t":1}')


def test_any_other_frame_is_told_by_its_packet_and_looked_up_only_when_the_broker_says_dup() -> None:
    first = mark('{"t":1}', qos=1, mid=4)
    again = mark('{"t":1}', qos=1, mid=4, dup=True)
    assert first == (again[0], 0)
    assert again[1] == wire.REDELIVERY_MS
    assert mark('{"t":2}', qos=1, mid=4, dup=True)[0] != first[0]
    assert mark('{"t":1}', qos=1, mid=5, dup=True)[0] != first[0]
    assert mark('{"t":1}', qos=0) == (None, 0)
    assert mark("1", topic="hub/kitchen/telemetry/a", qos=1, mid=4) != mark(
        "1", topic="hub/kitchen/telemetry/b", qos=1, mid=4
    )


def test_two_equal_entries_of_one_batch_are_two_readings() -> None:
    events = read("hub/kitchen/telemetry", '[{"t":1},{"t":1}]', qos=1, mid=4, dup=True)
    assert len({event.mark for event in events if isinstance(event, Frame)}) == 2


# --- the hostile table

KIB_64 = 64 * 1024
HOSTILE_JSON: list[tuple[bytes, str]] = [
    (b"", "not_json"),
    (b" ", "not_json"),
    (b"{", "not_json"),
    (b'{"t":1}x', "not_json"),
    (b'{"t":1}{"t":2}', "not_json"),
    (b'{"t":012}', "not_json"),
    (b'{"t":+1}', "not_json"),
    (b'{"t":tru}', "not_json"),
    (b"{'t':1}", "not_json"),
    (b'{"t":1,}', "not_json"),
    (b'\xef\xbb\xbf{"t":1}', "not_json"),
    (b'{"t":NaN}', "not_json"),
    (b'{"t":Infinity}', "not_json"),
    (b'{"t":1e999}', "number_out_of_range"),
    (b'{"t":-1e999}', "number_out_of_range"),
    (b'{"t":1e999,"u":":"}', "number_out_of_range"),
    (b'{"t":' + b"1" + b"0" * 400 + b"}", "number_out_of_range"),
    (b'{"t":' + b"9" * 5000 + b"}", "number_out_of_range"),
    (b'{"t":' + b"9" * 5000 + b',"u":":"}', "number_out_of_range"),
    (b'{"t":9007199254740992}', "number_out_of_range"),
    (b'{"t":-9007199254740992}', "number_out_of_range"),
    (b'{"ts":' + b"9" * 400 + b',"t":1}', "bad_timestamp"),
    (b'{"t":1,"t":2}', "bad_value"),
    (b'{"t":1,"\\u0074":2}', "bad_value"),
    (b'{"values":{"t":1,"t":2}}', "bad_value"),
    (b'{"ts":1,"ts":2,"t":1}', "bad_value"),
    (b'[{"t":1},{"t":1,"t":1}]', "bad_value"),
    (b'{"t":"\\u0000"}', "bad_value"),
    (b'{"\\u0000":1}', "bad_value"),
    (b'{"t":"\\ud800"}', "not_json"),
    (b'{"\\udc00":1}', "not_json"),
    (b'{"t":"\\ud800\\ud800"}', "not_json"),
    (b'{"t":"\xff"}', "not_utf8"),
    (b'{"t":"\xed\xa0\x80"}', "not_utf8"),
    (b'{"t":"\xc0\x80"}', "not_utf8"),
    (b"[" * 60_000, "nested_too_deep"),
    (b'{"a":' * 10_000, "nested_too_deep"),
    (b'{"t":' + b"[" * 10 + b"1" + b"]" * 10 + b"}", "nested_too_deep"),
    (b'{"t":1,"u":' + b"[" * 10 + b"]" * 10 + b"}", "nested_too_deep"),
]


@pytest.mark.parametrize(("payload", "reason"), HOSTILE_JSON)
def test_json_that_lies_is_refused_wherever_json_is_read(payload: bytes, reason: str) -> None:
    assert refused("hub/kitchen/telemetry", payload).reason == reason
    # There also for what is missing.
    assert refused("hub/kitchen/location", payload).reason in {reason, "bad_value"}


# What parses elsewhere and breaks later: each was seen to stop somebody's ingest for everybody.
PARSES_AND_BREAKS_LATER = {
    "NaN": (b'{"t":NaN}', "not_json", 5),
    "1e999": (b'{"t":1e999}', "number_out_of_range", 5),
    "10**400": (b'{"t":' + str(10**400).encode() + b"}", "number_out_of_range", 5),
    "true as a time": (b'{"t":1,"ts":true}', "bad_timestamp", 12),
    "true as a number of the frame": (b'{"t":1,"boot":1,"seq":true}', "bad_value", 22),
    "duplicate keys": (b'{"t":1,"t":2}', "bad_value", 7),
    "NUL": (b'{"t":"\\u0000"}', "bad_value", 5),
    "NUL in a name": (b'{"\\u0000":1}', "bad_value", 1),
    "a lone surrogate": (b'{"t":"\\ud800"}', "not_json", 6),
    "a lone surrogate in a name": (b'{"\\udc00":1}', "not_json", 2),
    "60,000 brackets": (b"[" * 60_000, "nested_too_deep", 10),
    "60,000 brackets in a value": (b'{"t":' + b"[" * 60_000, "nested_too_deep", 14),
    "an integer of 5,000 digits": (b'{"t":' + b"9" * 5_000 + b"}", "number_out_of_range", 5),
}


@pytest.mark.parametrize("name", PARSES_AND_BREAKS_LATER)
def test_what_parses_and_breaks_later_is_refused_at_its_byte(name: str) -> None:
    payload, reason, position = PARSES_AND_BREAKS_LATER[name]
    for topic in ("hub/kitchen/telemetry", "hub/attic/sub/kitchen/telemetry"):
        bad = refused(topic, payload)
        assert (bad.reason, bad.position) == (reason, position)


@pytest.mark.parametrize("name", PARSES_AND_BREAKS_LATER)
def test_in_a_batch_it_refuses_the_batch_at_its_byte(name: str) -> None:
    payload, reason, position = PARSES_AND_BREAKS_LATER[name]
    before = b'[{"t":1},'
    bad = refused("hub/kitchen/telemetry", before + payload + b"]")
    deep = reason == "nested_too_deep"  # one bracket stands in front already
    assert (bad.reason, bad.position) == (reason, len(before) + position - deep)


def test_true_is_a_switch_and_never_the_number_1() -> None:
    assert frame("hub/kitchen/telemetry", '{"t":true}').values["t"] is True
    assert frame("hub/kitchen/telemetry/t", "true").values["t"] is True
    assert frame("hub/kitchen/telemetry", '{"t":1}').values["t"] is not True


HOSTILE: list[tuple[str, bytes, str]] = [
    # topics
    ("", b"1", "topic_unknown"),
    ("hub", b"1", "topic_unknown"),
    ("hub/", b"1", "topic_unknown"),
    ("hub/kitchen", b"1", "topic_unknown"),
    ("hub/kitchen/", b"1", "topic_unknown"),
    ("/hub/kitchen/status", b"online", "topic_unknown"),
    ("Hub/kitchen/status", b"online", "topic_unknown"),
    ("hub/Kitchen/status", b"online", "topic_unknown"),
    ("hub/kit chen/status", b"online", "topic_unknown"),
    ("hub/kitchen\0/status", b"online", "topic_unknown"),
    ("hub/" + "x" * 64 + "/status", b"online", "topic_unknown"),
    ("hub//status", b"online", "topic_unknown"),
    ("hub/+/status", b"online", "topic_unknown"),
    ("hub/kitchen/statusx", b"online", "topic_unknown"),
    ("hub/kitchen/status/x", b"online", "topic_unknown"),
    ("hub/kitchen/telemetry/a/b", b"1", "topic_unknown"),
    ("hub/kitchen/meta/a/b", b"1", "topic_unknown"),
    ("hub/kitchen/ack", b"ok", "topic_unknown"),
    ("hub/kitchen/ack/a/b", b"ok", "topic_unknown"),
    ("hub/kitchen/location/x", b"{}", "topic_unknown"),
    ("hub/kitchen/sub", b"1", "topic_unknown"),
    ("hub/kitchen/sub/attic", b"1", "topic_unknown"),
    ("hub/kitchen/sub//status", b"online", "topic_unknown"),
    ("hub//sub/kitchen/status", b"online", "topic_unknown"),
    ("hub/Attic/sub/kitchen/status", b"online", "topic_unknown"),
    ("hub/a/sub/b/sub/c/status", b"online", "topic_unknown"),
    # scalars
    ("hub/kitchen/telemetry/t", b"", "bad_value"),
    ("hub/kitchen/telemetry/t", b"nan", "number_out_of_range"),
    ("hub/kitchen/telemetry/t", b"1e999", "number_out_of_range"),
    ("hub/kitchen/telemetry/t", b"9007199254740992", "number_out_of_range"),
    ("hub/kitchen/telemetry/t", b"9" * 5000, "bad_value"),
    ("hub/kitchen/telemetry/t", b"x" * 1025, "bad_value"),
    ("hub/kitchen/telemetry/t", b"21.5\0", "bad_value"),
    ("hub/kitchen/telemetry/t", b"\xff", "not_utf8"),
    ("hub/kitchen/telemetry/t", b"x" * (KIB_64 + 1), "too_large"),
    ("hub/kitchen/telemetry/" + "x" * 129, b"1", "bad_value"),
    ("hub/kitchen/telemetry/", b"1", "bad_value"),
    # telemetry: shapes
    ("hub/kitchen/telemetry", b"21.5", "bad_value"),
    ("hub/kitchen/telemetry", b'"hot"', "bad_value"),
    ("hub/kitchen/telemetry", b"null", "bad_value"),
    ("hub/kitchen/telemetry", b"[]", "bad_value"),
    ("hub/kitchen/telemetry", b"[1,2]", "bad_value"),
    ("hub/kitchen/telemetry", b'[{"t":1},[]]', "bad_value"),
    ("hub/kitchen/telemetry", b"{}", "bad_value"),
    ("hub/kitchen/telemetry", b'{"t":null}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"t":{}}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"ts":1735689600}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"values":[1,2]}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"values":5}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"values":null,"t":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"values":{}}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"values":{"t":1},"t":2}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"a":{"b":1},"a.b":2}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"a+":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"' + b"x" * 129 + b'":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"t":"' + b"x" * 1025 + b'"}', "bad_value"),
    ("hub/kitchen/telemetry", json.dumps({str(n): n for n in range(501)}).encode(), "too_many_metrics"),
    # telemetry: times and numbers
    ("hub/kitchen/telemetry", b'{"ts":true,"t":1}', "bad_timestamp"),
    ("hub/kitchen/telemetry", b'{"ts":"1735689600","t":1}', "bad_timestamp"),
    ("hub/kitchen/telemetry", b'{"ts":[1],"t":1}', "bad_timestamp"),
    ("hub/kitchen/telemetry", b'{"ts":1e17,"t":1}', "bad_timestamp"),
    ("hub/kitchen/telemetry", b'{"dt":1,"t":1}', "bad_timestamp"),
    ("hub/kitchen/telemetry", b'{"dt":true,"t":1}', "bad_timestamp"),
    ("hub/kitchen/telemetry", b'{"dt":"-5","t":1}', "bad_timestamp"),
    ("hub/kitchen/telemetry", b'{"dt":-31622400001,"t":1}', "bad_timestamp"),
    ("hub/kitchen/telemetry", b'{"boot":true,"seq":1,"t":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"boot":1,"seq":-1,"t":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"boot":1,"seq":1.5,"t":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"boot":1,"seq":9223372036854775808,"t":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"boot":"a","t":1}', "bad_value"),
    ("hub/kitchen/telemetry", b'{"seq":"a","t":1}', "bad_value"),
    # identity
    ("hub/kitchen/telemetry", b'{"device":"attic","t":1}', "identity_mismatch"),
    ("hub/kitchen/telemetry", b'{"device_id":"attic","t":1}', "identity_mismatch"),
    ("hub/kitchen/telemetry", b'{"device":"kitchen","device_id":"attic","t":1}', "identity_mismatch"),
    ("hub/kitchen/telemetry", b'{"device":{"id":"kitchen"},"t":1}', "identity_mismatch"),
    ("hub/kitchen/telemetry", b'[{"t":1},{"device":"attic","t":1}]', "identity_mismatch"),
    ("hub/kitchen/location", b'{"device":"attic","lat":1,"lon":1}', "identity_mismatch"),
    ("hub/attic/sub/kitchen/telemetry", b'{"device":"attic","t":1}', "identity_mismatch"),
    # location
    ("hub/kitchen/location", b"52.5,13.4", "not_json"),
    ("hub/kitchen/location", b"[52.5,13.4]", "bad_value"),
    ("hub/kitchen/location", b'{"lat":52.5}', "bad_value"),
    ("hub/kitchen/location", b'{"lat":true,"lon":1}', "bad_value"),
    ("hub/kitchen/location", b'{"lat":"52.5","lon":1}', "bad_value"),
    ("hub/kitchen/location", b'{"lat":90.01,"lon":1}', "bad_value"),
    ("hub/kitchen/location", b'{"lat":1,"lon":-180.01}', "bad_value"),
    ("hub/kitchen/location", b'{"lat":1,"lon":1,"ts":false}', "bad_timestamp"),
    # status
    ("hub/kitchen/status", b"", "bad_value"),
    ("hub/kitchen/status", b"up", "bad_value"),
    ("hub/kitchen/status", b"\xff", "not_utf8"),
    ("hub/kitchen/status", b"{", "not_json"),
    ("hub/kitchen/status", b"{}", "bad_value"),
    ("hub/kitchen/status", b'["online"]', "bad_value"),
    ("hub/kitchen/status", b'{"state":true}', "bad_value"),
    ("hub/kitchen/status", b'{"state":["online"]}', "bad_value"),
    ("hub/kitchen/status", b'{"state":"online","sleep_s":-1}', "bad_value"),
    ("hub/kitchen/status", b'{"state":"online","sleep_s":"900"}', "bad_value"),
    ("hub/kitchen/status", b'{"state":"online","sleep_s":9223372036854775807}', "bad_value"),
    ("hub/kitchen/status", b'{"state":"online","fw":1.2}', "bad_value"),
    ("hub/kitchen/status", b'{"state":"online","fw":"\\u0000"}', "bad_value"),
    # meta
    ("hub/kitchen/meta", b"Kitchen", "not_json"),
    ("hub/kitchen/meta", b"[]", "bad_value"),
    ("hub/kitchen/meta", b'{"name":7}', "bad_value"),
    ("hub/kitchen/meta", b'{"name":"' + b"x" * 129 + b'"}', "bad_value"),
    ("hub/kitchen/meta", b'{"name":"a\\u0000"}', "bad_value"),
    ("hub/kitchen/meta", b'{"metrics":["t"]}', "bad_value"),
    ("hub/kitchen/meta", b'{"metrics":{"t":7}}', "bad_value"),
    ("hub/kitchen/meta", b'{"metrics":{"t":{"unit":7}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"metrics":{"":{}}}', "bad_value"),
    ("hub/kitchen/meta", json.dumps({"metrics": {str(n): {} for n in range(501)}}).encode(), "too_many_metrics"),
    ("hub/kitchen/meta", b'{"commands":["led"]}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"led":{}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"led":"switch"}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"led":{"type":["bool"]}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"a/b":{"type":"bool"}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"a b":{"type":"bool"}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"s":{"type":"number","min":"5"}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"s":{"type":"number","min":true}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"s":{"type":"number","min":9,"max":5}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"s":{"type":"number","max":1' + b"0" * 400 + b"}}}", "number_out_of_range"),
    ("hub/kitchen/meta", b'{"commands":{"m":{"type":"enum"}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"m":{"type":"enum","options":[]}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"m":{"type":"enum","options":[null]}}}', "bad_value"),
    ("hub/kitchen/meta", b'{"commands":{"m":{"type":"enum","options":"eco"}}}', "bad_value"),
    ("hub/kitchen/meta/t", b"x" * 129, "bad_value"),
    ("hub/kitchen/meta/t", b"\xff", "not_utf8"),
    ("hub/kitchen/meta/t", b'{"type":"float"}', "bad_value"),
    ("hub/kitchen/meta/", b"V", "bad_value"),
    # ack
    ("hub/kitchen/ack/c1", b"", "bad_value"),
    ("hub/kitchen/ack/c1", b"done", "bad_value"),
    ("hub/kitchen/ack/c1", b"{}", "bad_value"),
    ("hub/kitchen/ack/c1", b'{"value":1}', "bad_value"),
    ("hub/kitchen/ack/c1", b'{"status":true}', "bad_value"),
    ("hub/kitchen/ack/c1", b'{"status":["ok"]}', "bad_value"),
    ("hub/kitchen/ack/c1", b'["ok"]', "bad_value"),
    ("hub/kitchen/ack/c1", b'{"status":"accepted","progress":"40%"}', "bad_value"),
    ("hub/kitchen/ack/c1", b'{"status":"accepted","progress":true}', "bad_value"),
    ("hub/kitchen/ack/c1", b'{"status":"ok","value":[1]}', "bad_value"),
    ("hub/kitchen/ack/c1", b'{"status":"ok","value":1' + b"0" * 400 + b"}", "number_out_of_range"),
    ("hub/kitchen/ack/c1", b"error \0", "bad_value"),
    ("hub/kitchen/ack/c1", b"error " + b"x" * 1025, "bad_value"),
    ("hub/kitchen/ack/", b"ok", "bad_value"),
]


@pytest.mark.parametrize(("topic", "payload", "reason"), HOSTILE)
def test_what_does_not_fit_is_refused_with_its_reason(topic: str, payload: bytes, reason: str) -> None:
    assert refused(topic, payload).reason == reason


@pytest.mark.parametrize(
    ("level", "payload", "sentence"),
    [
        ("telemetry", '{"temp":{"x":"a\\u0000"}}', "temp.x has a NUL character at position 1"),
        ("telemetry", '{"values":[1]}', 'values is [1]; it must be an object such as {"temperature": 21.5}'),
        ("telemetry", '[{"t":1},7]', 'entry 1: 7 is no reading; expected an object such as {"temperature": 21.5}'),
        (
            "telemetry",
            '[{"t":null}]',
            'entry 0: there is no value in it; expected something like {"temperature": 21.5}',
        ),
        ("telemetry", '{"ts":"now","t":1}', 'ts is "now"; it must be a number: s, ms or µs since 1970, UTC'),
        ("telemetry", '{"dt":5,"t":1}', "dt is 5; it must be ms before arrival: from minus a year to 0"),
        ("telemetry", '{"device":"attic","t":1}', "device is \"attic\", the topic says 'kitchen'; the topic decides"),
        ("telemetry", '{"t":1,"t":2}', "key 't' appears twice in one object"),
        ("telemetry", b"\xff", "JSON is malformed: invalid character (byte 0)"),
        ("telemetry", b'{"t":"\xff"}', "byte 6 (0xff) is not UTF-8"),
        ("telemetry", "", "the payload is empty"),
        ("telemetry", '{"t":1e999}', "a number in it is beyond ±1.8e308; send it as text"),
        ("telemetry", '{"t":"\\ud800"}', "Input data was truncated; a \\ud8… escape must be one of a pair"),
        ("telemetry/t", b"a\xff", "byte 1 (0xff) is not UTF-8"),
        ("location", '{"lat":"52"}', 'lat is "52"; it must be a number from -90 to 90'),
        ("status", "up", "status is 'up'; it must be online or offline"),
        ("meta", '{"commands":{"led":{}}}', "'led' needs a type: bool, number, enum, text, action, update"),
        ("meta", '{"commands":{"s":{"type":"number","min":9,"max":5}}}', "s.min is 9, above s.max, which is 5"),
        (
            "ack/c1",
            "done",
            "ack is 'done'; it must be ok, error <text>, or have a status: accepted, ok, error, rejected, expired",
        ),
        ("temperature", "1", "nothing is expected at temperature; see the topics in the docs"),
    ],
)
def test_a_refusal_names_the_place_and_the_remedy(level: str, payload: bytes | str, sentence: str) -> None:
    assert refused(f"hub/kitchen/{level}", payload).detail == sentence


HALF = "\\ud800"
DEEP = "[" * 8


@pytest.mark.parametrize(
    ("level", "payload"),
    [
        # no text, no JSON
        ("telemetry", b'{"t":"\xc3\xa9|\xff"}'),
        ("telemetry/t", b"  \xc2\xb0|\xff"),
        ("status", b"on|\xffline"),
        ("telemetry", "|"),
        ("telemetry", "|  "),
        ("telemetry", "|t=1"),
        ("telemetry", '{"t":1|'),
        ("telemetry", '{"t":1}|x'),
        ("telemetry", '{"é":1}|{"t":2}'),
        ("telemetry", '{"t":0|12}'),
        ("telemetry", '{"t":|tru}'),
        ("telemetry", '{"t":tru|'),
        ("telemetry", '{"t":|nulx}'),
        ("telemetry", '{"a":true,"t":|falsy}'),
        ("telemetry", '{"true"|x:1}'),
        ("telemetry", '{"t":|NaN}'),
        ("telemetry", '{"t":1,|}'),
        ("telemetry", '{"t":"\\|x"}'),
        ("telemetry", '{"t":"\\u00|zz"}'),
        ("telemetry", f'{{"ok":"\\ud83d\\ude00","no":"\\\\ud800|{HALF}"}}'),
        ("telemetry", f'{{"t":"|{HALF} and more"}}'),
        ("telemetry", f'{{"t":"|{HALF}\\u0041"}}'),
        ("telemetry", '{"t":"|\\udc00"}'),
        ("telemetry", f'{{"t":"|{HALF}'),
        ("telemetry", '{"t":"\\ud83d\\ude00|'),
        # nested, doubled, too big
        ("telemetry", "[" * 10 + "|" + "[" * 59_990),
        ("telemetry", '{"t":"[[[[[[[[[[[[\\"[","u":[' + DEEP + "|[1]" + "]" * 9 + "}"),
        ("telemetry", '{"a":{"b":1},"é":{"b":1,|"b":2}}'),
        ("telemetry", '[{"t":1},{"a:b":1,"t":1,|"\\u0074":2}]'),
        ("telemetry", '{"9e999":"1e999","t":|1e999}'),
        ("telemetry", '{"a":-1.5,"t":|-1e999,"u":2e999}'),
        ("telemetry", '{"t":|' + "9" * 5000 + "}"),
        ("telemetry", "|-1e9991e9A9}"),
        ("telemetry", '{"a":[1,|-1e999-1e9996]}'),
        ("telemetry", "|" + json.dumps({str(n): n for n in range(501)})),
        ("telemetry", '[{"t":1},|' + json.dumps({str(n): n for n in range(501)}) + "]"),
        # values
        ("telemetry", '{"a":1,"t":|9007199254740992}'),
        ("telemetry", '{"t" : |"\\u0000"}'),
        ("telemetry", '{"é":1,"a":{"b":[0,\n|9007199254740992]}}'),
        ("telemetry", '{"a.b":1,|"a":{"b":2}}'),
        ("telemetry", '{"a":{"b":1},|"a.b":2}'),
        ("telemetry", '{"a":{"a.b":1},"a.b":{"b":1,"c":|9007199254740992}}'),
        ("telemetry", '{"u":1,|"":1}'),
        ("telemetry", '{"u":1,|"a\\u000a":1}'),
        ("telemetry", '{"values":{"t":|9007199254740992},"u":2}'),
        ("telemetry", '{"values":{"u":2},"t":|9007199254740992}'),
        ("telemetry", '{"t":1,"values":{|"t":2}}'),
        ("telemetry", '{"values":|[1]}'),
        ("telemetry", " |{}"),
        ("telemetry", "|21.5"),
        ("telemetry", "|[]"),
        ("telemetry", '[{"t":1}, |7]'),
        ("telemetry", '[{"t":1},|{"t":null}]'),
        ("telemetry", '[{"t":1},{"ts":5,"t":|9007199254740992}]'),
        ("telemetry", '{"t":1,"ts":|"now"}'),
        ("telemetry", '{"t":1,"dt":|5}'),
        ("telemetry", '{"t":1,"boot":1,"seq":|-1}'),
        ("telemetry", '{"t":1,"device":|"attic"}'),
        ("location", '{"lat":|"52","lon":1}'),
        ("location", '|{"lat":52}'),
        ("location", "|[]"),
        # plain texts
        ("telemetry/t", " |nan"),
        ("telemetry/t", " 21.5|\0"),
        ("telemetry/t", "|"),
        ("ack/c1", "error é|\0"),
        ("status", "\n|up"),
        ("meta/t", "|" + "[" * 60_000),
        ("ack/c1", '|[{"status":"ok"}'),
        # the rest
        ("status", '{"state":|"up"}'),
        ("status", '{"state":"online","sleep_s":|-1}'),
        ("status", '{"state":"online","fw":|1.2}'),
        ("status", '{"state":"online","fw":|"\\u0000"}'),
        ("ack/c1", '{"status":|"done"}'),
        ("ack/c1", '|{"value":1}'),
        ("ack/c1", '{"status":"ok","value":|[1]}'),
        ("ack/c1", '{"status":"ok","message":|"\\u0000"}'),
        ("ack/c1", '{"status":"ok","progress":|"40%"}'),
        ("meta", "|[]"),
        ("meta", '{"name":|7}'),
        ("meta", '{"metrics":|["t"]}'),
        ("meta", '{"metrics":{},"commands":|7}'),
        ("meta", '{"metrics":{"t":|7}}'),
        ("meta", '{"metrics":{"t":"°C","u":{"unit":|7}}}'),
        ("meta", '{"metrics":{"t":{},|"":{}}}'),
        ("meta", '{"commands":{"led":|{}}}'),
        ("meta", '{"commands":{|"a b":"bool"}}'),
        ("meta", '{"commands":{"s":{"type":"number","min":|"5"}}}'),
        ("meta", '{"commands":{"s":{"type":"number","min":|9,"max":5}}}'),
        ("meta", '{"commands":{"m":{"type":"enum","options":[1,|null]}}}'),
        ("meta/t", '{"unit":|7}'),
        ("meta/t", '{"type":|"float"}'),
        ("meta/t", "|" + "x" * 129),
    ],
)
def test_a_refusal_tells_the_byte_at_which_the_fault_stands(level: str, payload: bytes | str) -> None:
    before, _, behind = (payload.encode() if isinstance(payload, str) else payload).partition(b"|")
    bad = refused(f"hub/kitchen/{level}", before + behind)
    assert bad.position == len(before), bad


@pytest.mark.parametrize(
    "topic", ["hub/kitchen/temperature", "hub/Kitchen/status", "hub/kitchen/telemetry/a+", "hub/kitchen/meta/", "x"]
)
def test_a_fault_of_the_topic_has_no_place_in_the_payload(topic: str) -> None:
    assert refused(topic, b"1").position is None


def test_what_is_too_large_is_at_fault_from_the_first_byte_too_many() -> None:
    assert refused("hub/kitchen/telemetry", b"1" * (KIB_64 + 1)).position == KIB_64


def test_the_byte_that_the_sentence_names_is_the_one_of_the_position() -> None:
    bad = refused("hub/kitchen/telemetry", '{"temperature":21.5,"on":tru}')
    assert (bad.detail, bad.position) == ("JSON is malformed: invalid character (byte 25)", 25)


def test_exactly_at_the_limits_everything_is_taken() -> None:
    payload = b'{"t":"%s"' % (b"x" * 1024)
    assert frame("hub/kitchen/telemetry", payload + b" " * (KIB_64 - len(payload) - 1) + b"}").values == {
        "t": "x" * 1024
    }
    assert len(frame("hub/kitchen/telemetry", json.dumps({str(n): n for n in range(500)})).values) == 500
    assert frame("hub/kitchen/telemetry", json.dumps({"x" * 128: 1})).values == {"x" * 128: 1}
    assert frame("hub/kitchen/telemetry/" + "x" * 128, "1").values == {"x" * 128: 1}
    nested = '{"t":' + "[" * 9 + "1" + "]" * 9 + "}"
    assert frame("hub/kitchen/telemetry", nested).values == {"t" + ".0" * 9: 1}
    assert frame("hub/kitchen/telemetry", '{"t":9007199254740991}').values == {"t": 9007199254740991}
    assert frame("hub/kitchen/telemetry", f'{{"dt":-{YEAR_MS},"t":1}}').ts == NOW - YEAR_MS
    assert refused("hub/kitchen/telemetry", b" " * (KIB_64 + 1)).detail == "65537 bytes; at most 65536"


# --- what holds for any bytes

KINDS = ("telemetry", "telemetry/t", "status", "meta", "meta/t", "location", "ack/c1", "cmd/x/y", "")
TOPICS = (
    st.sampled_from([f"hub/kitchen/{kind}" for kind in KINDS] + ["hub/attic/sub/kitchen/telemetry"])
    | st.text(st.characters())
    | st.lists(st.sampled_from(["hub", "sub", "kitchen", "telemetry", "meta", "ack", "", "+", "É"])).map("/".join)
)
KEYS = st.sampled_from(
    "ts dt boot seq device values state sleep_s fw name model metrics commands type options min max unit class status "
    "value message progress lat lon a.b a".split()
) | st.text(max_size=8)
WORDS = st.sampled_from("online offline ok error accepted bool enum number kitchen".split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)
PAYLOADS = (
    st.binary() | st.text().map(str.encode) | WORDS.map(str.encode) | JSON.map(lambda it: json.dumps(it).encode())
)


@given(topic=TOPICS, payload=PAYLOADS, retain=st.booleans(), dup=st.booleans(), qos=st.integers(0, 2))
def test_whatever_arrives_is_read_or_refused_and_what_is_read_can_be_stored(
    topic: str, payload: bytes, retain: bool, dup: bool, qos: int
) -> None:
    for event in events_of(message(topic, payload, retain=retain, dup=dup, qos=qos, mid=qos)):
        assert_storable(msgspec.structs.asdict(event))
        if isinstance(event, Frame):
            assert event.values
            assert len(event.values) <= 500
            assert all(name and len(name.encode()) <= 128 for name in event.values)


@given(payload=st.binary() | JSON.map(lambda it: json.dumps(it).encode()) | PAYLOADS, kind=st.sampled_from(KINDS[:-2]))
def test_whatever_is_refused_is_refused_at_a_byte_of_the_payload(payload: bytes, kind: str) -> None:
    with contextlib.suppress(Bad):
        wire.read(message(f"hub/kitchen/{kind}", payload))
        return
    bad = refused(f"hub/kitchen/{kind}", payload)
    assert bad.position is not None, bad
    assert 0 <= bad.position <= len(payload), bad


@given(
    values_=st.dictionaries(st.text(max_size=8), LEAVES, min_size=1, max_size=4),
    ts=st.none() | st.integers(-(10**13), 10**13) | st.floats(-(10**10), 10**10),
    seq=st.none() | st.integers(0, values.MAX_COUNTER),
)
def test_a_frame_that_is_written_again_is_read_as_the_same(values_: Any, ts: float | None, seq: int | None) -> None:
    payload = json.dumps({"values": values_, "ts": ts, "boot": seq, "seq": seq}).encode()
    for event in events_of(message("hub/kitchen/telemetry", payload)):
        assert isinstance(event, Frame)
        again = frame("hub/kitchen/telemetry", wire.entry_of(event))
        assert (again.values, again.ts, again.boot, again.n) == (event.values, event.ts, event.boot, event.n)


def events_of(one: wire.Message) -> list[wire.Event]:
    """Read it; a refusal says nothing, but says why."""
    try:
        return wire.read(one)[1]
    except Bad as bad:
        if bad.reason not in values.REASONS or not bad.detail:
            raise AssertionError(bad) from bad
        return []


def assert_storable(value: object) -> None:
    json.dumps(value, allow_nan=False)
    for leaf in leaves(value):
        if isinstance(leaf, str):
            assert "\0" not in leaf
            assert leaf.encode()  # a lone surrogate has no UTF-8
        elif isinstance(leaf, int):
            assert -(2**63) <= leaf < 2**63


def leaves(value: object) -> list[object]:
    """Every number and every text that is not empty, names of fields included."""
    if isinstance(value, dict):
        return [leaf for pair in value.items() for item in pair for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value in (None, "") else [value]


# --- the way out


@pytest.mark.parametrize(
    ("args", "payload"),
    [
        (None, b""),
        (True, b"on"),
        (False, b"off"),
        (21.5, b"21.5"),
        (7, b"7"),
        ("eco", b"eco"),
        ("°C", "°C".encode()),
        ({"r": 1}, b'{"r":1}'),
        ([1, True], b"[1,true]"),
    ],
)
def test_an_argument_travels_raw(args: object, payload: bytes) -> None:
    assert wire.command_payload(args) == payload


def test_a_command_goes_to_its_device_or_through_its_gateway() -> None:
    assert wire.command_topic("pump", "led", "c1") == "hub/pump/cmd/led/c1"
    assert wire.command_topic("pump", "led", "c1", "attic") == "hub/attic/sub/pump/cmd/led/c1"


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("hub/kitchen/anything", "kitchen"),
        ("hub/attic/sub/kitchen/x", "kitchen"),
        ("hub/Kitchen/x", ""),
        ("", ""),
        ("hub//sub/kitchen/x", ""),
    ],
)
def test_a_reject_is_filed_under_the_key_that_its_topic_claims(topic: str, key: str) -> None:
    assert wire.device_of(topic) == key
