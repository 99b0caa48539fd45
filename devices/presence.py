"""PURE. Presence: online, offline, stale or never seen, and the reason; the one place that decides it."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Presence = Literal["never", "online", "stale", "offline"]

# A device is stale after three of its usual intervals: one lost reading and some jitter are no news.
USUAL_INTERVALS: Final = 3
# Shorter silences are not worth a colour, however fast the device usually is.
SHORTEST_SILENCE_MS: Final = 10_000
# Messages closer together than this are one beat: scalar topics of one measurement come in a burst.
BEAT_MS: Final = 1000
# Weight of the newest interval in the learned one: it follows a change of rhythm within some ten readings.
LEARNING: Final = 0.2


class State(NamedTuple):
    """What is shown: presence, its reason, and since when (ms)."""

    presence: Presence
    because: str
    since: int


def learned(usual_ms: int | None, interval_ms: int) -> int:
    """Return the usual time between beats after one more of them.

    An absence counts as four intervals at most, so that one long gap does not become the rhythm.
    """
    if usual_ms is None:
        return interval_ms
    return round(usual_ms + LEARNING * (min(interval_ms, 4 * usual_ms) - usual_ms))


def silence_allowed(usual_ms: int, sleep_s: int | None) -> int:
    """Return after how many ms without a message a device is stale; an announced sleep may be half as long again."""
    return max(SHORTEST_SILENCE_MS, usual_ms * USUAL_INTERVALS, (sleep_s or 0) * 1500)


def heard(old: State, now: int) -> State:
    """Return the state of a device that just sent something: it is online."""
    return old if old.presence == "online" else State("online", "it sent data", now)


def said(old: State, now: int, *, online: bool, retained: bool) -> State:
    """Return the state after a status message or the last will.

    A retained message is old news: it tells which was said last, but does not prove that a stale device lives.
    """
    if online:
        if old.presence == "online" or (retained and old.presence == "stale"):
            return old
        return State("online", "it said so", now)
    return old if old.presence == "offline" else State("offline", "last will, or it said so", now)


def silent(old: State, last_at: int | None, usual_ms: int | None, sleep_s: int | None, now: int) -> State:
    """Return the state of a device that may have been silent for too long."""
    if old.presence != "online" or usual_ms is None:
        return old
    silence = now - max(last_at or 0, old.since)
    if silence <= silence_allowed(usual_ms, sleep_s):
        return old
    return State("stale", f"no data for {span(silence)}, usually every {span(usual_ms)}", now)


def span(ms: int) -> str:
    """Say a time span as people do: 0.5 s, 95 s, 12 min, 3 h, 2 d."""
    if ms < 1000:
        return f"{ms / 1000:.1f} s"
    if ms < 120_000:
        return f"{ms // 1000} s"
    if ms < 7_200_000:
        return f"{ms // 60_000} min"
    return f"{ms // 3_600_000} h" if ms < 172_800_000 else f"{ms // 86_400_000} d"
