"""What a value, a name and an instant may be."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import values
from devices.values import Bad

EXACT = 2**53 - 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("21.40", 21.4),
        (" 21.4 ", 21.4),
        ("21.4\r\n", 21.4),
        ("55", 55),
        ("+5", 5),
        ("-0", 0),
        ("012", 12),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1E-2", -0.01),
        (str(EXACT), EXACT),
        (str(-EXACT), -EXACT),
        ("true", True),
        ("TRUE", True),
        ("ON", True),
        ("off", False),
        ("False", False),
        ("hello world #1", "hello world #1"),
        ("yes", "yes"),
        ("1,5", "1,5"),
        ("1 2", "1 2"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("٣", "٣"),  # a digit, but no number that a device prints
        ("--5", "--5"),
        (".", "."),
        ("e5", "e5"),
        ("2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"),
        ("°C µ ✓", "°C µ ✓"),
        ("x" * 1024, "x" * 1024),
    ],
)
def test_a_scalar_is_a_number_a_switch_or_a_text(text: str, value: values.Value) -> None:
    read = values.scalar_of("temp", text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("", "bad_value", "temp is empty; send a number, true, false or text"),
        (" \t\r\n", "bad_value", "temp is empty; send a number, true, false or text"),
        ("nan", "number_out_of_range", "temp is nan; it must be a finite number"),
        ("NaN", "number_out_of_range", "temp is NaN; it must be a finite number"),
        ("-nan", "number_out_of_range", "temp is -nan; it must be a finite number"),
        ("+Infinity", "number_out_of_range", "temp is +Infinity; it must be a finite number"),
        ("-inf", "number_out_of_range", "temp is -inf; it must be a finite number"),
        ("1e999", "number_out_of_range", "temp is inf; it must be a finite number"),
        ("-1e999", "number_out_of_range", "temp is -inf; it must be a finite number"),
        (str(EXACT + 1), "number_out_of_range", "temp is beyond ±2^53; send it as text"),
        ("99999999999999999999", "number_out_of_range", "temp is beyond ±2^53; send it as text"),
        ("999999999999999999999", "number_out_of_range", "temp is beyond ±2^53; send it as text"),
        ("9" * 1000, "number_out_of_range", "temp is beyond ±2^53; send it as text"),
        ("9" * 5000, "bad_value", "temp has more than 1024 bytes of text"),
        ("x" * 1025, "bad_value", "temp has more than 1024 bytes of text"),
        ("é" * 513, "bad_value", "temp has more than 1024 bytes of text"),
        ("21.5\0", "bad_value", "temp has a NUL character at position 4"),
        ("a\ud800", "bad_value", "temp has half a character (a lone surrogate) at position 1"),
    ],
)
def test_what_is_no_scalar_is_refused_with_place_and_remedy(text: str, reason: str, detail: str) -> None:
    with pytest.raises(Bad) as refused:
        values.scalar_of("temp", text)
    assert (refused.value.reason, refused.value.detail) == (reason, detail)


@given(st.text(st.characters()))
def test_a_scalar_is_storable_or_refused(text: str) -> None:
    try:
        value = values.scalar_of("temp", text)
    except Bad:
        return
    if isinstance(value, str):
        assert "\0" not in value
        assert len(value.encode()) <= 1024
    else:
        assert math.isfinite(value)


@pytest.mark.parametrize(
    ("ts", "ms"),
    [
        (0, 0),
        (1_735_689_600, 1_735_689_600_000),
        (1_735_689_600.5, 1_735_689_600_500),
        (1_735_689_600_123, 1_735_689_600_123),
        (1_735_689_600_123_456, 1_735_689_600_123),
        (-86_400, -86_400_000),
        (99_999_999_999, 99_999_999_999_000),
        (100_000_000_000, 100_000_000_000),
    ],
)
def test_seconds_milliseconds_and_microseconds_are_told_by_magnitude(ts: float, ms: int) -> None:
    assert values.milliseconds(ts) == ms


@pytest.mark.parametrize(
    "ts",
    [
        True,
        "1735689600",
        "2026-01-01",
        None,
        [],
        {},
        float("nan"),
        float("inf"),
        -float("inf"),
        1e17,
        10**400,
        -(10**20),
    ],
)
def test_what_is_no_instant_is_a_bad_timestamp(ts: object) -> None:
    with pytest.raises(Bad, match="s, ms or µs since 1970") as refused:
        values.milliseconds(ts)
    assert refused.value.reason == "bad_timestamp"


@pytest.mark.parametrize("number", [0, 1, 2**63 - 1])
def test_a_counter_is_an_integer_that_a_database_can_keep(number: int) -> None:
    assert values.counter("seq", number) == number


@pytest.mark.parametrize("number", [-1, 2**63, 1.0, True, "7", None, [], 10**400])
def test_what_is_no_counter_is_refused(number: object) -> None:
    with pytest.raises(Bad, match=r"^bad_value: seq is .*; it must be an integer from 0 to 2\^63 - 1$"):
        values.counter("seq", number)


@pytest.mark.parametrize("name", ["a", "Температура", "pm2.5", "room temp", "a/b", "x" * 128, "é" * 64, "%", "1"])
def test_a_name_is_1_to_128_printable_bytes(name: str) -> None:
    assert values.name_of(name) == name


@pytest.mark.parametrize("name", ["", "x" * 129, "é" * 65, "a\0", "a\n", "a+", "#", "\ud800", "\u202e", "\x7f"])
def test_a_name_has_no_wildcard_and_nothing_unprintable(name: str) -> None:
    with pytest.raises(Bad) as refused:
        values.name_of(name)
    assert refused.value.reason == "bad_value"


@pytest.mark.parametrize("key", ["a", "0", "pump-1", "pump_1", "x" * 63])
def test_a_key_is_topic_level_user_name_and_group_name_at_once(key: str) -> None:
    assert values.is_key(key)


@pytest.mark.parametrize("key", ["", "-a", "_a", "A", "a b", "a/b", "a.b", "a\n", "é", "x" * 64, "a+", "#", "²"])
def test_nothing_else_is_a_key(key: str) -> None:
    assert not values.is_key(key)


def test_nested_values_are_flattened_with_dots_and_null_is_no_reading() -> None:
    given = {"env": {"t": 21, "none": None}, "rgb": [1, None, 3], "on": True, "empty": {}}
    assert values.flatten(given) == {"env.t": 21, "rgb.0": 1, "rgb.2": 3, "on": True}


def test_a_name_that_is_there_nested_and_with_dots_is_refused_in_either_order() -> None:
    for twice in ({"a": {"b": 1}, "a.b": 2}, {"a.b": 2, "a": {"b": 1}}, {"a": {"b.c": 1, "b": {"c": 2}}}):
        with pytest.raises(Bad, match="is there twice: once nested, once with dots"):
            values.flatten(twice)


def test_500_metrics_are_taken_and_one_more_is_refused() -> None:
    assert len(values.flatten({str(number): number for number in range(500)})) == 500
    with pytest.raises(Bad, match="too_many_metrics: 501 metrics in one message; at most 500"):
        values.flatten({str(number): number for number in range(501)})


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "eco", [1, [2]], {"r": 1, "none": None}, {"": {}}])
def test_a_json_value_within_the_limits_is_taken(value: object) -> None:
    values.json_value("args", value)


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (10**30, "args is beyond ±2^53; send it as text"),
        (float("nan"), "args is nan; it must be a finite number"),
        ({"a": ["x\0"]}, "args.a.0 has a NUL character at position 1"),
        ({"a\0": 1}, "args has a NUL character at position 1"),
        ({"\udfff": 1}, "args has half a character (a lone surrogate) at position 0"),
        (["x" * 1025], "args.0 has more than 1024 bytes of text"),
        ([[[[[[[[[[[]]]]]]]]]]], "args.0.0.0.0.0.0.0.0.0.0 is nested deeper than 10 levels"),
        ({"at": object()}, "args.at is object; it must be a number, true, false or text"),
    ],
)
def test_a_json_value_past_them_is_refused_by_name(value: object, detail: str) -> None:
    with pytest.raises(Bad) as refused:
        values.json_value("args", value)
    assert refused.value.detail == detail


def test_a_refusal_quotes_what_was_sent_as_json_and_briefly() -> None:
    assert values.brief("hot") == '"hot"'
    assert values.brief(True) == "true"
    assert len(values.brief(["x" * 1000])) == 40
