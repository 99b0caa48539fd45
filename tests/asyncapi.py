"""docs/protocol/asyncapi.yaml as tests read it: messages, their examples, and whether what crosses the socket fits.

From the hub fields may be added, and clients ignore what they do not know; a test takes nothing that is not written.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import yaml
from jsonschema import Draft7Validator, ValidationError, validators
from jsonschema.exceptions import best_match

from hub.env import CHECKOUT

FILE: Final = CHECKOUT / "docs/protocol/asyncapi.yaml"
# Rows of a message that are looked at, of those that it may have.
FEW: Final = 3
MANY: Final = 1000
Schema = dict[str, Any]


def _is_integer(_: object, value: object) -> bool:
    # JSON Schema takes 1.0 for an integer, the hub does not.
    return isinstance(value, int) and not isinstance(value, bool)


_checker = Draft7Validator.TYPE_CHECKER.redefine("integer", _is_integer)
_Validator = validators.extend(Draft7Validator, type_checker=_checker)


class Unlike(AssertionError):
    """A message is not as the file says."""


class Message(NamedTuple):
    """A message of the file: its key, what its payload must be, and examples."""

    key: str
    schema: Schema
    examples: list[Any]
    is_text: bool

    def faults(self, payload: object) -> list[ValidationError]:
        return list(_validator(self.key, closed=False).iter_errors(payload))


@cache
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(FILE.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return loaded


def at(ref: str) -> Any:
    """What a reference points to."""
    found: Any = document()
    for level in ref.removeprefix("#/").split("/"):
        found = found[level]
    return found


def refs(part: Any) -> Iterator[str]:
    """All references in a part of the file."""
    if isinstance(part, dict):
        if isinstance(ref := part.get("$ref"), str):
            yield ref
        for item in part.values():
            yield from refs(item)
    elif isinstance(part, list):
        for item in part:
            yield from refs(item)


def whole(part: Any) -> Any:
    """A part of the file with all that it refers to put in its place."""
    if isinstance(part, dict):
        return whole(at(part["$ref"])) if "$ref" in part else {name: whole(item) for name, item in part.items()}
    return [whole(item) for item in part] if isinstance(part, list) else part


def _closed(schema: Any) -> Any:
    """A schema that takes no other fields than those it names."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(item) for name, item in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


@cache
def messages() -> dict[str, Message]:
    found = {}
    for key, message in document()["components"]["messages"].items():
        schema = whole(message["payload"])
        examples = [example["payload"] for example in message["examples"]]
        is_text = message.get("contentType") == "text/plain"
        found[key] = Message(key, schema, examples, is_text)
    return found


@cache
def _validator(key: str, *, closed: bool) -> Any:
    schema = messages()[key].schema
    return _Validator(_closed(schema) if closed else schema)


@cache
def of_type(who: str) -> dict[str, list[Message]]:
    """The messages of the live socket that the client, or the hub, may send, by their `type`."""
    found = defaultdict(list)
    for key, message in messages().items():
        if key.startswith(f"{who}."):
            found[message.schema["properties"]["type"]["const"]].append(message)
    return found


def faults(who: str, message: dict[str, Any], *, closed: bool = True) -> list[ValidationError]:
    """What is wrong with a message of the live socket, by the schema that it comes closest to; empty: nothing.

    `closed`: fields that the file does not name are wrong, from the hub too.
    """
    tried = [_validator(one.key, closed=closed) for one in of_type(who).get(message["type"], [])]
    if not tried:
        return [ValidationError(f"there is no message of the type {message['type']!r}")]
    if any(validator.is_valid(message) for validator in tried):
        return []
    return min((list(validator.iter_errors(message)) for validator in tried), key=len)


def expect(who: str, message: dict[str, Any], *, closed: bool = True) -> None:
    """Fail with what is wrong with a message, when it is not as the file says."""
    if found := faults(who, _thinned(message), closed=closed):
        worst = best_match(found)
        raise Unlike(f"{message} is not as asyncapi.yaml says: {worst.json_path}: {worst.message}")


def _thinned(message: dict[str, Any]) -> dict[str, Any]:
    """The message with a few rows of each device: a row takes 0.1 ms, and they are all made in the same way."""
    if message["type"] != "data" or not isinstance(message.get("devices"), dict):
        return message
    devices = {key: _few(part) if isinstance(part, dict) else part for key, part in message["devices"].items()}
    return {**message, "devices": devices}


def _few(part: dict[str, Any]) -> dict[str, Any]:
    rows = part.get("frames")
    if not isinstance(rows, list) or not FEW < len(rows) <= MANY:
        return part
    return {**part, "frames": [*rows[: FEW - 1], rows[-1]]}
