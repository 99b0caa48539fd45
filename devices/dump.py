"""PURE. Bytes as people read them: as text with escapes, and in hex with the characters beside it; one byte marked."""

from __future__ import annotations

from typing import Final

import msgspec

# Of a long payload as much is shown around the fault, or from its start: more than anybody reads.
SHOWN: Final = 512
_ROW: Final = 16


class Parts(msgspec.Struct, frozen=True):
    """A text in three: what stands before the fault, the fault, and what follows. Without a fault: all before."""

    before: str
    fault: str = ""
    after: str = ""


class Line(msgspec.Struct, frozen=True):
    """Sixteen bytes: where they begin, in hex, and as characters (a dot for what is none)."""

    offset: str
    hex: Parts
    text: Parts


class Dump(msgspec.Struct, frozen=True):
    """A payload, or the part of it around the fault: `skipped` bytes before it are not shown, nor `left` behind it.

    at_end: the fault is that it ends there
    """

    text: Parts
    lines: list[Line]
    skipped: int
    left: int
    at_end: bool


def dump(payload: bytes, position: int | None = None, size: int | None = None) -> Dump:
    """Write a payload with the byte at `position` marked; `size`: how long it was, when it was not kept whole."""
    size = max(len(payload), size or 0)
    fault = position if position is not None and 0 <= position < len(payload) else None
    middle = 0 if position is None else min(position, len(payload))
    # From a full row on, so that an offset is the same in every view.
    start = max(0, min(middle - SHOWN // 2, len(payload) - SHOWN)) // _ROW * _ROW
    shown = payload[start : start + SHOWN]
    mark = None if fault is None else fault - start
    return Dump(
        text=_text(shown, mark),
        lines=[_line(shown, begin, start, mark) for begin in range(0, len(shown), _ROW)],
        skipped=start,
        left=size - start - len(shown),
        at_end=position is not None and fault is None and position >= len(payload) == size,
    )


def _text(shown: bytes, mark: int | None) -> Parts:
    if mark is None:
        return Parts(escaped(shown))
    end = mark + _character(shown[mark : mark + 4])
    return Parts(escaped(shown[:mark]), escaped(shown[mark:end]), escaped(shown[end:]))


def _character(begin: bytes) -> int:
    """Return how many bytes the first character has; a byte that begins none counts as one."""
    for size in range(1, len(begin) + 1):
        try:
            begin[:size].decode()
        except UnicodeDecodeError:
            continue
        return size
    return 1


def escaped(text: bytes) -> str:
    r"""Decode, with escapes for what cannot be seen or would change how the rest is shown: \xff, \0, \u202e."""
    shown = text.decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else _ESCAPES.get(one) or _escape(one) for one in shown)


def visible(text: str) -> str:
    r"""Escape what cannot be seen, or would change how the rest is shown: \x1b, \x85, \u202e."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _escape(one) for one in text)


_ESCAPES: Final = {"\n": "\\n\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode()


def _line(shown: bytes, begin: int, start: int, mark: int | None) -> Line:
    row = shown[begin : begin + _ROW]
    at = None if mark is None or not begin <= mark < begin + _ROW else mark - begin
    pairs = [f"{byte:02x}" for byte in row]
    characters = [chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row]  # noqa: PLR2004  printable ASCII
    return Line(f"{start + begin:05x}", _three(pairs, at, " "), _three(characters, at, ""))


def _three(items: list[str], at: int | None, between: str) -> Parts:
    if at is None:
        return Parts(between.join(items))
    before, after = (between.join(part) for part in (items[:at], items[at + 1 :]))
    return Parts(before + between if before else "", items[at], between + after if after else "")
