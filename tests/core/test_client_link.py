"""The Python client's socket and command line, as far as they need no hub."""

import argparse
import json
from datetime import UTC, datetime, timedelta

import pytest

from telemetry_hub import cli, items, show
from telemetry_hub.link import address_of, pause_s

NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://hub.example.org", "wss://hub.example.org/ws/v1/live/"),
        ("http://localhost:8000/", "ws://localhost:8000/ws/v1/live/"),
        ("wss://hub.example.org/ws/v1/live/", "wss://hub.example.org/ws/v1/live/"),
        ("ws://hub.example.org/ws/v1/live", "ws://hub.example.org/ws/v1/live"),
        ("https://example.org/hub/?a=b#c", "wss://example.org/hub/ws/v1/live/"),
        ("http://[::1]:8000", "ws://[::1]:8000/ws/v1/live/"),
    ],
)
def test_a_hub_is_named_as_in_a_browser(given: str, address: str) -> None:
    assert address_of(given) == address


@pytest.mark.parametrize("given", ["hub.example.org", "localhost:8000", "mqtt://hub", "", "https://"])
def test_what_is_no_address_is_told_so(given: str) -> None:
    with pytest.raises(ValueError, match="is no hub's address"):
        address_of(given)


def test_pauses_grow_to_ten_seconds_and_are_never_the_same_for_all() -> None:
    for failures, most in [(1, 0.5), (2, 1), (3, 2), (6, 10), (5000, 10)]:
        pauses = {pause_s(1006, failures) for _ in range(50)}
        assert most / 2 <= min(pauses) < max(pauses) <= most
        assert len(pauses) > 1


def test_after_a_restart_all_come_back_soon_but_not_at_once() -> None:
    pauses = [pause_s(1012, 1) for _ in range(200)]
    assert 0 <= min(pauses) < 0.5
    assert 1.5 < max(pauses) <= 2
    assert pause_s(1012, 6) >= 5


def test_who_asked_too_much_waits() -> None:
    assert pause_s(4429, 1) > 10
    assert 4 < pause_s(4429, 1, 4.0) < 5


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86_400)])
def test_durations(text: str, seconds: int) -> None:
    assert cli.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "-1h", "1w", "1 h", "1e3"])
def test_no_durations(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        cli.duration(text)


def test_a_time_without_a_zone_is_this_machines() -> None:
    assert cli.instant("2026-11-20T10:00Z") == datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert cli.instant("2026-11-20").tzinfo is None


@pytest.mark.parametrize(
    ("text", "value"), [(None, None), ("on", "on"), ("21.5", 21.5), ("true", True), ('{"a": [1]}', {"a": [1]})]
)
def test_an_argument_is_json_or_a_text(text: str | None, value: object) -> None:
    assert cli.argument(text) == value


def test_flags_and_awkward_values_are_shown() -> None:
    row = items.Row("p", 7, 1_790_000_000_000, {"note": 'a, "b"\nc', "on": False}, items.LATE | items.CLOCK, "live")
    assert show.for_people(row) == r'2026-09-21T14:13:20.000Z p #7 note="a, \"b\"\nc" on=false late clock'
    assert show.as_csv(["on", "note"])(row) == 'p,7,1790000000000,3,false,"a, ""b""\nc"'
    assert show.as_csv(None)(row).count("\n") == 0
    assert show.note(items.Gap("p", 3, 9, "limit")) == "gap: p #3 to #9 cannot be had (limit)"


def test_what_a_device_chose_is_obeyed_by_no_terminal_and_no_table_program() -> None:
    hostile = "\x1b[2J\x9b31m\u202e\nnot a row"
    row = items.Row("p", 7, NOW, {f"name{hostile}": hostile, "sum": "=1+1;=2"}, 0, "live")
    state = items.CommandState("c", "p", hostile, None, "failed", "it answered", NOW, hostile, hostile, None)
    for line in (show.for_people(row), show.as_json(row), show.state_line(state)):
        assert line.isprintable()
    assert json.loads(show.as_json(row))["values"] == row.values
    assert show.as_csv(["sum", f"name{hostile}"])(row) == (
        "p,7,1790000000000,0,'=1+1;'=2,\"\\u001b[2J\\u009b31m\\u202e\nnot a row\""
    )
    assert show.csv_header(["@x"]) == "device,seq,ts,flags,'@x"
