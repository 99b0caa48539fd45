"""PURE. Payloads in which a device describes itself (meta, and meta of one metric or command) → Announce."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from devices import values as v
from devices.values import Bad
from devices.wire.events import Announce

if TYPE_CHECKING:
    from devices.values import Value
    from devices.wire.events import Message

# An update is told where to fetch which firmware: {"url", "size", "sha256", "version"}.
COMMAND_TYPES: Final = ("bool", "number", "enum", "text", "action", "update")
SETTING_TYPES: Final = ("bool", "number", "enum", "text")


def meta(key: str, message: Message) -> list[Announce]:
    """Read hub/<key>/meta."""
    if not message.payload:
        return []  # a retained announcement was withdrawn; what was learned stays
    given = v.json_of(message.payload)
    if not isinstance(given, dict):
        raise Bad("bad_value", f'meta is {v.brief(given)}; it must be an object such as {{"name": "Pump"}}', path=())
    remembers = given.get("remembers")
    return [
        Announce(
            device=key,
            name=label(given, "name"),
            model=label(given, "model"),
            fw=label(given, "fw"),
            metrics=_described("metrics", given, v.name_of, _metric),
            commands=_described("commands", given, command_name, _command),
            settings=_described("settings", given, v.name_of, _setting),
            remembers=None if remembers is None else v.counter("remembers", remembers),
        ),
    ]


def _described(
    part: str, given: dict[str, Any], check: Callable[[str], str], read: Callable[[str, object], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    specs = given.get(part) or {}
    if not isinstance(specs, dict):
        raise Bad("bad_value", f"{part} must be an object: name → description", path=(part,))
    if len(specs) > v.MAX_METRICS:
        raise Bad("too_many_metrics", f"at most {v.MAX_METRICS} {part}", path=(part,))
    known = {}
    for name, spec in specs.items():
        with v.within(part, name):
            known[check(name)] = read(name, spec)
    return known


def meta_item(key: str, item: str, message: Message) -> list[Announce]:
    """Read hub/<key>/meta/<metric or command>: what has a type is a command; a plain text is a metric's unit."""
    text = v.text_of(message.payload).strip()
    if not text:
        return []
    spec = v.json_of(message.payload) if text.startswith("{") else text
    if isinstance(spec, dict) and "type" in spec:
        name = command_name(item)
        with v.within():
            return [Announce(device=key, commands={name: _command(name, spec)})]
    name = v.name_of(item)
    with v.within():
        return [Announce(device=key, metrics={name: _metric(name, spec)})]


def label(given: dict[str, Any], name: str) -> str:
    """Return a short text of a description; "" when it is not there."""
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > v.MAX_NAME:
        problem = f"{name} is {v.brief(value)}; it must be a text of at most {v.MAX_NAME} characters"
        raise Bad("bad_value", problem, path=(name,))
    with v.within(name):
        return v.short_text(name, value)


def command_name(name: str) -> str:
    """Check a command's name: one level of a topic on every broker (nats-server cuts whoever sends it a space)."""
    if "/" in v.name_of(name) or " " in name:
        problem = f"command name {name!r} must not have a slash or a space: it is one level of a topic"
        raise Bad("bad_value", problem, is_name=True)
    return name


def _metric(name: str, spec: object) -> dict[str, str]:
    if isinstance(spec, str):
        spec = {"unit": spec}
    if not isinstance(spec, dict):
        raise Bad("bad_value", f'metric {name!r} is {v.brief(spec)}; describe it as {{"unit": "°C"}} or just "°C"')
    return {part: text for part in ("unit", "class") if (text := label(spec, part))}


def _command(name: str, spec: object) -> dict[str, Any]:
    known = _typed(name, spec, COMMAND_TYPES)
    if isinstance(spec, dict) and spec.get("dangerous"):
        if spec["dangerous"] is not True:
            raise Bad("bad_value", f"{name}.dangerous must be true or false", path=("dangerous",))
        known["dangerous"] = True
    return known


def _setting(name: str, spec: object) -> dict[str, Any]:
    return _typed(name, spec, SETTING_TYPES)


def _typed(name: str, spec: object, types: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(spec, str):
        spec = {"type": spec}
    if not isinstance(spec, dict) or spec.get("type") not in types:
        raise Bad("bad_value", f"{name!r} needs a type: {', '.join(types)}", path=("type",))
    known: dict[str, Any] = {"type": spec["type"]}
    for limit in ("min", "max", "step"):
        if spec.get(limit) is not None:
            with v.within(limit):
                known[limit] = number(f"{name}.{limit}", spec[limit])
    if "min" in known and "max" in known and known["min"] > known["max"]:
        problem = f"{name}.min is {known['min']}, above {name}.max, which is {known['max']}"
        raise Bad("bad_value", problem, path=("min",))
    if spec["type"] == "enum":
        with v.within("options"):
            known["options"] = _options(name, spec.get("options"))
    if unit := label(spec, "unit"):
        known["unit"] = unit
    return known


def number(name: str, value: object) -> float:
    """Check a number that is no reading: a limit, a progress."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Bad("bad_value", f"{name} is {v.brief(value)}; it must be a number")
    v.value_of(name, value)
    return value


def _options(name: str, options: object) -> list[Value]:
    if not isinstance(options, list) or not 0 < len(options) <= v.MAX_METRICS:
        raise Bad("bad_value", f"{name!r} is an enum: it needs options, a list of 1 to {v.MAX_METRICS}")
    known = []
    for index, option in enumerate(options):
        with v.within(str(index)):
            known.append(v.value_of(f"{name}.options", option))
    return known
