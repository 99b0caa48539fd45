"""The live protocol's pure parts: what is read, what is refused and how, credit."""

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import protocol
from dashboard.protocol import (
    CREDIT,
    Cmd,
    Credit,
    Hello,
    Ping,
    Refused,
    Since,
    Sub,
    Unsub,
    Window,
    parse,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":"hello","token":"abc"}', Hello(token="abc")),
        ('{"type":"sub","id":"a","devices":["p"]}', Sub(id="a", devices=["p"])),
        ('{"type":"sub","id":"f","fleet":"main"}', Sub(id="f", fleet="main")),
        ('{"type":"sub","id":"a","devices":["p"],"since":null}', Sub(id="a", devices=["p"])),
        (
            '{"type":"sub","id":"a","devices":["p"],"mode":"latest","metrics":["t"],"since":{"cursor":{"p":0}}}',
            Sub(id="a", devices=["p"], mode="latest", metrics=["t"], since=Since(cursor={"p": 0})),
        ),
        ('{"type":"sub","id":"a","devices":["p"],"since":{"last_s":60}}', Sub(id="a", devices=["p"], since=Since(60))),
        ('{"type":"unsub","id":"a"}', Unsub(id="a")),
        ('{"type":"cmd","id":"c","device":"p","name":"relay"}', Cmd(id="c", device="p", name="relay")),
        (
            '{"type":"cmd","id":"c","device":"p","name":"n","args":{"a":[1]},"ttl_s":5,"key":"k"}',
            Cmd(id="c", device="p", name="n", args={"a": [1]}, ttl_s=5, key="k"),
        ),
        ('{"type":"credit","n":8}', Credit(n=8)),
        ('{"type":"ping"}', Ping()),
        (' {"type" : "ping"}\n', Ping()),
        ('{"id":"\\u00e9\\" 💧","type":"unsub"}', Unsub(id='é" 💧')),
    ],
)
def test_what_the_protocol_has_is_read(text: str, message: object) -> None:
    assert parse(text) == message


# Not JSON objects: whoever sends such a thing speaks another protocol, and the socket closes.
@pytest.mark.parametrize(
    "text",
    [
        "",
        "ping",
        "null",
        "1",
        '"ping"',
        "[]",
        '["ping"]',
        '{"type":"ping"',
        '{"type":"nonsense"',
        '{"type":"ping","z":1',
        '{"type":"ping"}x',
        '{"type":"credit","n":"x",,}',
        "[" * 60_000,
        '{"a":' * 30_000,
        '{"type":"cmd","id":"a","device":"d","name":"n","args":' + "[" * 30_000,
        '{"type":"cmd","id":"a","device":"d","name":"n","args":NaN}',
        '{"type":"unsub","id":"\\ud800"}',
        '{"type":"unsub","id":"\ud800"}',
        '"\ud800"',
        '{"type":1,"\ud800":2}',
        "\x00",
    ],
)
def test_what_is_no_json_object_is_fatal(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text)
    assert refused.value.fatal
    protocol.text(kind="err", message=str(refused.value))  # can be said


@pytest.mark.parametrize(
    ("text", "says", "id_"),
    [
        ("{}", "The types are hello, sub", ""),
        ('{"type":"watch","id":"a"}', "The types are hello, sub", "a"),
        ('{"type":5,"id":"a"}', "The types are hello, sub", "a"),
        ('{"type":["ping"],"id":["a"]}', "The types are hello, sub", ""),
        ('{"type":"ping","extra":1}', '{"type":"ping"}', ""),
        ('{"type":"hello","token":""}', "token", ""),
        ('{"type":"hello","token":"a\\u0000b"}', "token", ""),
        (f'{{"type":"hello","token":"{"x" * 513}"}}', "512", ""),
        ('{"type":"sub","id":"a"}', "one of them", "a"),
        ('{"type":"sub","id":"a","devices":["p"],"fleet":"f"}', "one of them", "a"),
        ('{"type":"sub","id":"a","devices":[]}', "length >= 1", "a"),
        (f'{{"type":"sub","id":"a","devices":{json.dumps(["p"] * 501)}}}', "length <= 500", "a"),
        ('{"type":"sub","id":"a","devices":"p"}', "Expected `array", "a"),
        ('{"type":"sub","id":"a","devices":[1]}', "$.devices[0]", "a"),
        ('{"type":"sub","id":"a","devices":["p\\u0000"]}', "$.devices[0]", "a"),
        ('{"type":"sub","id":"a","fleet":"\\u0000"}', "$.fleet", "a"),
        ('{"type":"sub","id":"a","devices":["p"],"mode":"fast"}', "$.mode", "a"),
        ('{"type":"sub","id":"a","devices":["p"],"since":{"last_s":1,"cursor":{}}}', "not both", "a"),
        ('{"type":"sub","id":"a","devices":["p"],"since":{"last_s":-1}}', "$.since.last_s", "a"),
        ('{"type":"sub","id":"a","devices":["p"],"since":{"last_s":1e300}}', "$.since.last_s", "a"),
        ('{"type":"sub","id":"a","devices":["p"],"since":{"last_s":1e999}}', "out of range", ""),
        ('{"type":"sub","id":"a","devices":["p"],"since":{"cursor":{"p":-1}}}', "$.since.cursor[...]", "a"),
        (f'{{"type":"sub","id":"a","devices":["p"],"since":{{"cursor":{{"p":{10**30}}}}}}}', "$.since.cursor", "a"),
        ('{"type":"sub","id":"","devices":["p"]}', "$.id", ""),
        (f'{{"type":"unsub","id":"{"é" * 129}"}}', "$.id", "é" * 128),
        ('{"type":"unsub","id":7}', "$.id", ""),
        ('{"type":"unsub"}', '{"type":"unsub","id":"a1"}', ""),
        ('{"type":"credit","n":0}', "$.n", ""),
        ('{"type":"credit","n":-5}', "$.n", ""),
        ('{"type":"credit","n":true}', "$.n", ""),
        ('{"type":"credit","n":1e999}', "out of range", ""),
        (f'{{"type":"credit","n":{"9" * 5000}}}', "", ""),
        ('{"type":"cmd","id":"c","device":"p"}', "name", "c"),
        ('{"type":"cmd","id":"c","device":"p","name":"n","args":1e999}', "out of range", ""),
        ('{"type":"cmd","id":"c","device":"p","name":"n","ttl_s":"60"}', "$.ttl_s", "c"),
        ('{"type":"cmd","id":"c","device":"p","name":"n","key":"\\u0000"}', "$.key", "c"),
        (f'{{"type":"cmd","id":"c","device":"p","name":"n","key":"{"k" * 129}"}}', "$.key", "c"),
        (f'{{"type":"ping","{"x" * 60_000}":1}}', "", ""),
    ],
)
def test_a_refusal_teaches_and_is_short(text: str, says: str, id_: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text)
    assert not refused.value.fatal
    assert says in str(refused.value)
    assert refused.value.id == id_
    assert len(protocol.text(kind="err", id=id_, message=str(refused.value))) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
WORDS = st.sampled_from([*protocol.FORMS, "id", "type", "devices", "since", "cursor", "n", "args"])


@given(st.text() | JSON.map(json.dumps) | st.dictionaries(WORDS, JSON | WORDS).map(json.dumps))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    try:
        message = parse(text)
    except Refused as refused:
        protocol.text(kind="err", id=refused.id, message=str(refused))
    else:
        assert isinstance(message, Hello | Sub | Unsub | Cmd | Credit | Ping)


@given(st.sampled_from(sorted(protocol.FORMS)), st.data())
def test_a_cut_message_is_fatal(kind: str, data: Any) -> None:
    form = protocol.FORMS[kind].replace("…", "x")
    parse(form)
    with pytest.raises(Refused) as refused:
        parse(form[: data.draw(st.integers(0, len(form) - 1))])
    assert refused.value.fatal


def test_each_kind_of_message_has_its_form() -> None:
    tags = {message.__struct_config__.tag for message in get_args(protocol.ClientMessage)}
    assert set(protocol.FORMS) == tags


def test_a_message_begins_with_its_type() -> None:
    assert protocol.text(kind="pong", b=1, a="é") == '{"type":"pong","b":1,"a":"é"}'
    assert msgspec.json.decode(protocol.welcome('al"ice', 5))["user"] == 'al"ice'


# --- credit


def test_credit_is_spent_and_given_back() -> None:
    window = Window()
    for _ in range(CREDIT):
        assert window.patience(5.0) is None
        window.spend(5.0)
    assert window.left == 0
    assert window.patience(5.0) == protocol.CREDIT_TIMEOUT_S
    assert window.patience(5.0 + 10) == protocol.CREDIT_TIMEOUT_S - 10
    assert window.patience(5.0 + protocol.CREDIT_TIMEOUT_S) == 0
    assert window.patience(1e9) == 0
    window.give(1)
    assert (window.left, window.patience(1e9)) == (1, None)


def test_more_than_was_lent_does_not_come_back() -> None:
    window = Window()
    window.spend(0.0)
    window.give(10**30)
    assert window.left == CREDIT


@given(st.lists(st.none() | st.integers(1, 100)))
def test_never_more_than_the_window_is_in_flight(steps: list[int | None]) -> None:
    window, flying = Window(), 0
    for step in steps:
        if step is not None:
            window.give(step)
            flying = max(0, flying - step)
        elif window.left > 0:
            window.spend(0.0)
            flying += 1
        assert 0 <= window.left <= CREDIT
        assert flying + window.left == CREDIT
        assert (window.patience(0.0) is None) == (window.left > 0)
