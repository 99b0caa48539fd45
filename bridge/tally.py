"""What a bridge counts while it is on duty: what came, what became of it, and who was told (groups.Passed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devices.groups import Passed
    from devices.intake import Stored


class Tally:
    """One duty's; it begins at zero. `began` in ms."""

    def __init__(self, began: int) -> None:
        """Begin."""
        self.began = began
        self.heard = 0
        self.batched = 0
        self.frames = 0
        self.duplicates = 0
        self.rejects = 0
        self.refused = 0
        self.others = 0
        self.announced = 0
        self.unwatched = 0
        self.lost = 0

    def add(self, stored: Stored) -> None:
        """Count what a commit took in."""
        self.heard += stored.heard
        self.batched += stored.batched
        self.frames += stored.frames
        self.duplicates += stored.duplicates
        self.rejects += len(stored.rejects) - stored.refused
        self.refused += stored.refused
        self.others += stored.others

    def told(self, waiting: int) -> Passed:
        """Return it all; `waiting` frames are still to be announced."""
        return {
            "heard": self.heard,
            "batched": self.batched,
            "frames": self.frames,
            "duplicates": self.duplicates,
            "rejects": self.rejects,
            "refused": self.refused,
            "others": self.others,
            "announced": self.announced,
            "unwatched": self.unwatched,
            "lost": self.lost,
            "waiting": waiting,
        }
