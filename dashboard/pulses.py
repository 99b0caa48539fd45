"""PURE. What the bridges' pulses tell: whether readings are being stored, and if not, why and since when."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

# Three pulses of a bridge. Who was not heard of for so long is gone, or cannot be heard.
SILENT_MS: Final = 15_000
# A bridge that starts, or whose broker does, is back sooner: that is no alarm.
DEAF_MS: Final = 5_000
# Whoever was not heard of for so long is not spoken of any more: it was renamed, or is not needed.
FORGET_MS: Final = 600_000


class Verdict(msgspec.Struct, frozen=True):
    """Whether readings are being stored; `since` in ms (0: for ever)."""

    storing: bool
    because: str = ""
    since: int = 0


class Heard(msgspec.Struct):
    """What a bridge said last: at our time `at`; since when it does not reach the broker.

    `began`: its duty; `counts` since then (groups.Passed). A bridge of an older release says neither.
    """

    at: int
    deaf_since: int | None
    holding_since: int | None
    because: str
    held: int
    began: int = 0
    counts: dict[str, int] = {}

    def told(self) -> dict[str, object]:
        """Return what a client is told of it."""
        return {
            "heard_at": self.at,
            "began": self.began,
            "hearing": self.deaf_since is None,
            "holding_since": self.holding_since,
            "held": self.held,
            "counts": self.counts,
        }


def known(bridges: dict[str, Heard], now: int) -> dict[str, Heard]:
    """Return those of them that were heard of in the last minutes."""
    return {name: heard for name, heard in list(bridges.items()) if now - heard.at < FORGET_MS}


class Pulses:
    """All bridges, as one process hears of them. Times in ms."""

    def __init__(self, now: int) -> None:
        """Begin to listen."""
        self.bridges: dict[str, Heard] = {}
        # Silence before this tells nothing: nobody listened.
        self._listening = now
        self._last = now
        self._verdict = Verdict(storing=True)

    def hear(self, pulse: dict[str, object], now: int) -> bool:
        """Take a pulse (groups.Pulse); whether that is the first of a duty: the bridge is new here, or began again."""
        name = str(pulse["bridge"])
        before = self.bridges.get(name)
        deaf_since = None if pulse["hearing"] else (before and before.deaf_since) or now
        told = msgspec.convert(
            {**pulse, "at": now, "deaf_since": deaf_since},
            Heard,
        )
        self.bridges[name] = told
        self._last = now
        return before is None or before.began != told.began

    def deaf(self, now: int) -> None:
        """The channel layer is away: until it is back, silence tells nothing."""
        self._listening = now

    def verdict(self, now: int) -> Verdict:
        """Say how it stands; `since` stays what it was while the reason does."""
        storing, because, since = self._judge(now)
        if (storing, because) != (self._verdict.storing, self._verdict.because):
            self._verdict = Verdict(storing, because, since)
        return self._verdict

    def _judge(self, now: int) -> tuple[bool, str, int]:
        present = [heard for heard in self.bridges.values() if now - heard.at < SILENT_MS]
        for heard in present:
            if heard.holding_since is not None:
                return False, heard.because, heard.holding_since
            if heard.deaf_since is not None and now - heard.deaf_since >= DEAF_MS:
                return False, "the bridge does not reach the broker", heard.deaf_since
        if present:
            return True, "", now
        if now - max(self._listening, self._last) < SILENT_MS:
            return self._verdict.storing, self._verdict.because, self._verdict.since
        return False, "no bridge is running", self._last

    def word(self, now: int) -> Literal["ok", "holding", "unknown"]:
        """Say it to a supervisor. `unknown`: no bridge is heard of (yet)."""
        if not self.bridges or all(now - heard.at >= SILENT_MS for heard in self.bridges.values()):
            return "unknown"
        return "ok" if self.verdict(now).storing else "holding"
