"""PURE. How many commands a job may give now, and how several share what is given in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SECOND_MS: Final = 1000


def stage_end(total: int, stages: Sequence[int], stage: int) -> int:
    """Return the position behind a stage's last device. Of few devices the first stages have one each at least."""
    return -(-total * stages[stage] // 100) if stages else total


def allowed(left: int, rate: int | None, since: int | None, now: int) -> int:
    """Return how many of those that are left may be given now. `since`: up to when the rate is used up; None: never."""
    if rate is None:
        return left
    if since is None:
        return min(left, 1)
    # What was not used for long is lost: a job does not make up for the time when nobody was there.
    return max(0, min(left, rate, (now - since) * rate // SECOND_MS))


def used(given: int, rate: int | None, since: int | None, now: int) -> int:
    """Return up to when the rate is used up, after so many more were given."""
    if rate is None or since is None:
        return now
    return max(since, now - SECOND_MS) + -(-given * SECOND_MS // rate)


def shares(wanted: Sequence[int], budget: int) -> list[int]:
    """Share a budget evenly; what one does not need is the others'."""
    given = [0] * len(wanted)
    left = sorted(range(len(wanted)), key=lambda place: wanted[place])
    while left:
        place = left.pop(0)
        given[place] = min(wanted[place], budget // (len(left) + 1))
        budget -= given[place]
    return given
