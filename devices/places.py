"""PURE. Where in a payload a fault stands, in bytes. Asked only after the payload was refused, so speed is second.

JSON is looked at as Latin-1: a character for each byte, so that an index into the text is an offset in the payload.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

# A text matches even when its closing quote is missing, so each byte is looked at once, whatever the bytes are.
_TEXT: Final = rb'"(?:[^"\\]|\\.)*+"?'
_BRACKETS: Final = re.compile(_TEXT + rb"|([\[{])|([\]}])", re.DOTALL)
_NUMBERS: Final = re.compile(_TEXT + rb"|(-?\d++(?:\.\d++)?(?:[eE][+-]?\d++)?)", re.DOTALL)
_SHAPE: Final = re.compile(
    rb"(?P<name>" + _TEXT + rb")\s*+:|" + _TEXT + rb"|(?P<open>[\[{])|(?P<close>[\]}])", re.DOTALL
)
_ESCAPES: Final = re.compile(
    rb"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL
)
_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
# How long an integer may be is not asked here, and what it is worth neither.
_json: Final = json.JSONDecoder(parse_int=len, parse_float=len)


def start(payload: bytes) -> int:
    """Where the payload's text begins, behind what is blank."""
    return len(payload) - len(payload.lstrip())


def too_deep(payload: bytes, levels: int) -> int | None:
    """Where the first bracket stands that opens one level too many."""
    depth = 0
    for found in _BRACKETS.finditer(payload):
        depth += bool(found[1]) - bool(found[2])
        if depth > levels:
            return found.start()
    return None


def too_big(payload: bytes) -> int | None:
    """Where the first number stands that no computer holds."""
    return next(
        (found.start() for found in _NUMBERS.finditer(payload) if found[1] and math.isinf(float(found[1]))), None
    )


def half_character(payload: bytes) -> int | None:
    r"""Where the first \ud8… escape stands that is not one of a pair."""
    return next((found.start() for found in _ESCAPES.finditer(payload) if found[1]), None)


def not_json(payload: bytes, said: str) -> int:
    """Where JSON ends to be JSON, given what msgspec said: its "(byte N)", or a little before it.

    The decoder has already taken what it calls trailing, the letters behind true, false and null, and escapes.
    """
    half = half_character(payload)
    if half is not None and ("surrogate" in said or "truncated" in said):
        return half
    byte = _BYTE.search(said)
    at = int(byte[1]) if byte else len(payload)  # "truncated": the end is where more was expected
    if "trailing characters" in said or "escape" in said:
        return at - 1
    word = _first_fault(payload)
    return word if word >= at - 5 and _is_no_word(payload[word : word + 5]) else at


def _first_fault(payload: bytes) -> int:
    try:
        _json.decode(payload.decode("latin-1"))
    except json.JSONDecodeError as error:
        return error.pos
    except RecursionError:
        return -1
    return -1


def _is_no_word(said: bytes) -> bool:
    """Whether this begins like true, false or null, and goes on otherwise; to break off is another fault."""
    return said[:1] in {b"t", b"f", b"n"} and not any(word.startswith(said) for word in (b"true", b"false", b"null"))


def doubled(payload: bytes) -> tuple[str, int] | None:
    """Name the first member of valid JSON that stands twice in one object, and where it stands the second time."""
    seen: list[set[str]] = []
    for found in _SHAPE.finditer(payload):
        match found.lastgroup:
            case "open":
                seen.append(set())
            case "close":
                seen.pop()
            case "name":
                name = msgspec.json.decode(found["name"], type=str)
                if name in seen[-1]:
                    return name, found.start()
                seen[-1].add(name)
    return None


def member(payload: bytes, path: Sequence[str], *, is_name: bool) -> int:
    """Where in valid JSON the value at the end of `path` begins, or its name; what lacks it, when it is not there.

    An array's items are called "0", "1", …
    """
    text = payload.decode("latin-1")
    at = start(payload)
    for number, step in enumerate(path, 1):
        found = next(((begins, value) for called, begins, value in _members(text, at) if called == step), None)
        if found is None:
            return at
        at = found[0] if is_name and number == len(path) else found[1]
    return at


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Each member of the object or array at `at`: its name or number, where it begins, where its value begins."""
    if text[at] not in "{[":
        return
    is_object = text[at] == "{"
    at = _after_space(text, at + 1)
    count = 0
    while text[at] not in "]}":
        name, begins = str(count), at
        if is_object:
            _, at = _json.raw_decode(text, at)
            name = msgspec.json.decode(text[begins:at].encode("latin-1"), type=str)
            at = _after_space(text, _after_space(text, at) + 1)
        yield name, begins, at
        at = _after_space(text, _json.raw_decode(text, at)[1])
        at = _after_space(text, at + 1) if text[at] == "," else at
        count += 1


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
