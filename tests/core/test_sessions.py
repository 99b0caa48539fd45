"""A session as a file: the same frames have the same sum, and a file that was changed or cut is refused."""

import json
from typing import Any

import pytest

from devices import wire
from simulators import session
from simulators.script import Unusable
from simulators.session import Digest, Header

T0 = 1_790_000_000_000
FRAMES: list[tuple[int, dict[str, Any]]] = [
    (T0, {"t": 21.5, "on": True}),
    (T0 + 1000, {"t": 22.0, "mode": "eco"}),
    (T0 - 500, {"t": -1}),  # it came late
]


def recorded(frames: Any = FRAMES) -> list[bytes]:
    return list(session.written(Header(device="tank", began=T0), frames))


def read(lines: list[bytes]) -> list[tuple[int, dict[str, Any]]]:
    assert session.header_of(lines[0]).device == "tank"
    return [(row.offset, values) for row, values in session.rows(lines[1:])]


def test_what_is_read_is_what_was_written_in_its_order() -> None:
    assert read(recorded()) == [(ts - T0, values) for ts, values in FRAMES]
    assert session.is_session(recorded()[0])
    assert not session.is_session(b'{"kinds":{"pump":1}}')


def test_each_message_is_one_that_the_hub_takes() -> None:
    for line in recorded()[1:-1]:
        _, suffix, payload = json.loads(line)
        [frame] = wire.read(wire.Message(topic=f"hub/tank/{suffix}", payload=payload.encode(), received_at=T0))[1]
        assert isinstance(frame, wire.Frame)
        assert frame.boot == 1


@pytest.mark.parametrize(
    "others",
    [
        FRAMES[:2],
        FRAMES[::-1],
        [*FRAMES, FRAMES[0]],
        [(T0 + 1, FRAMES[0][1]), *FRAMES[1:]],
        [(T0, {"t": 21.6, "on": True}), *FRAMES[1:]],
        [(T0, {"t": 21.5, "on": "True"}), *FRAMES[1:]],
    ],
)
def test_other_frames_have_another_sum(others: Any) -> None:
    assert recorded(others)[-1] != recorded()[-1]


def test_the_sum_does_not_depend_on_how_a_database_keeps_numbers_and_names() -> None:
    one, other = Digest(), Digest()
    one.add(0, {"a": 21.0, "b": 1})
    other.add(0, {"b": 1, "a": 21})
    assert one.end() == other.end()


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (recorded()[:-1], "no end"),
        (recorded()[:2] + recorded()[3:], "was changed"),
        ([recorded()[0], b'[0,"telemetry"]\n'], "session:"),
        ([b"{}\n"], "device"),
        ([b'{"format":"telemetry-hub-session","version":2,"device":"tank"}\n'], "version 1"),
    ],
)
def test_what_is_not_whole_is_not_played(lines: list[bytes], why: str) -> None:
    with pytest.raises(Unusable, match=why):
        read(lines)
