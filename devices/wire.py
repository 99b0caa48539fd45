"""PURE. The native convention: topics and payloads ⇄ Frame, Presence, Announce, Ack; a command → its publish.

Only this module and the dialects know topics and payload keys (the table stands in docs/protocol/mqtt.md).
`read` raises `Bad` and nothing else, whatever the bytes are.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from devices import values as v
from devices.values import Bad, Value

ROOT: Final = "hub"
FILTER: Final = f"{ROOT}/#"
STATUS, TELEMETRY, META, LOCATION = "status", "telemetry", "meta", "location"
CMD, ACK, RECEIPT, ERROR, SUB = "cmd", "ack", "receipt", "error", "sub"
# What the hub itself publishes and hears back, since it listens to the whole tree.
_OURS: Final = frozenset({CMD, RECEIPT, ERROR})

COMMAND_TYPES: Final = ("bool", "number", "enum", "text", "action")
# A redelivery follows its first delivery by a reconnect, not by hours; and within this window a broker may have
# used a packet id again (65,535 of them), so topic and payload have to be the same too.
REDELIVERY_MS: Final = 600_000
_RESERVED: Final = frozenset({"ts", "dt", "boot", "seq", "device", "device_id"})
_LOCATION_KEYS: Final = ("lat", "lon", "acc", "alt", "speed", "course")

AckStatus = Literal["received", "succeeded", "failed", "rejected"]
_ACK_STATUS: Final[dict[str, AckStatus]] = {
    "accepted": "received",
    "ok": "succeeded",
    "error": "failed",
    "rejected": "rejected",
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One MQTT message as it arrived. `received_at` in ms since the epoch; `mid` 0 for QoS 0."""

    topic: str
    payload: bytes
    received_at: int
    qos: int = 0
    retain: bool = False
    dup: bool = False
    mid: int = 0


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """The readings that a device sent together.

    device       key of the device
    values       metric → value, at least one
    received_at  ms, when the hub got it
    ts           ms as the device gave it, or None for "at arrival"
    boot, n      the device's own counters, when it numbers its frames
    mark         64-bit identity, to tell a duplicate; None when there is nothing to tell it by
    mark_ms      how far back a frame with the same mark is a duplicate; 0: not looked up (the mark is only kept)
    retained     the broker kept it: it tells a state, not a reading at arrival
    """

    device: str
    values: dict[str, Value]
    received_at: int
    ts: int | None = None
    boot: int | None = None
    n: int | None = None
    mark: int | None = None
    mark_ms: int = 0
    retained: bool = False


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """The device (or its last will) says that it is online or offline. `sleep_s`: how long it is silent on purpose."""

    device: str
    online: bool
    received_at: int
    sleep_s: int | None = None
    fw: str = ""
    retained: bool = False


class Announce(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says about itself. Only what is given changes.

    metrics   name → {"unit"?, "class"?}
    commands  name → {"type": one of COMMAND_TYPES, "min"?, "max"?, "step"?, "unit"?, "options"?}
    """

    device: str
    name: str = ""
    model: str = ""
    fw: str = ""
    metrics: dict[str, dict[str, str]] = {}
    commands: dict[str, dict[str, Any]] = {}


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """A device's answer to a command. `progress` from 0 to 1."""

    device: str
    cid: str
    status: AckStatus
    received_at: int
    value: Value | None = None
    message: str = ""
    progress: float | None = None


Event = Frame | Presence | Announce | Ack


def topic(key: str, *levels: str, gateway: str | None = None) -> str:
    """Return a device's topic, below its gateway when it has one: hub/<gateway>/sub/<key>/…"""
    return "/".join((ROOT, *((gateway, SUB) if gateway else ()), key, *levels))


def command_topic(key: str, name: str, cid: str, gateway: str | None = None) -> str:
    """Return where a command is published: hub/<key>/cmd/<name>/<cid>."""
    return topic(key, CMD, name, cid, gateway=gateway)


def command_payload(args: object) -> bytes:
    """Return the raw argument: on, off, 21.5, the text itself; JSON for anything else; empty for none."""
    if args is None:
        return b""
    if isinstance(args, bool):
        return b"on" if args else b"off"
    return args.encode() if isinstance(args, str) else msgspec.json.encode(args)


def read(message: Message) -> tuple[str | None, list[Event]]:
    """Return the gateway that speaks (None: the device itself) and what the message says.

    An echo of the hub's own publish says nothing. Raises Bad for what cannot be taken in.
    """
    gateway, key, rest = _address(message.topic)
    if len(message.payload) > v.MAX_PAYLOAD:
        raise Bad("too_large", f"{len(message.payload)} bytes; at most {v.MAX_PAYLOAD}")
    match rest:
        case [kind, *_] if kind in _OURS:
            return gateway, []
        case ["telemetry"]:
            return gateway, list(_telemetry(key, message))
        case ["telemetry", metric]:
            return gateway, [_scalar(key, metric, message)]
        case ["status"]:
            return gateway, [_status(key, message)]
        case ["meta"]:
            return gateway, _meta(key, message)
        case ["meta", item]:
            return gateway, _meta_item(key, item, message)
        case ["location"]:
            return gateway, [_location(key, message)]
        case ["ack", cid]:
            return gateway, [_ack(key, cid, message)]
    raise Bad("topic_unknown", f"nothing is expected at {'/'.join(rest) or 'this level'}; see the topics in the docs")


def device_of(topic_: str) -> str:
    """Return the key that a topic claims, or "" when it has none (for filing a Reject)."""
    try:
        return _address(topic_)[1]
    except Bad:
        return ""


def _address(topic_: str) -> tuple[str | None, str, list[str]]:
    match topic_.split("/"):
        case ["hub", gateway, "sub", key, *rest]:
            pass
        case ["hub", key, *rest]:
            gateway = ""
        case _:
            raise Bad("topic_unknown", f"topics of devices begin with {ROOT}/<key>/")
    if not v.is_key(key) or (gateway and not v.is_key(gateway)):
        raise Bad("topic_unknown", f"{key[:70]!r} is no device key: lower case letters, digits, - and _, at most 63")
    return gateway or None, key, rest


def _hash(*parts: object) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return int.from_bytes(digest.digest(), signed=True)


def _packet_mark(message: Message, index: int = 0) -> tuple[int | None, int]:
    """Tell a redelivery by packet id, topic and payload; the packet id stays the same (MQTT 3.1.1, 4.4)."""
    if message.qos == 0:
        return None, 0
    return _hash("mid", message.topic, message.mid, index, message.payload), REDELIVERY_MS if message.dup else 0


def _scalar(key: str, metric: str, message: Message) -> Frame:
    name = v.name_of(metric)
    value = v.scalar_of(name, v.text_of(message.payload))
    mark, mark_ms = _packet_mark(message)
    return Frame(
        device=key,
        values={name: value},
        received_at=message.received_at,
        mark=mark,
        mark_ms=mark_ms,
        retained=message.retain,
    )


def _telemetry(key: str, message: Message) -> list[Frame]:
    decoded = v.json_of(message.payload)
    entries = decoded if isinstance(decoded, list) else [decoded]
    if not entries:
        raise Bad("bad_value", "the batch is empty")
    return [_entry(key, entry, index, message) for index, entry in enumerate(entries)]


def _entry(key: str, entry: object, index: int, message: Message) -> Frame:
    where = f"entry {index}: " if index else ""
    if not isinstance(entry, dict):
        raise Bad("bad_value", f'{where}expected an object such as {{"temperature": 21.5}}')
    try:
        return _frame(key, entry, index, message)
    except Bad as bad:
        raise Bad(bad.reason, where + bad.detail) from None


def _frame(key: str, entry: dict[str, Any], index: int, message: Message) -> Frame:
    _same_device(key, entry)
    nested = entry.get("values")
    values = v.flatten(nested if isinstance(nested, dict) else _unreserved(entry))
    if not values:
        raise Bad("bad_value", "there is no value in it")
    ts = _instant(entry, message.received_at)
    boot, n = _counters(entry)
    if n is not None:
        mark, mark_ms = _hash("n", key, boot, n), v.MAX_COUNTER
    elif entry.get("ts") is not None:
        mark, mark_ms = _hash("ts", key, ts, msgspec.json.encode(values)), v.MAX_COUNTER
    else:
        mark, mark_ms = _packet_mark(message, index)
    return Frame(
        device=key,
        values=values,
        received_at=message.received_at,
        ts=ts,
        boot=boot,
        n=n,
        mark=mark,
        mark_ms=mark_ms,
        retained=message.retain,
    )


def _counters(entry: dict[str, Any]) -> tuple[int | None, int | None]:
    # A counter without the boot it belongs to begins again after each restart, so it tells no duplicates.
    if entry.get("boot") is None or entry.get("seq") is None:
        return None, None
    return v.counter("boot", entry["boot"]), v.counter("seq", entry["seq"])


def _unreserved(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _RESERVED}


def _same_device(key: str, entry: dict[str, Any]) -> None:
    claimed = entry.get("device", entry.get("device_id", key))
    if claimed != key:
        raise Bad("identity_mismatch", f"the payload says {str(claimed)[:70]!r}, the topic {key!r}; the topic decides")


def _instant(entry: dict[str, Any], received_at: int) -> int | None:
    if (ts := entry.get("ts")) is not None:
        return v.milliseconds(ts)
    if (dt := entry.get("dt")) is None:
        return None
    if isinstance(dt, bool) or not isinstance(dt, int | float) or not -366 * v.DAY_MS <= dt <= 0:
        raise Bad("bad_timestamp", f"dt is {str(dt)[:40]!r}; it must be ms before arrival: from minus a year to 0")
    return received_at + round(dt)


def _location(key: str, message: Message) -> Frame:
    decoded = v.json_of(message.payload)
    if not isinstance(decoded, dict):
        raise Bad("bad_value", 'expected {"lat": …, "lon": …}')
    values = {name: decoded[name] for name in _LOCATION_KEYS if decoded.get(name) is not None}
    for name, limit in (("lat", 90), ("lon", 180)):
        at = values.get(name)
        if isinstance(at, bool) or not isinstance(at, int | float) or not -limit <= at <= limit:
            raise Bad("bad_value", f"{name} is {str(at)[:40]!r}; it must be a number from -{limit} to {limit}")
    rest = {name: item for name, item in decoded.items() if name in _RESERVED}
    return _frame(key, {**rest, "values": values}, 0, message)


def _status(key: str, message: Message) -> Presence:
    text = v.text_of(message.payload).strip()
    given = v.json_of(message.payload) if text.startswith("{") else {"state": text.lower()}
    if given.get("state") not in ("online", "offline"):
        raise Bad("bad_value", f"status is {text[:40]!r}; it must be online or offline")
    sleep_s = given.get("sleep_s")
    if sleep_s is not None:
        sleep_s = v.counter("sleep_s", sleep_s)
    return Presence(
        device=key,
        online=given["state"] == "online",
        received_at=message.received_at,
        sleep_s=sleep_s,
        fw=_text(given, "fw"),
        retained=message.retain,
    )


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > v.MAX_NAME or "\0" in value:
        raise Bad("bad_value", f"{name} must be a text of at most {v.MAX_NAME} characters")
    return value


def _meta(key: str, message: Message) -> list[Event]:
    if not message.payload:
        return []  # a retained announcement was withdrawn; what was learned stays
    given = v.json_of(message.payload)
    if not isinstance(given, dict):
        raise Bad("bad_value", "meta must be an object")
    metrics, commands = given.get("metrics") or {}, given.get("commands") or {}
    if not isinstance(metrics, dict) or not isinstance(commands, dict):
        raise Bad("bad_value", "metrics and commands must be objects: name → description")
    if len(metrics) > v.MAX_METRICS or len(commands) > v.MAX_METRICS:
        raise Bad("too_many_metrics", f"at most {v.MAX_METRICS} metrics and as many commands")
    return [
        Announce(
            device=key,
            name=_text(given, "name"),
            model=_text(given, "model"),
            fw=_text(given, "fw"),
            metrics={v.name_of(name): _metric(spec) for name, spec in metrics.items()},
            commands={_command_name(name): _command(name, spec) for name, spec in commands.items()},
        ),
    ]


def _meta_item(key: str, item: str, message: Message) -> list[Event]:
    text = v.text_of(message.payload).strip()
    if not text:
        return []
    spec = v.json_of(message.payload) if text.startswith("{") else text
    if isinstance(spec, dict) and "type" in spec:
        return [Announce(device=key, commands={_command_name(item): _command(item, spec)})]
    return [Announce(device=key, metrics={v.name_of(item): _metric(spec)})]


def _metric(spec: object) -> dict[str, str]:
    if isinstance(spec, str):
        spec = {"unit": spec}
    if not isinstance(spec, dict):
        raise Bad("bad_value", 'a metric is described by its unit or by {"unit": …, "class": …}')
    return {name: _text(spec, name) for name in ("unit", "class") if spec.get(name)}


def _command_name(name: str) -> str:
    if "/" in v.name_of(name):
        raise Bad("bad_value", f"command name {name!r} must not have a slash: it is one level of a topic")
    return name


def _command(name: str, spec: object) -> dict[str, Any]:
    if isinstance(spec, str):
        spec = {"type": spec}
    if not isinstance(spec, dict) or spec.get("type") not in COMMAND_TYPES:
        raise Bad("bad_value", f"command {name!r} needs a type: {', '.join(COMMAND_TYPES)}")
    known: dict[str, Any] = {"type": spec["type"]}
    for limit in ("min", "max", "step"):
        if spec.get(limit) is not None:
            known[limit] = _number(f"{name}.{limit}", spec[limit])
    if spec["type"] == "enum":
        known["options"] = _options(name, spec.get("options"))
    if unit := _text(spec, "unit"):
        known["unit"] = unit
    return known


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Bad("bad_value", f"{name} must be a number")
    return v.value_of(name, value)  # type: ignore[return-value]  # a number stays a number


def _options(name: str, options: object) -> list[Value]:
    if not isinstance(options, list) or not 0 < len(options) <= v.MAX_METRICS:
        raise Bad("bad_value", f"command {name!r} is an enum: it needs options, a list")
    return [v.value_of(f"{name}.options", option) for option in options]


def _ack(key: str, cid: str, message: Message) -> Ack:
    text = v.text_of(message.payload).strip()
    given = v.json_of(message.payload) if text.startswith("{") else _plain_ack(text)
    status = _ACK_STATUS.get(str(given.get("status")))
    if status is None:
        raise Bad("bad_value", f"ack is {text[:40]!r}; it must be ok, error <text>, or have a status: {_ACK_WORDS}")
    value = given.get("value")
    progress = given.get("progress")
    return Ack(
        device=key,
        cid=v.name_of(cid),
        status=status,
        received_at=message.received_at,
        value=None if value is None else v.value_of("value", value),
        message=v.short_text("message", str(given.get("message") or "")),
        progress=None if progress is None else min(1.0, max(0.0, _number("progress", progress))),
    )


_ACK_WORDS: Final = ", ".join(_ACK_STATUS)


def _plain_ack(text: str) -> dict[str, str]:
    word, _, rest = text.partition(" ")
    return {"status": word.lower(), "message": rest}
