"""PURE. What a command may become: the only table of moves.

queued → sent → received → succeeded | failed | rejected
queued → cancelled | expired | unknown
sent → expired | unknown → (a late answer still settles it)        unknown → expired
received → succeeded | failed | rejected | timed_out → (likewise)

`sent` needs the broker's word, every state behind it the device's. `expired` means: it was not carried out, for its
time was over before it could be sent, or the device says that it came too late. `unknown` means: it was handed over and
nothing proves what became of it. Nothing leads back, so each state is entered at most once. Sending it again, to a
device that remembers, is no move.
"""

from __future__ import annotations

from typing import Final, Literal

State = Literal[
    "queued",
    "sent",
    "received",
    "succeeded",
    "failed",
    "rejected",
    "cancelled",
    "expired",
    "unknown",
    "timed_out",
]

_ANSWERS: Final[frozenset[State]] = frozenset({"succeeded", "failed", "rejected"})

MOVES: Final[dict[State, frozenset[State]]] = {
    "queued": frozenset({"sent", "cancelled", "expired", "unknown"}),
    "sent": frozenset({"received", "expired", "unknown", *_ANSWERS}),
    "received": frozenset({"timed_out", *_ANSWERS}),
    "unknown": frozenset({"received", "expired", *_ANSWERS}),
    "expired": frozenset({"received", *_ANSWERS}),
    "timed_out": frozenset(_ANSWERS),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "rejected": frozenset(),
    "cancelled": frozenset(),
}

# Nothing more is expected of these, though a late answer may still settle some of them.
CLOSED: Final[frozenset[State]] = frozenset(MOVES) - {"queued", "sent", "received"}


def may(source: State, target: State) -> bool:
    """Whether a command in `source` may become `target`."""
    return target in MOVES[source]


def sources(target: State) -> list[State]:
    """Return the states that may become `target`; for the one UPDATE that has one winner."""
    return sorted(state for state, targets in MOVES.items() if target in targets)
