"""PURE. A command's raw argument, or a desired setting → a value as it was announced, or a refusal that teaches."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from telemetry_hub.device.words import MAX_TEXT, Value, scalar

Spec = Mapping[str, Any]
TYPES: Final = ("bool", "number", "enum", "text", "action", "update")
SETTING_TYPES: Final = ("bool", "number", "enum", "text")
_WORDS: Final = {"on": True, "true": True, "off": False, "false": False}
_DIGITS_OF_SHA256: Final = 64


class Nonsense(ValueError):
    """The command cannot be meant for this device; the message says what it takes."""


class Update(NamedTuple):
    """Which firmware to install, and where it is to be had."""

    url: str
    size: int
    sha256: str
    version: str


Argument = Value | Update | None


def spec(type_: str, given: Mapping[str, Any], types: tuple[str, ...] = TYPES) -> Spec:
    """Return a description as it is announced; ValueError says what is wrong with it."""
    said = {"type": type_, **{name: part for name, part in given.items() if part not in (None, "", (), False)}}
    if type_ not in types:
        raise ValueError(f"type is {type_!r}; there are {', '.join(types)}")
    if (type_ == "enum") != bool(said.get("options")):
        raise ValueError("options belong to the type enum, and it needs them")
    return said


def read(specs: Mapping[str, Spec], name: str, payload: bytes, longest: int = MAX_TEXT) -> Argument:
    """Return the argument as its announced type (None for an action); raise Nonsense otherwise."""
    if (known := specs.get(name)) is None:
        raise Nonsense(f"there is no {name[:40]!r}; this device takes {', '.join(sorted(specs)) or 'no commands'}")
    if known["type"] == "action":
        return None  # whatever stands there: an action takes no argument
    if known["type"] == "update":
        return _update(name, _text(name, payload, MAX_TEXT))
    text = _text(name, payload, longest)
    return fits(name, known, _value(known, text))


def fits(name: str, known: Spec, value: object) -> Value:
    """Return a value that fits what was announced; raise Nonsense otherwise."""
    match known["type"]:
        case "bool":
            if isinstance(value, bool):
                return value
            raise Nonsense(f"{name} is {value!r}; it must be on or off")
        case "number":
            return _number(name, known, value)
        case "enum":
            if value in known["options"]:
                return scalar(name, value)
            raise Nonsense(f"{name} is {value!r}; it must be one of {', '.join(map(str, known['options']))}")
    if isinstance(value, str) and len(value.encode()) <= MAX_TEXT:
        return value
    raise Nonsense(f"{name} must be a text of at most {MAX_TEXT} bytes")


def _text(name: str, payload: bytes, longest: int) -> str:
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        raise Nonsense(f"{name} is no UTF-8 text") from None
    if not 0 < len(text) <= longest or not text.isprintable():
        raise Nonsense(f"{name} needs an argument of 1 to {longest} printable characters")
    return text


def _value(known: Spec, text: str) -> object:
    match known["type"]:
        case "bool":
            return {"1": True, "0": False}.get(text, _WORDS.get(text.lower(), text))
        case "number":
            return _parsed(text)
        case "enum":
            word = text.strip('"')
            return next((option for option in known["options"] if str(option) == word), word)
    return text


def _parsed(text: str) -> object:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, int | float) else text


def _number(name: str, known: Spec, value: object) -> float:
    low, high = known.get("min", -math.inf), known.get("max", math.inf)
    said = f"it must be a finite number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Nonsense(f"{name} is {value!r}, not a number; {said}")
    if not low <= value <= high:
        raise Nonsense(f"{name} is {value!r}; {said}")
    step = known.get("step")
    return float(value) if step is None else round(low + round((value - low) / step) * step, 6)


def _update(name: str, text: str) -> Update:
    try:
        given = json.loads(text)
        update = Update(str(given["url"]), int(given["size"]), str(given["sha256"]).lower(), str(given["version"]))
    except (ValueError, KeyError, TypeError):
        raise Nonsense(f'{name} needs {{"url", "size", "sha256", "version"}}') from None
    if len(update.sha256) != _DIGITS_OF_SHA256 or set(update.sha256) - set("0123456789abcdef") or update.size < 1:
        raise Nonsense(f"{name} has no usable size and sha256")
    return update
