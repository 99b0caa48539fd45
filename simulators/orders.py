"""PURE. A command's raw argument → a value that fits what the device announced, or a refusal that teaches."""

import math
from collections.abc import Mapping
from typing import Any, Final

from devices import values
from devices.values import Bad, Value

Spec = Mapping[str, Any]
# What fits on the small displays that are simulated here; more is refused rather than cut.
MAX_TEXT: Final = 64


class Nonsense(ValueError):
    """The order cannot be meant for this device; the message says what it takes."""


def read(commands: Mapping[str, Spec], name: str, payload: bytes) -> Value | None:
    """Return the argument as its announced type (None for an action); raise Nonsense otherwise."""
    spec = commands.get(name)
    if spec is None:
        raise Nonsense(f"there is no {name[:40]!r}; this device takes {', '.join(sorted(commands))}")
    if spec["type"] == "action":
        return None  # whatever stands there: an action takes no argument
    text = _text(name, payload)
    match spec["type"]:
        case "bool":
            return _bool(name, text)
        case "number":
            return _number(name, spec, text)
        case "enum":
            return _option(name, spec, text)
    return text


def _text(name: str, payload: bytes) -> str:
    try:
        text = values.short_text(name, values.text_of(payload)).strip()
    except Bad as bad:
        raise Nonsense(bad.detail) from None
    if not text or len(text) > MAX_TEXT or not text.isprintable():
        raise Nonsense(f"{name} needs an argument of 1 to {MAX_TEXT} printable characters")
    return text


def _scalar(name: str, text: str) -> Value:
    try:
        return values.scalar_of(name, text)
    except Bad as bad:
        raise Nonsense(bad.detail) from None


def _bool(name: str, text: str) -> bool:
    value = {"1": True, "0": False}.get(text, _scalar(name, text))
    if not isinstance(value, bool):
        raise Nonsense(f"{name} is {text!r}; it must be on or off")
    return value


def _number(name: str, spec: Spec, text: str) -> float:
    value = _scalar(name, text)
    low, high = spec.get("min", -math.inf), spec.get("max", math.inf)
    if isinstance(value, bool | str) or not low <= value <= high:
        raise Nonsense(f"{name} is {text!r}; it must be a number from {low:g} to {high:g}")
    step = spec.get("step")
    return float(value) if step is None else round(low + round((value - low) / step) * step, 6)


def _option(name: str, spec: Spec, text: str) -> str:
    word = text.strip('"')
    if word not in spec["options"]:
        raise Nonsense(f"{name} is {text!r}; it must be one of {', '.join(spec['options'])}")
    return word
