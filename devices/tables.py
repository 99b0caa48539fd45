"""PURE. Rows as CSV, of which no table program takes a text for a formula.

A text that would be one has an apostrophe before it. So has one that begins with an apostrophe, so that all of it can
be undone: `unguarded` takes one away wherever `guarded` could have put it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

# How table programs know a formula, as OWASP lists it ("CSV injection"): these signs, their wide forms, and blanks that
# some programs drop. They know it at the start of a cell, and also where they cut one: where a list separator of the
# reader's country is ";", or where a text with tabs and ends of lines is pasted, quotes do not keep it together.
_SIGN: Final = "\"*[=+@＝＋－＠'-]"
_GUARD: Final = re.compile(rf"\A(?=[\t\r\n]|{_SIGN})|(?<=[;\t\r\n])(?={_SIGN})")
_GUARDED: Final = re.compile(r"(?:\A|(?<=[;\t\r\n]))'")
# What may stand without quotes: it is in no country a separator.
_PLAIN: Final = re.compile(r"[\w.:'-]*( [\w.:'-]+)*", re.ASCII)

Cell = str | int | float | bool | None


def guarded(text: str) -> str:
    """Write a text so that it begins no formula, wherever a program cuts it."""
    return _GUARD.sub("'", text)


def unguarded(text: str) -> str:
    """Read it back."""
    return _GUARDED.sub("", text)


def written(rows: Iterable[Sequence[Cell]]) -> str:
    """Write rows as RFC 4180 has it; numbers stay numbers, None is an empty cell."""
    return "".join(f"{','.join(map(_cell, row))}\r\n" for row in rows)


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        text = guarded(value)
        return text if _PLAIN.fullmatch(text) else '"{}"'.format(text.replace('"', '""'))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else repr(value)
