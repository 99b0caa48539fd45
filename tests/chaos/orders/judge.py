"""PURE. The judge: what was promised of each command, compared with what its device wrote down and the hub says.

A device that remembers is asked again as long as the command is good. So one that was good for long enough is carried
out once, in time, and `succeeded`; or not at all, and `expired` or `cancelled`. Of others it is at most once, in time,
and nothing is claimed that was not so: `unknown` says that nobody can know any more. A device that was killed in the
midst of a command may answer that it was interrupted, so that it `failed`: whether it was done nobody knows.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

BROKEN: Final = ("lost", "twice", "late", "untrue")
COUNTED: Final = ("rounds", "once", "expired", "refused", "interrupted", "unknown", *BROKEN)
OPEN: Final = frozenset({"queued", "sent", "received"})


class Told(NamedTuple):
    """A command as the hub tells it: the key by which it was asked for, its state, its end (ms)."""

    key: str
    cid: str
    state: str
    expires_at: int


class Case(NamedTuple):
    """A command that was asked for. `cid`: as the answer said, "" when none came.

    again   whether its device is asked again in time, so that it has to be known what became of it
    """

    key: str
    cid: str
    cell: str
    again: bool


class Cell(msgspec.Struct):
    """How many commands of each verdict, of one row of the table.

    rounds    how many kills, or how many devices came back late
    refused   how many of the expired ones came to their device, which did not act
    """

    name: str
    rounds: int = 0
    once: int = 0
    expired: int = 0
    refused: int = 0
    interrupted: int = 0
    unknown: int = 0
    lost: int = 0
    twice: int = 0
    late: int = 0
    untrue: int = 0
    broken: list[str] = []


def judged(
    cells: Iterable[str], cases: Iterable[Case], told: Iterable[Told], acts: Mapping[str, Sequence[int]]
) -> list[Cell]:
    """Count the verdicts, for each cell. `acts`: cid → when its device carried it out, each time."""
    found = {name: Cell(name) for name in cells}
    by_key = {one.key: one for one in told}
    for case in cases:
        cell, one = found[case.cell], by_key.get(case.key)
        for verdict in verdicts(case, one, acts):
            setattr(cell, verdict, getattr(cell, verdict) + 1)
            if verdict in BROKEN:
                at = acts.get(one.cid, ()) if one else ()
                cell.broken.append(f"{verdict}: {case} is {one}, carried out at {list(at)}")
    return list(found.values())


def verdicts(case: Case, told: Told | None, acts: Mapping[str, Sequence[int]]) -> list[str]:
    """All that is to be said of one command."""
    if told is None:
        # Whoever never got an answer cannot know; with one, the command has to be there.
        return ["lost"] if case.cid else []
    times = acts.get(told.cid, ())
    found = ["twice"] if len(times) > 1 else []
    found += ["late"] if any(at > told.expires_at for at in times) else []
    if case.cid not in ("", told.cid):
        found.append("twice")  # one key made two commands
    return [*found, _state(case, told.state, done=bool(times))]


def _state(case: Case, state: str, *, done: bool) -> str:
    match state, done:
        case "succeeded", True:
            return "once"
        case (("expired" | "cancelled"), False):
            return "expired"
        case "failed", _:
            return "interrupted"
        case "unknown", _ if not case.again:
            return "unknown"
        case (("succeeded" | "expired" | "cancelled" | "rejected"), _):
            return "untrue"
    # Nobody will ever say what became of it, though its device could.
    return "lost"


def strangers(told: Iterable[Told], acts: Mapping[str, Sequence[int]]) -> list[str]:
    """What was carried out and is no command."""
    return sorted(acts.keys() - {one.cid for one in told})


def total(cells: Sequence[Cell]) -> Cell:
    """All cells together."""
    counts = {name: sum(getattr(cell, name) for cell in cells) for name in COUNTED}
    return Cell("all", **counts, broken=[sentence for cell in cells for sentence in cell.broken])
