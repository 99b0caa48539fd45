"""PURE. How much each device may send: token buckets, so that one that floods costs the others nothing.

A broker gives the hub all devices' messages over one connection, so nothing slows one device alone: what is over its
limit is refused (`rate_limited`), counted and told to it, before it costs a decoder or the database anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from devices import wire
from devices.batch import Rejected


class Limited(Protocol):
    """What of a device's entry says how much it may send; None: as the settings say."""

    @property
    def rate(self) -> int | None:
        """Frames a second."""

    @property
    def burst(self) -> int | None:
        """Frames at once."""


class _Bucket(msgspec.Struct):
    """What a publisher may still send at once, as of `at` (ms). Below 0: it owes."""

    rate: int
    burst: int
    tokens: float
    at: int

    def take(self, now: int) -> bool:
        """Take one, if there is one. A clock that is set back gives nothing, and goes on from there."""
        self.tokens = min(self.burst, self.tokens + max(0, now - self.at) * self.rate / 1000)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def _over(message: wire.Message, bucket: _Bucket) -> Rejected:
    detail = f"more than {bucket.rate} frames/s and {bucket.burst} at once; send fewer, or have its limits raised"
    return Rejected(key=wire.device_of(message.topic), message=message, reason="rate_limited", detail=detail)


class Limits:
    """Keeps a bucket for each publisher. A gateway's children share its own: it is the one that sends."""

    def __init__(self, rate: int, burst: int) -> None:
        """`rate` (frames a second) and `burst` (at once): for whoever has no limits of its own."""
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, _Bucket] = {}

    def split(
        self, messages: Sequence[wire.Message], directory: Mapping[str, Limited]
    ) -> tuple[list[wire.Message], list[Rejected]]:
        """Return what is within the limits, and the rest as Rejects; both in the order given.

        What the hub said itself and hears again is nobody's doing: a device is not charged for its receipts.
        """
        within: list[wire.Message] = []
        over: list[Rejected] = []
        for message in messages:
            bucket = self._bucket(message, directory)
            if wire.is_ours(message.topic) or bucket.take(message.received_at):
                within.append(message)
            else:
                over.append(_over(message, bucket))
        return within, over

    def _bucket(self, message: wire.Message, directory: Mapping[str, Limited]) -> _Bucket:
        key = publisher_of(message.topic)
        entry = directory.get(key)
        # Keys are free to invent: whoever is not registered shares one bucket with all others of the kind.
        name = key if entry else ""
        rate, burst = (entry.rate or self._rate, entry.burst or self._burst) if entry else (self._rate, self._burst)
        bucket = self._buckets.get(name)
        if bucket is None or (bucket.rate, bucket.burst) != (rate, burst):
            bucket = self._buckets[name] = _Bucket(rate, burst, burst, message.received_at)
        return bucket

    def charge(self, origins: Iterable[wire.Message], directory: Mapping[str, Limited]) -> None:
        """Charge for the frames of a message beyond its first: `origins` has the message of each frame."""
        last: wire.Message | None = None
        for message in origins:
            if message is last:
                self._bucket(message, directory).tokens -= 1
            last = message


def publisher_of(topic: str) -> str:
    """Return the second level of a topic: whose account it is, by the broker's rules; "" when there is none."""
    levels = topic.split("/", 2)
    return levels[1] if len(levels) > 1 else ""
