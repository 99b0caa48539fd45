"""What is fuzzed: each decoder of the hub, with the oracle that says what it may answer.

A target takes any bytes. It returns in silence when the decoder gave values within the limits, or its own typed
refusal; anything else is raised, and that is a finding.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from rest_framework.exceptions import ParseError

from bridge.accounts import AccountsError, dynsec
from dashboard import protocol
from devices import values, wire
from devices.api import asked
from devices.errors import Refusal
from devices.values import Bad

NOW: Final = 1_750_000_000_000
# The dearest 64 KiB take about 40 ms at rest; instrumented and on a busy machine a multiple of it.
PATIENCE_S: Final = 0.5
LAST_MS: Final = 10**14  # in the year 5138
_DECODERS: Final = {
    kind: msgspec.json.Decoder(kind) for kind in (wire.Frame, wire.Presence, wire.Announce, wire.Ack, wire.Report)
}
_CLIENT: Final = msgspec.json.Decoder(protocol.ClientMessage)


class Found(AssertionError):
    """A decoder did what it must not."""


def expect(holds: object, problem: str, *about: object) -> None:
    """Raise Found unless it holds."""
    if not holds:
        raise Found(problem, *about)


# --- devices.wire


def read(topic: str, payload: bytes, *, placed: bool) -> list[wire.Event]:
    """What the hub reads; nothing when it refuses. `placed`: the topic is right, so each fault has its byte."""
    size = len(payload)
    message = wire.Message(
        topic=topic, payload=payload, received_at=NOW, qos=size % 3, retain=size % 5 == 0, dup=size % 2 == 0, mid=size
    )
    try:
        _, events = wire.read(message)
    except Bad as bad:
        check_refusal(bad, payload, placed=placed)
        return []
    return events


def check_refusal(bad: Bad, payload: bytes, *, placed: bool) -> None:
    """A reason of the closed list, a sentence, a byte of the payload (its end included)."""
    expect(bad.reason in values.REASONS, "no reason of the list", bad)
    expect(bad.detail, "no sentence", bad)
    if bad.position is None:
        expect(not placed, "no position", bad)
    else:
        expect(0 <= bad.position <= len(payload), "a position outside the payload", bad, bad.position)


def check_event(event: wire.Event, key: str) -> None:
    """Within every limit, storable, and the same after a round through JSON."""
    expect(event.device == key, "another device", event)
    kind = type(event)
    expect(_DECODERS[kind].decode(msgspec.json.encode(event)) == event, "changed by a round through JSON", event)
    if isinstance(event, wire.Frame):
        check_frame(event)
    elif isinstance(event, wire.Report):
        check_report(event)
    else:
        for leaf in leaves(msgspec.structs.asdict(event)):
            check_leaf(leaf)


def check_frame(frame: wire.Frame) -> None:
    """1 to 500 readings with good names, and written as a payload the same again."""
    expect(0 < len(frame.values) <= values.MAX_METRICS, "no or too many readings", frame)
    for name, value in frame.values.items():
        check_leaf(value)
        expect(0 < len(name.encode()) <= values.MAX_NAME and name.isprintable(), "a bad name", name)
    for number in (frame.ts, frame.boot, frame.n, frame.mark):
        expect(number is None or -(2**63) <= number < 2**63, "no 64-bit number", frame)


def check_report(report: wire.Report) -> None:
    """Up to 500 settings, each of which can be stored, and a 64-bit version."""
    expect(len(report.values) <= values.MAX_METRICS, "too many settings", report)
    expect(report.version is None or 0 <= report.version < 2**63, "no 64-bit number", report)
    for leaf in leaves(report.values):
        check_leaf(leaf)


def check_leaf(leaf: object) -> None:
    """What every database stores and every browser shows."""
    if isinstance(leaf, str):
        expect("\0" not in leaf and len(leaf.encode()) <= values.MAX_TEXT, "a text that cannot be stored", leaf)
    elif isinstance(leaf, float):
        expect(math.isfinite(leaf), "no finite number", leaf)
    elif isinstance(leaf, int):
        expect(-values.MAX_INTEGER <= leaf <= values.MAX_INTEGER, "an integer beyond ±2^53", leaf)


def leaves(value: object) -> Iterator[object]:
    """Every leaf of a JSON value, names included."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif value is not None:
        yield value


def at(topic: str, key: str = "kitchen") -> Callable[[bytes], None]:
    """A target for one kind of topic."""

    def target(data: bytes) -> None:
        for event in read(topic, data, placed=True):
            check_event(event, key)

    return target


def any_topic(data: bytes) -> None:
    """The topic first, then a line feed, then the payload."""
    topic, _, payload = data.partition(b"\n")
    text = topic.decode(errors="replace")
    for event in read(text, payload, placed=False):
        check_event(event, wire.device_of(text))


def written_again(data: bytes) -> None:
    """What is kept of one frame of a batch, when it alone is refused: read again it is the same frame."""
    for event in read("hub/kitchen/telemetry", data, placed=True):
        assert isinstance(event, wire.Frame)
        if event.ts is not None and abs(event.ts) == LAST_MS:
            continue  # 99,999,999,999.9996 s is this; in ms it would be taken for µs
        again = read("hub/kitchen/telemetry", wire.entry_of(event), placed=True)
        kept = [(one.values, one.ts, one.boot, one.n) for one in again if isinstance(one, wire.Frame)]
        expect(kept == [(event.values, event.ts, event.boot, event.n)], "read again it is another", event, again)


# --- the others


def json_of(data: bytes) -> None:
    """Strict JSON: what it takes, the standard library reads the same; and json_value judges it or passes it."""
    try:
        decoded = values.json_of(data)
        expect(decoded == json.loads(data), "read otherwise by the standard library", decoded)
        values.json_value("args", decoded)
    except Bad as bad:
        check_refusal(bad, data, placed=False)
    else:
        for leaf in leaves(decoded):
            check_leaf(leaf)


def rest(data: bytes) -> None:
    """The body of a request: JSON, or an error that the API shows."""
    try:
        asked.Json().parse(io.BytesIO(data))
    except (Refusal, ParseError) as refused:
        str(refused).encode()


def live(data: bytes) -> None:
    """A browser's message: one of the protocol, or a refusal that can be sent back."""
    try:
        message = protocol.parse(data.decode(errors="surrogateescape"))
    except protocol.Refused as refused:
        protocol.text(kind="error", id=refused.id, message=str(refused))
        return
    expect(_CLIENT.decode(msgspec.json.encode(message)) == message, "changed by a round through JSON", message)
    for part in (message.devices or [], [message.fleet or ""]) if isinstance(message, protocol.Sub) else []:
        expect(all("\0" not in name and len(name) <= values.MAX_NAME for name in part), "a bad name", message)


def broker(data: bytes) -> None:
    """Mosquitto's answer about its accounts: an answer to each command, or the hub's own error."""
    try:
        responses = dynsec.responses(data)
    except AccountsError as error:
        str(error).encode()
        return
    expect(all(isinstance(one, dynsec.Response) for one in responses), "no response", responses)


Target = Callable[[bytes], None]
TARGETS: Final[dict[str, Target]] = {
    "telemetry": at("hub/kitchen/telemetry"),
    "scalar": at("hub/kitchen/telemetry/temperature"),
    "location": at("hub/kitchen/location"),
    "status": at("hub/kitchen/status"),
    "meta": at("hub/kitchen/meta"),
    "meta-item": at("hub/kitchen/meta/temperature"),
    "ack": at("hub/kitchen/ack/c1"),
    "reported": at("hub/kitchen/reported"),
    "gateway": at("hub/attic/sub/kitchen/telemetry"),
    "topic": any_topic,
    "written": written_again,
    "json": json_of,
    "rest": rest,
    "live": live,
    "broker": broker,
}


def timed(target: Target) -> Target:
    """Add the promise that any input is dealt with soon."""

    def in_time(data: bytes) -> None:
        began = time.process_time()
        target(data)
        took = time.process_time() - began
        expect(took < PATIENCE_S, "too slow", f"{took:.3f} s for {len(data)} bytes")

    return in_time


def answer(name: str, data: bytes) -> Any:
    """Run one target once."""
    return timed(TARGETS[name])(data)
