"""PURE. What a device and its hub say to each other over MQTT: topics, limits and payloads (docs/protocol/mqtt.md)."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

Value = bool | int | float | str
Status = Literal["accepted", "ok", "error", "rejected", "expired"]
Step = Literal["", "downloading", "downloaded", "verified", "installing", "restarting"]
# Which of a device's topics frames are sent to.
TELEMETRY, LOCATION = "telemetry", "location"

# What a hub takes (docs/protocol/mqtt.md).
MAX_NAME: Final = 128
MAX_TEXT: Final = 1024
MAX_NUMBER: Final = 2**53
MAX_NESTING: Final = 8
MAX_VALUES: Final = 60_000
# A command's id says in its first six characters until when it may be carried out: seconds since 2025, in base 32.
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_SINCE: Final = 1_735_689_600
_HALF: Final = 6


class Publish(NamedTuple):
    """One MQTT message to send, always with QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False


class Send(NamedTuple):
    """The next message to send.

    frames   how many are in it; fresh: how many of them no broker has got before; last: the id of the last of them
    """

    publish: Publish
    what: str
    frames: int = 0
    fresh: int = 0
    last: int = 0


class Outcome(NamedTuple):
    """What became of a command. `accepted` means: under way; `progress` from 0 to 1; `step`: of an update."""

    status: Status = "ok"
    value: Value | None = None
    message: str = ""
    progress: float | None = None
    step: Step = ""


def topic(key: str, *levels: str) -> str:
    """Return one of a device's topics."""
    return "/".join(("hub", key, *levels))


def expiry_of(cid: str) -> int | None:
    """Return until when a command may be carried out (ms), by its id; None when the id does not say."""
    digits = [_ALPHABET.find(letter) for letter in cid]
    if len(cid) != 2 * _HALF or -1 in digits:
        return None
    seconds = 0
    for digit in digits[:_HALF]:
        seconds = seconds * len(_ALPHABET) + digit
    return (_SINCE + seconds) * 1000


def ack(outcome: Outcome) -> bytes:
    """Write an answer: `ok` where that says all, else JSON."""
    given = {
        "status": outcome.status,
        "value": outcome.value,
        "message": outcome.message[: MAX_TEXT // 4] or None,
        "progress": outcome.progress,
        "step": outcome.step or None,
    }
    said = {name: item for name, item in given.items() if item is not None}
    return b"ok" if said == {"status": "ok"} else written(said).encode()


def written(value: object) -> str:
    """Write JSON, as short as it goes; ValueError for what JSON has no word for."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def values(given: Mapping[str, Any]) -> str:
    """Write the readings of a frame; ValueError says what a hub would not take, before it is kept and sent."""
    found = sum(_checked(name, value, 1) for name, value in given.items())
    if not found:
        raise ValueError("a frame needs at least one value that is not None")
    text = written(given)
    if len(text.encode()) > MAX_VALUES:
        raise ValueError(f"the values take {len(text.encode())} bytes; a hub takes {MAX_VALUES}")
    return text


def _checked(name: str, value: object, depth: int) -> int:
    """Return how many readings are in it."""
    if not 0 < len(name.encode()) <= MAX_NAME or not name.isprintable():
        raise ValueError(f"{name!r} is no name of a metric: 1 to {MAX_NAME} bytes that can be printed")
    if isinstance(value, Mapping) and depth < MAX_NESTING:
        return sum(_checked(inner, item, depth + 1) for inner, item in value.items())
    if isinstance(value, list | tuple) and depth < MAX_NESTING:
        return sum(_checked(name, item, depth + 1) for item in value)
    if value is None:
        return 0
    scalar(name, value)
    return 1


def scalar(name: str, value: object) -> Value:
    """Return a value that a hub takes; ValueError says why it takes it not."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value) or (isinstance(value, int) and abs(value) > MAX_NUMBER):
            raise ValueError(f"{name} is {value}; it must be finite, and a whole number at most 2^53")
        return value
    if not isinstance(value, str):
        raise ValueError(f"{name} is {type(value).__name__}; it must be a number, a text, True or False")  # noqa: TRY004  one kind of error for what is given
    if len(value.encode()) > MAX_TEXT:
        raise ValueError(f"{name} has {len(value.encode())} bytes; at most {MAX_TEXT}")
    return value
