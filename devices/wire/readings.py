"""PURE. Payloads with readings (telemetry, location) → Frames, each with what a duplicate of it is told by."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devices import values as v
from devices.values import Bad
from devices.wire.events import Frame

if TYPE_CHECKING:
    from devices.values import Value
    from devices.wire.events import Message

# A redelivery follows its first delivery by a reconnect, not by hours; and within this window a broker may have
# used a packet id again (65,535 of them), so topic and payload have to be the same too.
REDELIVERY_MS: Final = 600_000
LONGEST_DELAY_MS: Final = 366 * v.DAY_MS
_RESERVED: Final = frozenset({"ts", "dt", "boot", "seq", "device", "device_id"})


def scalar(key: str, metric: str, message: Message) -> Frame:
    """Read hub/<key>/telemetry/<metric>: the value as text."""
    name = v.name_of(metric)
    text = v.text_of(message.payload)
    with v.within():
        value = v.scalar_of(name, text)
    mark, mark_ms = _packet_mark(message)
    return Frame(
        device=key,
        values={name: value},
        received_at=message.received_at,
        mark=mark,
        mark_ms=mark_ms,
        retained=message.retain,
    )


def telemetry(key: str, message: Message) -> list[Frame]:
    """Read hub/<key>/telemetry: one object, or an array of them. One bad entry refuses the whole message."""
    decoded = v.json_of(message.payload)
    if not isinstance(decoded, list):
        return [_entry(key, decoded, 0, message)]
    if not decoded:
        raise Bad("bad_value", "the batch is empty", path=())
    return [_of_batch(key, entry, index, message) for index, entry in enumerate(decoded)]


def location(key: str, message: Message) -> Frame:
    """Read hub/<key>/location: like telemetry, but lat and lon must be there and on the globe."""
    decoded = v.json_of(message.payload)
    if not isinstance(decoded, dict):
        raise Bad("bad_value", 'expected {"lat": …, "lon": …}', path=())
    for name, limit in (("lat", 90), ("lon", 180)):
        at = decoded.get(name)
        if isinstance(at, bool) or not isinstance(at, int | float) or not -limit <= at <= limit:
            raise Bad(
                "bad_value", f"{name} is {v.brief(at)}; it must be a number from -{limit} to {limit}", path=(name,)
            )
    return _entry(key, decoded, 0, message)


def _of_batch(key: str, entry: object, index: int, message: Message) -> Frame:
    try:
        return _entry(key, entry, index, message)
    except Bad as bad:
        path = (str(index), *(bad.path or ()))
        raise Bad(bad.reason, f"entry {index}: {bad.detail}", path=path, is_name=bad.is_name) from None


def _entry(key: str, entry: object, index: int, message: Message) -> Frame:
    if not isinstance(entry, dict):
        problem = f'{v.brief(entry)} is no reading; expected an object such as {{"temperature": 21.5}}'
        raise Bad("bad_value", problem, path=())
    _same_device(key, entry)
    values = _values(entry)
    ts = _instant(entry, message)
    boot, n = _counters(entry)
    mark: int | None
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


def entry_of(frame: Frame) -> bytes:
    """Write a frame as the payload of hub/<key>/telemetry: what `telemetry` reads as the same frame again."""
    # An instant before 1973 is taken for seconds, so it is given in seconds.
    ts = frame.ts if frame.ts is None or v.is_ms(frame.ts) else frame.ts / 1000
    given = {"ts": ts, "boot": frame.boot, "seq": frame.n, "values": frame.values}
    return msgspec.json.encode({name: value for name, value in given.items() if value is not None})


def _same_device(key: str, entry: dict[str, Any]) -> None:
    for name in ("device", "device_id"):
        claimed = entry.get(name)
        if claimed is not None and claimed != key:
            problem = f"{name} is {v.brief(claimed)}, the topic says {key!r}; the topic decides"
            raise Bad("identity_mismatch", problem, path=(name,))


def _values(entry: dict[str, Any]) -> dict[str, Value]:
    nested = entry.get("values", {})
    if not isinstance(nested, dict):
        problem = f'values is {v.brief(nested)}; it must be an object such as {{"temperature": 21.5}}'
        raise Bad("bad_value", problem, path=("values",))
    # What stands beside `values` is a reading too: nothing that was sent gets lost without a word.
    beside = {name: value for name, value in entry.items() if name not in _RESERVED and name != "values"}
    if twice := beside.keys() & nested.keys():
        name = min(twice)
        raise Bad("bad_value", f"{name!r} is there twice: in values and beside it", path=("values", name), is_name=True)
    try:
        values = v.flatten(beside | nested)
    except Bad as bad:
        raise (bad.under("values") if bad.path and bad.path[0] in nested else bad) from None
    if not values:
        raise Bad("bad_value", 'there is no value in it; expected something like {"temperature": 21.5}', path=())
    return values


def _counters(entry: dict[str, Any]) -> tuple[int | None, int | None]:
    """Read `boot` and `seq`. One without the other is no number of a frame: seq begins again with each boot."""
    boot, n = (None if entry.get(name) is None else v.counter(name, entry[name]) for name in ("boot", "seq"))
    return (None, None) if boot is None or n is None else (boot, n)


def _instant(entry: dict[str, Any], message: Message) -> int | None:
    if (ts := entry.get("ts")) is not None:
        return v.milliseconds(ts)
    if (dt := entry.get("dt")) is None:
        return None
    if isinstance(dt, bool) or not isinstance(dt, int | float) or not -LONGEST_DELAY_MS <= dt <= 0:
        raise Bad(
            "bad_timestamp", f"dt is {v.brief(dt)}; it must be ms before arrival: from minus a year to 0", path=("dt",)
        )
    # Nobody knows when a retained message arrived first, so "before arrival" says nothing.
    return None if message.retain else message.received_at + round(dt)


def _packet_mark(message: Message, index: int = 0) -> tuple[int | None, int]:
    """Tell a redelivery by packet id, topic and payload; the packet id stays the same (MQTT 3.1.1, 4.4)."""
    if message.qos == 0:
        return None, 0
    window = REDELIVERY_MS + message.away_ms if message.dup else 0
    return _hash("mid", message.topic, message.mid, index, message.payload), window


def _hash(*parts: object) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return int.from_bytes(digest.digest(), signed=True)
