"""PURE. Presence: online, offline, stale or never seen, and the reason; the one place that decides it."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Presence = Literal["never", "online", "stale", "offline"]

# A device is stale after three of its usual intervals: one lost reading and some jitter are no news.
USUAL_INTERVALS: Final = 3
# Shorter silences are not worth a colour, however fast the device usually is.
SHORTEST_SILENCE_MS: Final = 10_000
# Of a device that was heard once and announced nothing, no rhythm is known; after a day nobody would call it online.
LONGEST_UNKNOWN_MS: Final = 86_400_000
# Messages closer together than this are one beat: scalar topics of one measurement come in a burst.
BEAT_MS: Final = 1000
# How the reason of a device begins that is away on purpose. It counts as online, for it does what it announced.
ASLEEP: Final = "asleep, as announced"
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


def silence_allowed(usual_ms: int | None, sleep_s: int | None) -> int:
    """Return after how many ms without a message a device is stale; an announced sleep may be half as long again."""
    if usual_ms is None and sleep_s is None:
        return LONGEST_UNKNOWN_MS
    return max(SHORTEST_SILENCE_MS, (usual_ms or 0) * USUAL_INTERVALS, (sleep_s or 0) * 1500)


def asleep(state: State) -> bool:
    """Whether a device is away on purpose: it announced a sleep, and then its connection ended."""
    return state.presence == "online" and state.because.startswith(ASLEEP)


def heard(old: State, now: int) -> State:
    """Return the state of a device that just sent something: it is online."""
    if asleep(old):
        return State("online", "it woke and sent data", now)
    return old if old.presence == "online" else State("online", "it sent data", now)


def said(old: State, now: int, sleep_s: int | None, *, online: bool, retained: bool) -> State:
    """Return the state after a status message or the last will; `sleep_s` is the silence that the device announced.

    A retained message is old news: it tells which was said last, but does not prove that a stale device lives.
    """
    if online:
        if asleep(old):
            return old if retained else State("online", "it woke and said so", now)
        if old.presence == "online" or (retained and old.presence == "stale"):
            return old
        return State("online", "it said so", now)
    if old.presence == "online" and sleep_s:
        because = f"{ASLEEP}, for about {span(sleep_s * 1000)}"
        return old if old.because == because else State("online", because, now)
    return old if old.presence == "offline" else State("offline", "last will, or it said so", now)


def cut(old: State, now: int, because: str) -> State:
    """Return the state of a device whose connection the hub itself has ended."""
    return State("offline", because, now) if old.presence in ("online", "stale") else old


def silent(
    old: State, last_at: int | None, usual_ms: int | None, sleep_s: int | None, now: int, *, hearing_since: int = 0
) -> State:
    """Return the state of a device that may have been silent for too long.

    While the hub did not hear its broker it knows of no silence: it counts from `hearing_since` on (ms), at most.
    """
    if old.presence != "online":
        return old
    since = max(last_at or 0, old.since)
    allowed = silence_allowed(None if asleep(old) else usual_ms, sleep_s)
    if now - max(since, hearing_since) <= allowed:
        return old
    usually = "" if usual_ms is None else f", usually every {span(usual_ms)}"
    if sleep_s:
        usually = f", and it announced to sleep for {span(sleep_s * 1000)}"
    return State("stale", f"no data for {span(now - since)}{usually}", now)


_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


def span(ms: int) -> str:
    """Say a time span as people do, with two of a unit at least: 0.5 s, 95 s, 12 min, 3 h, 2 d."""
    for size, unit in _UNITS:
        if ms >= 2 * size:
            return f"{ms // size} {unit}"
    return f"{ms / 1000:.1f} s"
