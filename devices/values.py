"""PURE. What a value, a name and an instant may be, and why something was refused.

Everything that comes from outside passes here once; what has passed can be stored by every
database and shown by every browser. Nothing here reads a clock or does I/O.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, Self, get_args

import msgspec

from devices import places

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
# Until the year 5138 an instant in s, ms or µs stays below these.
_BELOW_S, _BELOW_MS, _BELOW_US = 1e11, 1e14, 1e17

KEY: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WORDS: Final = {"true": True, "on": True, "false": False, "off": False}
_NOT_NUMBERS: Final = {"nan", "inf", "infinity"}
# Half of a pair that stands for one character in UTF-16: no UTF-8, so no database and no browser takes it.
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_BYTE: Final = re.compile(r"\(byte \d+\)")
_decode = msgspec.json.Decoder().decode


class Bad(ValueError):
    """The message cannot be taken in; `reason` is one of the closed list, `detail` says where and what to do.

    position  the byte of the payload at which the fault is; None when that is not known, or it is not in the payload
    path      the names that lead to the fault in JSON, where only they are known; `placed` finds the position by them
    is_name   whether the last of these names is the fault, not the value behind it
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        position: int | None = None,
        path: tuple[str, ...] | None = None,
        is_name: bool = False,
    ) -> None:
        """Keep the reason, the sentence and the place for the Reject."""
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
        self.position = position
        self.path = path
        self.is_name = is_name

    def under(self, *names: str) -> Self:
        """Say that this was found in what stands under these names."""
        self.path = (*names, *(self.path or ()))
        return self

    def placed(self, payload: bytes) -> Self:
        """Find the position in the payload, where it follows from the path."""
        if self.position is None and self.path is not None:
            nul = payload.find(0)  # only a plain text can have one
            at = places.start(payload) if nul < 0 else nul
            if self.path and _is_json(payload):
                at = places.member(payload, self.path, is_name=self.is_name)
            self.position = at
        return self


@contextmanager
def within(*names: str) -> Iterator[None]:
    """Let what is refused in this block be looked for under these names."""
    try:
        yield
    except Bad as bad:
        raise bad.under(*names) from None


def is_key(text: str) -> bool:
    """Whether the text may be a device key: topic level, MQTT username, client id and group name at once."""
    return KEY.fullmatch(text) is not None


def text_of(payload: bytes) -> str:
    """Decode UTF-8, or refuse with the position of the first bad byte."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise Bad(
            "not_utf8", f"byte {error.start} (0x{payload[error.start]:02x}) is not UTF-8", position=error.start
        ) from None


def json_of(payload: bytes) -> Any:  # noqa: ANN401  JSON is any of six types
    """Decode JSON strictly: no NaN, no overflow, no duplicate keys, nothing behind the end."""
    try:
        decoded = _decode(payload)
    except UnicodeDecodeError:
        text_of(payload)
        raise Bad("not_utf8", "a text in the JSON is not UTF-8") from None
    except RecursionError:
        raise _too_deep(payload) from None
    except msgspec.ValidationError:
        problem = "a number in it is beyond ±1.8e308; send it as text"
        raise Bad("number_out_of_range", problem, position=places.too_big(payload)) from None
    except msgspec.DecodeError as error:
        raise _not_json(payload, str(error)) from None
    if isinstance(decoded, dict | list):
        _refuse_duplicate_keys(payload, decoded)
    return decoded


def _is_json(payload: bytes) -> bool:
    try:
        return isinstance(json_of(payload), dict | list)
    except Bad:
        return False


def _not_json(payload: bytes, said: str) -> Bad:
    if not payload.strip():
        return Bad("not_json", "the payload is empty", position=0)
    at = places.not_json(payload, said)
    # The decoder says no more of half a character than "truncated".
    hint = "; a \\ud8… escape must be one of a pair" if at == places.half_character(payload) else ""
    return Bad("not_json", f"{_BYTE.sub(f'(byte {at})', said)}{hint}", position=at)


def _too_deep(payload: bytes) -> Bad:
    problem = f"nested deeper than {MAX_NESTING} levels"
    return Bad("nested_too_deep", problem, position=places.too_deep(payload, MAX_NESTING))


def _members(payload: bytes, decoded: dict[str, Any] | list[Any], depth: int = 1) -> int:
    """Count the members of all objects inside; refuse what is nested too deep."""
    if depth > MAX_NESTING:
        raise _too_deep(payload)
    members, items = (len(decoded), decoded.values()) if isinstance(decoded, dict) else (0, decoded)
    return members + sum(_members(payload, item, depth + 1) for item in items if isinstance(item, dict | list))


def _refuse_duplicate_keys(payload: bytes, decoded: dict[str, Any] | list[Any]) -> None:
    # Each member has one colon outside texts: as many colons as decoded members proves that none was doubled.
    # More of them (a colon in a text, or a double) are looked at closely by the slower standard parser.
    if payload.count(b":") == _members(payload, decoded):
        return

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items) and (doubled := places.doubled(payload)):
            raise Bad("bad_value", f"key {doubled[0]!r} appears twice in one object", position=doubled[1])
        return result

    json.loads(payload, object_pairs_hook=pairs)


def name_of(text: str) -> str:
    """Check the name of a metric or command: 1 to 128 bytes, printable, no wildcard."""
    if not text or len(text.encode(errors="replace")) > MAX_NAME:
        raise Bad("bad_value", f"name {text[:40]!r} must have 1 to {MAX_NAME} bytes", is_name=True)
    if not text.isprintable() or "+" in text or "#" in text:
        raise Bad("bad_value", f"name {text[:40]!r} has a control character or a wildcard", is_name=True)
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
    """Check a text: at most 1 KiB of UTF-8, without what PostgreSQL refuses (NUL) and what UTF-8 cannot say."""
    if (at := text.find("\0")) >= 0:
        raise Bad("bad_value", f"{name} has a NUL character at position {at}")
    if half := _SURROGATE.search(text):
        raise Bad("bad_value", f"{name} has half a character (a lone surrogate) at position {half.start()}")
    if len(text.encode()) > MAX_TEXT:
        raise Bad("bad_value", f"{name} has more than {MAX_TEXT} bytes of text")
    return text


def json_value(name: str, value: object, depth: int = 1) -> None:
    """Check a whole JSON value, null and nested ones included: the same limits as for readings."""
    if not isinstance(value, dict | list):
        if value is not None:
            value_of(name, value)
        return
    if depth > MAX_NESTING:
        raise Bad("nested_too_deep", f"{name} is nested deeper than {MAX_NESTING} levels")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        json_value(f"{name}.{short_text(name, str(key))}"[:MAX_NAME], item, depth + 1)


def scalar_of(name: str, text: str) -> Value:
    """Read a scalar payload: a number, true/false/on/off (any case), else text."""
    text = text.strip(" \t\r\n")
    lower = text.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    if lower.lstrip("+-") in _NOT_NUMBERS:
        raise Bad("number_out_of_range", f"{name} is {text}; it must be a finite number")
    if len(text) <= MAX_TEXT and _NUMBER.fullmatch(text):
        return value_of(name, int(text) if text.lstrip("+-").isdigit() else float(text))
    if not text:
        raise Bad("bad_value", f"{name} is empty; send a number, true, false or text")
    return value_of(name, text)


def flatten(values: dict[str, Any], prefix: str = "", depth: int = 1) -> dict[str, Value]:
    """Flatten nested objects and arrays with dots; null means "not known" and is no reading.

    {"env": {"t": 21}, "rgb": [1, 2]} becomes {"env.t": 21, "rgb.0": 1, "rgb.1": 2}.
    """
    if depth > MAX_NESTING:
        raise Bad("nested_too_deep", f"{prefix[:-1]} is nested deeper than {MAX_NESTING} levels", path=())
    flat: dict[str, Value] = {}
    for key, value in values.items():
        try:
            _add(flat, prefix + key, value, depth)
        except Bad as bad:
            raise bad.under(key) from None
    if len(flat) > MAX_METRICS:
        raise Bad("too_many_metrics", f"{len(flat)} metrics in one message; at most {MAX_METRICS}", path=())
    return flat


def _add(flat: dict[str, Value], name: str, value: object, depth: int) -> None:
    if value is None:
        return
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    inner = flatten(value, f"{name}.", depth + 1) if isinstance(value, dict) else {name_of(name): value_of(name, value)}
    if not flat.keys().isdisjoint(inner):
        twice = min(flat.keys() & inner.keys())
        raise Bad("bad_value", f"{twice!r} is there twice: once nested, once with dots", is_name=True)
    flat.update(inner)


def milliseconds(ts: object) -> int:
    """Read an instant given in s, ms or µs (told by magnitude) as ms since the epoch; "bad_timestamp" otherwise."""
    if isinstance(ts, bool) or not isinstance(ts, int | float) or ts != ts:  # noqa: PLR0124  NaN alone is unlike itself
        raise Bad("bad_timestamp", f"ts is {brief(ts)}; it must be a number: s, ms or µs since 1970, UTC", path=("ts",))
    size = abs(ts)
    if size < _BELOW_S:
        return round(ts * 1000)
    if size < _BELOW_MS:
        return round(ts)
    if size < _BELOW_US:
        return round(ts / 1000)
    raise Bad("bad_timestamp", f"ts is {brief(ts)}, which is no time in s, ms or µs since 1970", path=("ts",))


def is_ms(ts: int) -> bool:
    """Whether `milliseconds` takes an instant in ms for what it is: not what is close to 1970, or too far off."""
    return _BELOW_S <= abs(ts) < _BELOW_MS


def counter(name: str, value: object) -> int:
    """Check one of a device's own counters (`boot`, `seq`): an integer from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNTER:
        raise Bad("bad_value", f"{name} is {brief(value)}; it must be an integer from 0 to 2^63 - 1", path=(name,))
    return value


def brief(value: object) -> str:
    """Quote what was given, as JSON has it, short enough for a sentence."""
    return json.dumps(value, ensure_ascii=False, default=str)[:40]
