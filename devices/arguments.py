"""Arguments of commands and values of settings, in the form that their device announced for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from devices import values, wire
from devices.errors import Refusal

if TYPE_CHECKING:
    from devices.models import Device

_SWITCH: Final = {True: True, False: False, "on": True, "off": False, "true": True, "false": False}


def of_command(device: Device, name: str, args: object) -> object:
    """Return the argument in the form the device announced, or refuse it saying what it may be."""
    try:
        wire.command_name(name)
    except values.Bad as bad:
        raise Refusal("command_unknown", f"{bad.detail}.") from None
    spec = device.commands.get(name)
    if spec is not None:
        return _fitting(name, args, spec)
    if device.commands:
        known = ", ".join(sorted(device.commands))
        raise Refusal("command_unknown", f"{device.key} has no command {name!r}; it announced: {known}.")
    return _free(args)


def of_setting(device: Device, name: str, value: object) -> values.Value:
    """Return the value in the form the device announced, or refuse it saying what it may be."""
    spec = device.settings.get(name)
    if spec is None and device.settings:
        known = ", ".join(sorted(device.settings))
        raise Refusal("setting_unknown", f"{device.key} has no setting {name!r}; it announced: {known}.")
    try:
        values.name_of(name)
        fitting: Any = value if spec is None else _fitting(name, value, spec)
        return values.value_of(name, fitting)
    except values.Bad as bad:
        raise Refusal("bad_value", f"{bad.detail}.", fields={name: bad.detail}) from None
    except Refusal as unfit:
        fields = {name: (unfit.fields or {}).get("args", unfit.message)}
        raise Refusal("bad_value", unfit.message, fields=fields) from None


def _free(args: object) -> object:
    """Check an argument of which nothing is known but that it has to be stored and sent."""
    try:
        values.json_value("args", args)
    except values.Bad as bad:
        raise Refusal("bad_args", f"{bad.detail}.", fields={"args": bad.detail}) from None
    if len(wire.command_payload(args)) > values.MAX_TEXT:
        raise _bad_args("It", f"at most {values.MAX_TEXT} bytes")
    return args


def _fitting(name: str, args: object, spec: dict[str, Any]) -> object:
    match spec["type"]:
        case "action" if args in (None, "", {}):
            return None
        case "action":
            raise _bad_args(name, "no argument")
        case "bool":
            lower = args.lower() if isinstance(args, str) else args
            if isinstance(lower, bool | str) and lower in _SWITCH:
                return _SWITCH[lower]
            raise _bad_args(name, "on or off")
        case "number":
            return _number(name, args, spec)
        case "enum":
            return _option(name, args, spec["options"])
    if isinstance(args, bool) or not isinstance(args, str | int | float):
        raise _bad_args(name, "a text")
    return _free(args if isinstance(args, str) else str(args))


def _option(name: str, args: object, options: list[values.Value]) -> values.Value:
    for option in options:
        # In Python True is 1; on the wire "on" is not.
        if args == option and isinstance(args, bool) == isinstance(option, bool):
            return option
    raise _bad_args(name, "one of " + ", ".join(map(str, options)))


def _number(name: str, args: object, spec: dict[str, Any]) -> float:
    low, high = spec.get("min"), spec.get("max")
    try:
        number = values.scalar_of(name, args) if isinstance(args, str) else values.value_of(name, args)
    except values.Bad:
        number = ""
    if isinstance(number, bool | str) or (low is not None and number < low) or (high is not None and number > high):
        raise _bad_args(name, f"a number{_limits(low, high)}")
    return number


def _limits(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", at least {low}"
    return "" if high is None else f", at most {high}"


def _bad_args(name: str, expected: str) -> Refusal:
    return Refusal("bad_args", f"{name} takes {expected}.", fields={"args": f"must be {expected}"})
