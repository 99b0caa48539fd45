"""PURE. A device's own numbering of its frames (`boot`, `seq`): what is here, what is missing, what a receipt says.

Kept with the device's head as JSON: {"before", "told_at", "boots": [[boot, first, newest, count, ranges], …]}.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final

import msgspec

from devices.values import MAX_COUNTER

# A device that comes back with a buffer may still send of its last boots; nobody's buffer spans more of them.
MAX_BOOTS: Final = 4
# Ranges told of one boot. A device that never sends again what is missing makes ever more of them; it is counted on,
# and only what a receipt says of the oldest ones is forgotten.
MAX_RANGES: Final = 32


class Receipt(msgspec.Struct, frozen=True):
    """What is committed of a device's boot: every frame up to `seq`, and beyond it those in `have` ([low, high], …)."""

    device: str
    boot: int
    seq: int
    have: list[list[int]] = []


class Boot(msgspec.Struct, array_like=True):
    """One boot: `count` distinct frames are here of those from `first` to `newest`; `ranges`: known ones in order.

    `first` is 0 or 1; or later, when what came before was not looked at for gaps (then a receipt claims none of it).
    """

    boot: int
    first: int
    newest: int
    count: int = 0
    ranges: list[list[int]] = []

    @property
    def missing(self) -> int:
        """How many frames of this boot are not here, though a later one is."""
        return self.newest - self.first + 1 - self.count

    def take(self, n: int) -> None:
        """Note a new frame."""
        self.put(n)
        if n < self.first > 1:
            return
        self.first = min(self.first, n)
        self.newest = max(self.newest, n)
        self.count += 1

    def has(self, n: int) -> bool:
        """Whether frame `n` is here, as far as is still known."""
        at = bisect_right(self.ranges, [n, 2**63])
        return at > 0 and n <= self.ranges[at - 1][1]

    def put(self, n: int) -> None:
        """Note that frame `n` is here (again)."""
        at = bisect_right(self.ranges, [n, 2**63])
        below = self.ranges[at - 1] if at else None
        above = self.ranges[at] if at < len(self.ranges) else None
        if below and n <= below[1]:
            return
        if below and below[1] == n - 1:
            below[1] = n
            if above and above[0] == n + 1:
                below[1] = above[1]
                del self.ranges[at]
        elif above and above[0] == n + 1:
            above[0] = n
        else:
            self.ranges.insert(at, [n, n])
            self._forget()

    def _forget(self) -> None:
        if len(self.ranges) > MAX_RANGES:
            del self.ranges[1 if self._whole() else 0]

    def _whole(self) -> bool:
        """Whether the first range begins where numbers do: it is what the receipt's `seq` is made of."""
        return bool(self.ranges) and self.ranges[0][0] <= 1

    def receipt(self, device: str) -> Receipt:
        """Say what is committed."""
        seq, have = (self.ranges[0][1], self.ranges[1:]) if self._whole() else (0, self.ranges)
        return Receipt(device, self.boot, seq, [list(each) for each in have])


class Numbering(msgspec.Struct):
    """All that is known of a device's numbering; the boot that was heard last stands last.

    before   missing frames of boots that are not followed any more
    told_at  ms, when missing frames were last put among the device's events
    """

    before: int = 0
    told_at: int = 0
    boots: list[Boot] = []

    @property
    def missing(self) -> int:
        """How many frames are not here, though later ones are. (No more than any column holds: who skips so many?)"""
        return min(MAX_COUNTER, self.before + sum(boot.missing for boot in self.boots))

    def take(self, boot: int, n: int) -> bool:
        """Note a new frame; whether it begins a boot that was not heard of before. Numbers begin at 1, or at 0."""
        found = self._find(boot)
        new = found is None
        if found is None:
            found = Boot(boot, min(n, 1), n)
            self.boots.append(found)
            if len(self.boots) > MAX_BOOTS:
                self.before = min(MAX_COUNTER, self.before + self.boots.pop(0).missing)
        found.take(n)
        return new

    def has(self, boot: int, n: int) -> bool:
        """Whether a frame is here, as far as is still known."""
        return any(found.boot == boot and found.has(n) for found in self.boots)

    def again(self, boot: int, n: int) -> bool:
        """Note a frame that is here already; whether its boot is followed."""
        if found := self._find(boot):
            found.put(n)
        return found is not None

    def _find(self, boot: int) -> Boot | None:
        for at, found in enumerate(self.boots):
            if found.boot == boot:
                self.boots.append(self.boots.pop(at))
                return found
        return None

    def receipt(self, device: str, boot: int) -> Receipt | None:
        """Say what is committed of a boot; None when it is not followed (any more)."""
        found = self._find(boot)
        return found.receipt(device) if found else None


def of(stored: Any) -> Numbering:  # noqa: ANN401  JSON
    """Read what is kept with a head."""
    return msgspec.convert(stored or {}, Numbering)


def described(stored: Any) -> dict[str, Any] | None:  # noqa: ANN401  JSON
    """Say for people how a device's numbering stands; None when it does not number its frames."""
    numbering = of(stored)
    if not numbering.boots:
        return None
    last = numbering.boots[-1]
    receipt = last.receipt("")
    return {"boot": last.boot, "newest": last.newest, "committed": receipt.seq, "missing": numbering.missing}
