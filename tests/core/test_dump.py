"""Payloads as people read them: nothing hides, nothing reorders the page, and the fault is where the mark is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.dump import SHOWN, Parts, dump, escaped


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'{"a": 1}', '{"a": 1}'),
        ("21 °C".encode(), "21 °C"),
        (b"\xff\x00a", "\\xff\\0a"),
        (b"a\r\n\tb", "a\\r\\n\n\\tb"),
        (b"\x1b[31m", "\\x1b[31m"),
        ("a\u202eb".encode(), "a\\u202eb"),
        ("\U000e0041".encode(), "\\U000e0041"),
        ("é".encode()[:1], "\\xc3"),
        (b"", ""),
    ],
)
def test_what_cannot_be_seen_is_escaped(payload: bytes, text: str) -> None:
    assert escaped(payload) == text


@pytest.mark.parametrize(
    ("payload", "position", "parts"),
    [
        (b"abc", 1, Parts("a", "b", "c")),
        (b"abc", 0, Parts("", "a", "bc")),
        ("a°c".encode(), 1, Parts("a", "°", "c")),
        (b"a\xffc", 1, Parts("a", "\\xff", "c")),
        (b"abc", None, Parts("abc")),
        (b"abc", 3, Parts("abc")),
        (b"abc", -1, Parts("abc")),
    ],
)
def test_the_fault_is_a_whole_character(payload: bytes, position: int | None, parts: Parts) -> None:
    assert dump(payload, position).text == parts


def test_hex_stands_in_rows_of_sixteen_with_offset_and_characters() -> None:
    first, second = dump(b"0123456789abcdef\x00\xffz", 17).lines
    assert (first.offset, first.hex.before, first.text.before) == (
        "00000",
        "30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66",
        "0123456789abcdef",
    )
    assert second.offset == "00010"
    assert (second.hex, second.text) == (Parts("00 ", "ff", " 7a"), Parts(".", ".", "z"))


def test_that_it_ends_too_early_is_marked_behind_its_end() -> None:
    assert dump(b"{", 1).at_end
    assert not dump(b"{", 0).at_end
    assert not dump(b"x" * 10, 10, size=20).at_end


@pytest.mark.parametrize("position", [None, 0, 5000, 9999, 10_000])
def test_of_a_long_payload_the_part_around_the_fault_is_shown(position: int | None) -> None:
    payload = bytes(range(256)) * 39 + b"\0" * 16
    shown = dump(payload, position, size=20_000)
    assert len(shown.lines) == SHOWN // 16
    assert shown.skipped + SHOWN + shown.left == 20_000
    marked = [line for line in shown.lines if line.hex.fault]
    if position in (None, 10_000):
        assert not marked
    else:
        assert position is not None
        (line,) = marked
        assert line.hex.fault == f"{payload[position]:02x}"
        assert int(line.offset, 16) == position // 16 * 16


@given(st.binary(max_size=3000), st.none() | st.integers(-10, 4000))
def test_no_byte_gets_lost_in_hex(payload: bytes, position: int | None) -> None:
    shown = dump(payload, position)
    together = "".join(line.hex.before + line.hex.fault + line.hex.after + " " for line in shown.lines)
    assert bytes.fromhex(together) == payload[shown.skipped : len(payload) - shown.left]
    assert shown.text.before.replace("\n", "").isprintable()
