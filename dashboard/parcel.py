"""PURE. What is to be said next of a subscription, put together and encoded once for all to whom it is said."""

from __future__ import annotations

from typing import Any, Final

from dashboard import protocol, rows
from dashboard.rows import Part

# Devices in one data message; a subscription with more of them takes turns.
DEVICES_A_MESSAGE: Final = 100


class Parcel:
    """What is to be said next, to whomever: notes, which need no credit, then at most one data message.

    parts    device → its part of the data message; before: device → the cursor before this parcel
    notes    lag and gap messages without `id`
    tail     the data message without its beginning, encoded once; None: nothing to send
    sent     when it was put together (ms; 0: not told)
    frames   how many its data message brings; merged: how many of them went into another one's row (mode latest);
             read_back: how many were read from the database, although the stream was live
    """

    def __init__(self, kind: str = "data") -> None:
        """Start empty, with room for one message."""
        self.kind = kind
        self.notes: list[dict[str, Any]] = []
        self.parts: dict[str, Part] = {}
        self.before: dict[str, int] = {}
        self.rows = rows.CHUNK
        self.size = rows.CHUNK_SIZE
        self.tail: str | None = None
        self.sent = 0
        self.frames = 0
        self.merged = 0
        self.read_back = 0

    @property
    def full(self) -> bool:
        """Whether another device's rows have to wait for the next one."""
        return self.rows <= 0 or self.size <= 0 or len(self.parts) >= DEVICES_A_MESSAGE

    def put(self, key: str, part: Part) -> None:
        """Add one device's rows."""
        self.parts[key] = part
        self.rows -= part.amount
        self.size -= part.size

    def seal(self, phase: str, **more: int | bool) -> None:
        """Encode what was put in; `more` goes with it."""
        self.sent = more.get("sent", 0)
        self.frames = sum(part.amount for part in self.parts.values())
        self.merged = sum(part.merged for part in self.parts.values())
        self.tail = rows.data(phase, self.parts, **more)

    def noted(self, sub: str) -> list[str]:
        """Return the notes as messages of a subscription."""
        return [protocol.text(kind=note["kind"], id=sub, **_but_kind(note)) for note in self.notes]

    def addressed(self, sub: str) -> str | None:
        """Return the message as one of a subscription."""
        return None if self.tail is None else rows.addressed(self.kind, sub, self.tail)


def _but_kind(note: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in note.items() if name != "kind"}
