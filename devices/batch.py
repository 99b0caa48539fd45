"""PURE. What is gathered between two commits: messages sorted by what they say, and by whether they may say it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from devices import wire
from devices.values import Bad, Reason


class Entry(Protocol):
    """What has to be known of a device to take its messages."""

    @property
    def enabled(self) -> bool:
        """Whether it may speak."""

    @property
    def gateway(self) -> str | None:
        """Who speaks for it."""


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A message that cannot be taken in, and why.

    `key`: the device that the topic claims, "" when it names none; `position` of the byte at fault, if that is known.
    """

    key: str
    message: wire.Message
    reason: Reason
    detail: str
    position: int | None = None


def rejected(message: wire.Message, bad: Bad) -> Rejected:
    """Say what is wrong with a message."""
    return Rejected(
        key=wire.device_of(message.topic),
        message=message,
        reason=bad.reason,
        detail=bad.detail,
        position=bad.position,
    )


class Batch(msgspec.Struct, kw_only=True):
    """What one commit stores. `events` keeps the order of arrival; `origins`: which message said each of them.

    `limited`: what was refused unread, and is not among the messages. `batched`: readings beyond the first of their
    message; `others`: messages without any that are not refused.
    """

    messages: Sequence[wire.Message]
    events: list[wire.Frame | wire.Presence] = []
    origins: list[wire.Message] = []
    announces: list[wire.Announce] = []
    acks: list[wire.Ack] = []
    reports: list[wire.Report] = []
    rejects: list[Rejected] = []
    limited: list[Rejected] = []
    batched: int = 0
    others: int = 0

    @property
    def stranger(self) -> bool:
        """Whether a device spoke that the directory does not know; it may be newer than the directory."""
        return any(rejected.reason == "device_unknown" for rejected in self.rejects)


Read = Callable[[wire.Message], tuple[str | None, list[wire.Event]]]


def sort(messages: Sequence[wire.Message], read: Read, directory: Mapping[str, Entry]) -> Batch:
    """Read each message and sort what it says; whatever is wrong with one concerns that one alone."""
    batch = Batch(messages=messages)
    for message in messages:
        try:
            gateway, events = read(message)
            _check(gateway, events, directory)
        except Bad as bad:
            key = wire.device_of(message.topic)
            if key and not message.payload and not _is_here(key, directory):
                # It withdraws what the broker kept of a device that has gone: nobody else wants to hear of that.
                batch.others += 1
            else:
                batch.rejects.append(rejected(message, bad))
        else:
            _put(batch, message, events)
    return batch


def _check(gateway: str | None, events: Iterable[wire.Event], directory: Mapping[str, Entry]) -> None:
    for key in {event.device for event in events}:
        entry = directory.get(key)
        if entry is None:
            raise Bad("device_unknown", f"no device {key!r} is registered; add it on the dashboard or with `provision`")
        if not entry.enabled:
            raise Bad("device_disabled", f"{key!r} is disabled; enable it on the dashboard")
        if gateway is not None and entry.gateway != gateway:
            raise Bad("device_unknown", f"{key!r} is not registered behind the gateway {gateway!r}")


def _is_here(key: str, directory: Mapping[str, Entry]) -> bool:
    entry = directory.get(key)
    return entry is not None and entry.enabled


def _put(batch: Batch, message: wire.Message, events: Iterable[wire.Event]) -> None:
    readings = 0
    for event in events:
        match event:
            case wire.Frame():
                batch.events.append(event)
                batch.origins.append(message)
                readings += 1
            case wire.Presence():
                batch.events.append(event)
                batch.origins.append(message)
            case wire.Announce():
                batch.announces.append(event)
            case wire.Ack():
                batch.acks.append(event)
            case wire.Report():
                batch.reports.append(event)
    if readings:
        batch.batched += readings - 1
    else:
        batch.others += 1
