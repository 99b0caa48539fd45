"""PURE. What a value, a name and an instant may be, and why something was refused.

Everything that comes from outside passes here once; what has passed can be stored by every
database and shown by every browser. Nothing here reads a clock or does I/O.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, Literal, get_args

import msgspec

Value = bool | int | float | str

Reason = Literal[
    "topic_unknown",
    "device_unknown",
    "device_disabled",
    "too_large",
    "not_utf8",
    "not_json",
    "nested_too_deep",
    "number_out_of_range",
    "bad_value",
    "bad_timestamp",
    "identity_mismatch",
    "too_many_metrics",
    "rate_limited",
    "dialect_error",
]
REASONS: Final[tuple[str, ...]] = get_args(Reason)

MAX_PAYLOAD: Final = 64 * 1024
MAX_METRICS: Final = 500
MAX_NAME: Final = 128
MAX_NESTING: Final = 10
MAX_TEXT: Final = 1024
# The largest integer that a JavaScript number, and so a browser, holds exactly.
MAX_INTEGER: Final = 2**53 - 1
MAX_COUNTER: Final = 2**63 - 1
DAY_MS: Final = 86_400_000
# 2020-01-01: no device clock that is right shows less (mqtt.md).
EARLIEST_MS: Final = 1_577_836_800_000

KEY: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WORDS: Final = {"true": True, "on": True, "false": False, "off": False}
_NOT_NUMBERS: Final = {"nan", "inf", "-inf", "+inf", "infinity", "-infinity"}
_decode = msgspec.json.Decoder().decode


class Bad(ValueError):  # noqa: N818  a refusal of input, not a fault of ours
    """The message cannot be taken in; `reason` is one of the closed list, `detail` says where and what to do."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the reason and the sentence for the Reject."""
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


def is_key(text: str) -> bool:
    """Whether the text may be a device key: topic level, MQTT username, client id and group name at once."""
    return KEY.fullmatch(text) is not None


def text_of(payload: bytes) -> str:
    """Decode UTF-8, or refuse with the position of the first bad byte."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise Bad("not_utf8", f"byte {error.start} (0x{payload[error.start]:02x}) is not UTF-8") from None


def json_of(payload: bytes) -> Any:  # noqa: ANN401  JSON is any of six types
    """Decode JSON strictly: no NaN, no overflow, no duplicate keys, nothing behind the end."""
    try:
        decoded = _decode(payload)
    except UnicodeDecodeError:
        text_of(payload)
        raise Bad("not_utf8", "a text in the JSON is not UTF-8") from None
    except RecursionError:
        raise Bad("nested_too_deep", f"nested deeper than {MAX_NESTING} levels") from None
    except msgspec.ValidationError as error:
        raise Bad("number_out_of_range", str(error)) from None
    except msgspec.DecodeError as error:
        raise Bad("not_json", str(error)) from None
    if isinstance(decoded, dict | list):
        _refuse_duplicate_keys(payload, decoded)
    return decoded


def _members(decoded: object, depth: int = 0) -> int:
    """Count the members of all objects inside; refuse what is nested too deep."""
    if depth > MAX_NESTING:
        raise Bad("nested_too_deep", f"nested deeper than {MAX_NESTING} levels")
    if isinstance(decoded, dict):
        return len(decoded) + sum(_members(item, depth + 1) for item in decoded.values())
    if isinstance(decoded, list):
        return sum(_members(item, depth + 1) for item in decoded)
    return 0


def _refuse_duplicate_keys(payload: bytes, decoded: object) -> None:
    # Each member has one colon outside texts: as many colons as decoded members proves that none was doubled.
    # More of them (a colon in a text, or a double) are looked at closely by the slower standard parser.
    if payload.count(b":") == _members(decoded):
        return

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in items:
            if key in result:
                raise Bad("bad_value", f"key {key!r} appears twice in one object")
            result[key] = item
        return result

    json.loads(payload, object_pairs_hook=pairs)


def name_of(text: str) -> str:
    """Check the name of a metric or command: 1 to 128 bytes, printable, no wildcard."""
    if not text or len(text.encode(errors="replace")) > MAX_NAME:
        raise Bad("bad_value", f"name {text[:40]!r} must have 1 to {MAX_NAME} bytes")
    if not text.isprintable() or "+" in text or "#" in text:
        raise Bad("bad_value", f"name {text[:40]!r} has a control character or a wildcard")
    return text


def value_of(name: str, value: object) -> Value:
    """Check one value; the message names it: "values.temp is …; it must be …"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise Bad("number_out_of_range", f"{name} is beyond ±2^53; send it as text")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Bad("number_out_of_range", f"{name} is {value}; it must be a finite number")
        return value
    if isinstance(value, str):
        return short_text(name, value)
    raise Bad("bad_value", f"{name} is {type(value).__name__}; it must be a number, true, false or text")


def short_text(name: str, text: str) -> str:
    if "\0" in text:
        raise Bad("bad_value", f"{name} has a NUL character at position {text.index(chr(0))}")
    if len(text.encode(errors="replace")) > MAX_TEXT:
        raise Bad("bad_value", f"{name} has more than {MAX_TEXT} bytes of text")
    return text


def scalar_of(name: str, text: str) -> Value:
    """Read a scalar payload: a number, true/false/on/off (any case), else text."""
    text = text.strip(" \t\r\n")
    lower = text.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    if lower in _NOT_NUMBERS:
        raise Bad("number_out_of_range", f"{name} is {text}; it must be a finite number")
    if len(text) <= MAX_TEXT and _NUMBER.fullmatch(text):
        # 400 digits are no integer that anybody meant: as float they are refused as infinite.
        integer = len(text) <= 20 and text.lstrip("+-").isdigit()
        return value_of(name, int(text) if integer else float(text))
    if not text:
        raise Bad("bad_value", f"{name} is empty; send a number, true, false or text")
    return value_of(name, text)


def flatten(values: dict[str, Any], prefix: str = "", depth: int = 1) -> dict[str, Value]:
    """Flatten nested objects and arrays with dots; null means "not known" and is no reading.

    {"env": {"t": 21}, "rgb": [1, 2]} becomes {"env.t": 21, "rgb.0": 1, "rgb.1": 2}.
    """
    if depth > MAX_NESTING:
        raise Bad("nested_too_deep", f"{prefix[:-1]} is nested deeper than {MAX_NESTING} levels")
    flat: dict[str, Value] = {}
    for key, value in values.items():
        name = prefix + key
        if value is None:
            continue
        if isinstance(value, list):
            value = {str(index): item for index, item in enumerate(value)}  # noqa: PLW2901
        if isinstance(value, dict):
            flat.update(flatten(value, f"{name}.", depth + 1))
        else:
            flat[name_of(name)] = value_of(name, value)
    if len(flat) > MAX_METRICS:
        raise Bad("too_many_metrics", f"{len(flat)} metrics in one message; at most {MAX_METRICS}")
    return flat


def milliseconds(ts: object) -> int:
    """Read an instant given in s, ms or µs (told by magnitude) as ms since the epoch; "bad_timestamp" otherwise."""
    if isinstance(ts, bool) or not isinstance(ts, int | float) or not math.isfinite(ts):
        raise Bad("bad_timestamp", f"ts is {str(ts)[:40]!r}; it must be a number: s, ms or µs since 1970, UTC")
    size = abs(ts)
    # Until the year 5138 seconds stay below 1e11, milliseconds below 1e14 and microseconds below 1e17.
    if size < 1e11:
        return round(ts * 1000)
    if size < 1e14:
        return round(ts)
    if size < 1e17:
        return round(ts / 1000)
    raise Bad("bad_timestamp", f"ts {ts} is no time in s, ms or µs since 1970")


def counter(name: str, value: object) -> int:
    """Check one of a device's own counters (`boot`, `seq`): an integer from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNTER:
        raise Bad("bad_value", f"{name} is {str(value)[:40]!r}; it must be an integer from 0")
    return value
