"""docs/protocol/asyncapi.yaml: it is AsyncAPI, its parts fit together, and the hub's parser takes what it allows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft7Validator

from dashboard import path, protocol
from dashboard.protocol import Refused
from devices import groups, lifecycle, values
from hub.env import CHECKOUT
from tests import asyncapi

SPEC = CHECKOUT / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
GOLDEN = sorted((CHECKOUT / "tests/golden").glob("*.json"))
CHANNELS: dict[str, Any] = asyncapi.document()["channels"]
OPERATIONS: dict[str, Any] = asyncapi.document()["operations"]
EXAMPLES = [(message, example) for message in asyncapi.messages().values() for example in message.examples]
SAID = [example for message, example in EXAMPLES if message.key.startswith("client.")]


# --- the file


def test_the_file_is_asyncapi_3() -> None:
    if not SPEC.is_file():
        pytest.skip("the schema of AsyncAPI itself is missing: npm ci")
    found = Draft7Validator(json.loads(SPEC.read_text(encoding="utf-8"))).iter_errors(asyncapi.document())
    assert [(error.json_path, error.message) for error in found] == []


def test_every_reference_leads_somewhere() -> None:
    for ref in asyncapi.refs(asyncapi.document()):
        assert asyncapi.at(ref), ref


def test_nothing_is_left_over() -> None:
    used = set(asyncapi.refs(asyncapi.document()))
    for kind, parts in asyncapi.document()["components"].items():
        assert {f"#/components/{kind}/{name}" for name in parts} <= used
    assert {f"#/channels/{name}" for name in CHANNELS} <= used
    told = {ref for one in OPERATIONS.values() for ref in asyncapi.refs(one) if "/messages/" in ref}
    assert told == {f"#/channels/live/messages/{name}" for name in CHANNELS["live"]["messages"]}


def test_an_operation_takes_messages_of_its_channel() -> None:
    for operation in OPERATIONS.values():
        for part in (operation, operation.get("reply", {})):
            for message in part.get("messages", []):
                assert message["$ref"].startswith(part["channel"]["$ref"] + "/messages/")


def test_an_address_has_the_parameters_that_are_described() -> None:
    for channel in CHANNELS.values():
        assert set(re.findall(r"\{(\w+)\}", channel["address"])) == set(channel.get("parameters", ()))


@pytest.mark.parametrize(("message", "example"), EXAMPLES, ids=lambda part: getattr(part, "key", ""))
def test_an_example_is_what_its_schema_says(message: asyncapi.Message, example: Any) -> None:
    assert message.faults(example) == []


def test_the_file_has_the_lists_that_hold() -> None:
    schemas = asyncapi.document()["components"]["schemas"]
    assert set(schemas["CommandState"]["enum"]) == set(lifecycle.MOVES)
    assert schemas["Reason"]["enum"] == list(values.REASONS)
    assert schemas["Key"]["pattern"] == f"^{values.KEY.pattern}$"
    own = {number for name, number in vars(protocol.Close).items() if not name.startswith("_")}
    assert set(CHANNELS["live"]["x-close-codes"]) == {str(code) for code in own | {1012}}


def test_the_path_has_the_counters_that_are_counted() -> None:
    (said,) = asyncapi.of_type("hub")["path"]
    shown = said.schema["properties"]
    bridge = shown["bridges"]["additionalProperties"]["properties"]
    assert list(bridge["counts"]["properties"]) == list(groups.Passed.__annotations__)
    counts = path.Counts(0)
    assert set(shown["web"]["required"]) == set(shown["web"]["properties"]) == set(counts.numbers())
    assert set(shown["socket"]["required"]) == set(path.SocketCounts(counts).numbers())
    assert list(shown["latency_ms"]["properties"]) == list(path.HOPS)


# --- what clients say


def test_the_file_knows_the_messages_of_the_parser_and_no_others() -> None:
    tags = {str(kind.__struct_config__.tag) for kind in get_args(protocol.ClientMessage)}
    assert set(asyncapi.of_type("client")) == tags == set(protocol.FORMS)


def test_what_a_refusal_shows_as_right_is_right() -> None:
    for form in protocol.FORMS.values():
        asyncapi.expect("client", json.loads(form.replace("…", "x")))


@pytest.mark.parametrize("said", SAID, ids=lambda said: said["type"])
def test_a_clients_example_is_taken(said: dict[str, Any]) -> None:
    protocol.parse(json.dumps(said))


# What may come instead of any field's value: of each type, and at both sides of each limit.
INSTEAD: list[Any] = [
    None,
    *(True, 0, 1, -1, 0.05, 1.0, 2.5, 1001, 2**53, 2**53 + 1, 2**63 - 1, 1e300),
    *("", "x", "é", "a b", "x\x00", "x\n", "x" * 128, "x" * 129, "x" * 512, "x" * 513, "latest", "PATCH", "GET"),
    *([], ["x"], [""], [1], [None], ["x"] * 500, ["x"] * 501),
    *({}, {"x": 1}, {"cursor": {"x": 5}}, {"cursor": {"": 5}}, {"cursor": {"x": -1}}, {"cursor": {"x": 1.0}}),
    *({"last_s": 1, "cursor": {}}, {"last_s": 1, "cursor": None}, {"last_s": -1}, {"last_s": 400_000_000}, {"last": 1}),
    *({"from": 1}, {"from": -1}, {"from": 1, "to": None}, {"from": 1, "speed": None}, {"to": 1}, {"from": 1, "at": 2}),
]
FIELDS = sorted({name for said in SAID for name in said if name != "type"} | {"extra"})


def mutations(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The message with one field less, other or more."""
    for name in said:
        yield {field: value for field, value in said.items() if field != name}
    for name in FIELDS:
        for value in INSTEAD:
            yield {**said, name: value}
    for name, inner in said.items():
        if isinstance(inner, dict) and inner:
            for field in [*inner, "extra"]:
                for value in INSTEAD:
                    yield {**said, name: {**inner, field: value}}


def taken(said: dict[str, Any]) -> bool:
    try:
        protocol.parse(json.dumps(said))
    except Refused as refused:
        # No schema compares two fields.
        return "ends before it begins" in str(refused)
    return True


@pytest.mark.parametrize("said", SAID, ids=lambda said: said["type"])
def test_the_parser_takes_what_the_file_allows_and_nothing_else(said: dict[str, Any]) -> None:
    tried = 0
    for message in mutations(said):
        if isinstance(message.get("type"), str):
            tried += 1
            assert taken(message) == (not asyncapi.faults("client", message)), message
    assert tried > 100


# --- the golden conversations


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_conversation_is_as_the_file_says(path: Path) -> None:
    """Some tell of what comes with a later version: clients take fields and types that they do not know."""
    for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
        for who in ("client", "hub"):
            if who in step and step[who]["type"] != "tomorrow":
                asyncapi.expect(who, step[who], closed=False)


# --- the check itself

HEARD = [example for message, example in EXAMPLES if message.key.startswith("hub.")]
MAY_BE_MISSING = ("more", "sent", "retry_after_s")
MAY_BE_ANYTHING = ("args", "body")


@pytest.mark.parametrize("heard", HEARD, ids=lambda heard: heard["type"])
def test_each_field_of_a_hubs_message_is_looked_at(heard: dict[str, Any]) -> None:
    for name in set(heard) - {"type"}:
        without = {field: value for field, value in heard.items() if field != name}
        assert bool(asyncapi.faults("hub", without)) == (name not in MAY_BE_MISSING), name
        other = {**heard, name: [[]]}
        assert bool(asyncapi.faults("hub", other)) == (name not in MAY_BE_ANYTHING), name
    assert asyncapi.faults("hub", {**heard, "extra": 1})
    assert not asyncapi.faults("hub", {**heard, "extra": 1}, closed=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "pong", "extra": 1},
        {"type": "nothing"},
        {"type": "live"},
        {"type": "lag", "id": "a", "devices": {"pump-1": 0}},
        {"type": "data", "id": "a", "phase": "live", "devices": {"pump-1": {"prev": 1, "frames": [[2, 1.5, {}, 0]]}}},
        {"type": "data", "id": "a", "phase": "live", "devices": {"p": {"prev": 0, "frames": [[1, 1, {}, 0]] * 1001}}},
        {"type": "data", "id": "a", "phase": "past", "devices": {"pump-1": {"prev": 0, "frames": [[1, 1, {}, 0]]}}},
        {"type": "data", "id": "a", "phase": "live", "devices": {"Pump": {"prev": 0, "frames": [[1, 1, {}, 0]]}}},
    ],
)
def test_what_the_hub_never_says_is_noticed(wrong: dict[str, Any]) -> None:
    with pytest.raises(asyncapi.Unlike):
        asyncapi.expect("hub", wrong)
