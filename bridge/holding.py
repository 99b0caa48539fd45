"""PURE. What a bridge that cannot store holds, since when, and why, in words for whoever has to mend it."""

from __future__ import annotations

from typing import Final

import msgspec

# By the first characters of SQLSTATE (PostgreSQL, appendix A); the longest that fits counts.
_BY_STATE: Final = {
    "53100": "the database's disk is full",
    "53": "the database has no room left",
    "25006": "the database is read-only",
    "08": "the database is away",
    "57P": "the database is away",
    "28": "the database refuses the hub's password",
    "3D": "the database is not there",
    "42501": "the database does not let the hub write",
}
# SQLite has no codes in its errors that reach us, only texts (sqlite3.c, sqlite3ErrStr).
_BY_TEXT: Final = {
    "database or disk is full": "the database's disk is full",
    "readonly database": "the database is read-only",
    "database is locked": "another program keeps the database locked",
    "unable to open database file": "the database's file cannot be opened",
    "disk I/O error": "the database's disk does not work",
    "lost its lock": "this bridge looks whether it is still the active one",
}
QUOTED: Final = 150


class Holding(msgspec.Struct, frozen=True):
    """Messages that cannot be stored: how many the bridge has in hand, since when (ms), and why."""

    since: int
    held: int
    because: str


def because(error: BaseException) -> str:
    """Say why the database cannot store."""
    cause = error.__cause__ or error
    state = getattr(cause, "sqlstate", None) or ""
    for length in (5, 3, 2):
        if found := _BY_STATE.get(state[:length]):
            return found
    text = str(error).strip()
    for part, meaning in _BY_TEXT.items():
        if part in text:
            return meaning
    if not state and "OperationalError" in type(error).__name__:
        return "the database is away"  # nobody answered: a server's own refusals have a state
    return f"the database cannot: {(text.splitlines() or [type(error).__name__])[0][:QUOTED]}"
