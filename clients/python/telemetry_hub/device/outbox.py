"""PURE. Which frames are to be sent now, how fast, and when again; the store that keeps them is an argument.

A frame is sent until a receipt covers it. Receipts also set the pace: no more is under way than a hub has receipts for
in a few seconds, and one that refuses because of its limit is sent to at half the speed, and all of it again.
Instants are s of a clock that is never set.
"""

import json
from typing import Any, Final

from telemetry_hub.device.store import Frame, Store
from telemetry_hub.device.words import LOCATION, TELEMETRY, Publish, Send, topic

# What small clients can still send in one publish.
BATCH_BYTES: Final = 3072
# Frames a second: how it begins, and the limits in between. A hub takes 1000 unless somebody said otherwise.
_FIRST_RATE, _LEAST_RATE, _MOST_RATE = 500.0, 1.0, 5000.0
_FASTER, _CAREFUL, _SLOWER, _NEARLY = 1.2, 1.02, 0.5, 0.75
# Receipts come once a second; so many seconds' worth of frames may be without one.
_WINDOW_S: Final = 4.0
_LEAST_WINDOW: Final = 200
# What was refused is told within a second, as is what was taken: after this nothing is under way any more.
_SETTLED_S: Final = 2.5
# When the oldest frame has no receipt for so long, it is sent again; each time later, for the hub may be away.
_PATIENCE_S, _LONGEST_PATIENCE_S = 10.0, 300.0
# Of one frame that is sent alone.
_ALONE_S: Final = 5.0
# A hub that refuses so now may take it later; all its other reasons are about what is in the frame.
_LATER: Final = frozenset(("rate_limited", "device_unknown", "device_disabled"))
# A receipt has room to name about a dozen stretches; before they are so many, numbers begin anew.
_MANY_GAPS: Final = 8
_AT_ONCE: Final = 100


class Outbox:
    """The frames of one device on their way."""

    def __init__(self, key: str, store: Store, *, batch_bytes: int = BATCH_BYTES, clock: bool = True) -> None:
        """`clock`: whether this device knows what time it is; else it says how long ago something was."""
        self._key = key
        self._store = store
        self._batch_bytes = batch_bytes
        self._clock = clock
        self._cursor = 0  # the newest frame that is under way
        self._newest = 0  # the newest one that a broker has got
        self._flying = 0
        self._rate, self._ceiling = _FIRST_RATE, _MOST_RATE
        self._tokens, self._at = _FIRST_RATE, 0.0
        self._hold_until = 0.0
        self._oldest: int | None = None
        self._again_at = 0.0
        self._patience = _PATIENCE_S
        self._alone_until = 0  # one at a time up to this frame: one of them is refused
        self._lost = store.lost

    def connected(self, now: float) -> None:
        """A connection is there: whatever has no receipt is sent again."""
        self._patience = _PATIENCE_S
        self._hold_until = 0.0
        self._again(now)

    def _again(self, now: float) -> None:
        self._cursor = self._flying = 0
        self._tokens, self._at = min(self._tokens, self._rate), now
        self._oldest = None

    # What goes out

    def next(self, now: float, wall: int) -> Send | None:
        """Return the next message, and count it as under way; None: nothing may be sent now."""
        self._look(now)
        if now < self._hold_until or not self._may(now):
            return None
        frames = self._batch(wall)
        if not frames:
            return None
        last = frames[-1][0].id
        fresh = sum(frame.id > self._newest for frame, _ in frames)
        if not self._flying:
            self._oldest, self._again_at = frames[0][0].id, now + self._waits()
        self._cursor = last
        self._flying += len(frames)
        self._tokens -= len(frames)
        entries = [text for _, text in frames]
        payload = entries[0] if len(entries) == 1 else f"[{','.join(entries)}]"
        return Send(Publish(topic(self._key, frames[0][0].level), payload.encode()), "frames", len(frames), fresh, last)

    def done(self, send: Send) -> None:
        """A broker has it, which deletes nothing."""
        self._newest = max(self._newest, send.last)

    def wake_at(self, now: float) -> float | None:
        """Return when there may be something to send or to send again; None: not before something happens."""
        if not self._store.kept:
            return None
        soonest = max(self._hold_until, now + max(0.0, 1 - self._tokens) / self._rate)
        waiting = self._flying < self._window() and bool(self._store.behind(self._cursor, 1))
        again = self._again_at if self._flying else soonest
        return min(soonest, again) if waiting else again

    def _may(self, now: float) -> bool:
        self._tokens = min(self._rate, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        return self._tokens >= 1 and self._flying < self._window()

    def _window(self) -> int:
        return 1 if self._alone_until else max(_LEAST_WINDOW, int(self._rate * _WINDOW_S))

    def _waits(self) -> float:
        return _ALONE_S if self._alone_until else self._patience

    def _batch(self, wall: int) -> list[tuple[Frame, str]]:
        most = 1 if self._alone_until else _AT_ONCE
        batch: list[tuple[Frame, str]] = []
        size = 2
        for frame in self._store.behind(self._cursor, most):
            text = self._entry(frame, wall)
            size += len(text.encode()) + 1
            if batch and (frame.level != batch[0][0].level or size > self._batch_bytes):
                break
            batch.append((frame, text))
            if frame.level == LOCATION:  # has no form for several
                break
        return batch

    def _entry(self, frame: Frame, wall: int) -> str:
        when = f'"ts":{frame.at}' if self._clock else f'"dt":{min(0, frame.at - wall)}'
        values = frame.values[1:-1] if frame.level == LOCATION else f'"values":{frame.values}'
        return f'{{{when},"boot":{frame.boot},"seq":{frame.n},{values}}}'

    def _look(self, now: float) -> None:
        """Send again when the oldest frame under way has waited too long."""
        if self._flying and now >= self._again_at:
            self._patience = min(_LONGEST_PATIENCE_S, self._patience * 2)
            self._again(now)

    # What comes back

    def receipt(self, payload: bytes, now: float, wall: int) -> int:
        """Take a receipt: what it covers is forgotten. Return how many frames that were."""
        try:
            given = json.loads(payload)
            boot, have = int(given["boot"]), [(int(low), int(high)) for low, high in given.get("have", ())]
            gone = self._store.forget(boot, [(1, int(given["seq"])), *have])
        except (ValueError, KeyError, TypeError):
            return 0  # not ours to judge: what it would have covered is sent again
        self._flying = self._store.upto(self._cursor) if self._flying else 0
        if gone and now >= self._hold_until:
            self._rate = min(_MOST_RATE, self._rate * (_FASTER if self._rate < self._ceiling else _CAREFUL))
        self._aged(now)
        self._renumber(boot, len(have), wall)
        return gone

    def _aged(self, now: float) -> None:
        """Give the frame that is the oldest now its time."""
        oldest = self._store.oldest()
        if self._alone_until and (oldest is None or oldest > self._alone_until):
            self._alone_until = 0
        if oldest != self._oldest:
            self._oldest, self._patience = oldest, _PATIENCE_S
            self._again_at = now + self._waits()

    def _renumber(self, boot: int, gaps: int, wall: int) -> None:
        lost = self._store.lost
        if gaps >= _MANY_GAPS and boot == self._store.boot and lost > self._lost:
            self._lost = lost
            self._store.start(wall)

    def refused(self, payload: bytes, now: float) -> str:
        """Take a refusal. Return why, when it was about frames; else nothing."""
        try:
            given: dict[str, Any] = json.loads(payload)
            why, about = str(given["reason"]), str(given.get("topic", ""))
        except (ValueError, KeyError, TypeError):
            return ""
        if not self._about_frames(about):
            return ""
        if why in _LATER:
            self._slow_down(now)
        elif self._alone_until and self._flying == 1 and now >= self._hold_until:
            self._store.drop(self._cursor)
            self._flying = 0
            self._aged(now)
        elif not self._alone_until and self._cursor:
            self._alone_until = self._cursor
            self._hold_until = now + _SETTLED_S
            self._again(now)
        return why

    def _about_frames(self, about: str) -> bool:
        # A notice names the topic as far as there is room for it.
        return any(topic(self._key, level).startswith(about) for level in (TELEMETRY, LOCATION))

    def _slow_down(self, now: float) -> None:
        if now < self._hold_until:
            return  # of what was sent before
        self._ceiling = self._rate * _NEARLY
        self._rate = max(_LEAST_RATE, self._rate * _SLOWER)
        self._tokens = min(self._tokens, 1.0)
        self._hold_until = now + _SETTLED_S
        self._again(now)
