"""PURE. The native convention: topics and payloads ⇄ Frame, Presence, Announce, Ack; a command → its publish.

Only this package and the dialects know topics and payload keys (the table stands in docs/protocol/mqtt.md).
`read` raises `Bad` and nothing else, whatever the bytes are.
"""

from __future__ import annotations

import msgspec

from devices import values as v
from devices.values import Bad
from devices.wire import announcements, readings, replies
from devices.wire.announcements import COMMAND_TYPES, command_name
from devices.wire.cids import cid, expiry_of
from devices.wire.events import Ack, AckStatus, Announce, Event, Frame, Message, Presence, Report, Step
from devices.wire.notices import desired_payloads, error_payload, receipt_payload
from devices.wire.readings import REDELIVERY_MS, entry_of
from devices.wire.topics import (
    ACK,
    CMD,
    DESIRED,
    ERROR,
    FILTER,
    LOCATION,
    META,
    OURS,
    RECEIPT,
    REPORTED,
    RETAINED_FILTERS,
    ROOT,
    STATUS,
    SUB,
    TELEMETRY,
    address,
    command_topic,
    device_of,
    is_ours,
    topic,
)

__all__ = [
    "ACK",
    "CMD",
    "COMMAND_TYPES",
    "DESIRED",
    "ERROR",
    "FILTER",
    "LOCATION",
    "META",
    "RECEIPT",
    "REDELIVERY_MS",
    "REPORTED",
    "RETAINED_FILTERS",
    "ROOT",
    "STATUS",
    "SUB",
    "TELEMETRY",
    "Ack",
    "AckStatus",
    "Announce",
    "Event",
    "Frame",
    "Message",
    "Presence",
    "Report",
    "Step",
    "cid",
    "command_name",
    "command_payload",
    "command_topic",
    "desired_payloads",
    "device_of",
    "entry_of",
    "error_payload",
    "expiry_of",
    "is_ours",
    "read",
    "receipt_payload",
    "topic",
]


def read(message: Message) -> tuple[str | None, list[Event]]:
    """Return the gateway that speaks (None: the device itself) and what the message says.

    An echo of the hub's own publish says nothing. Raises Bad for what cannot be taken in.
    """
    gateway, key, rest = address(message.topic)
    if len(message.payload) > v.MAX_PAYLOAD:
        raise Bad("too_large", f"{len(message.payload)} bytes; at most {v.MAX_PAYLOAD}", position=v.MAX_PAYLOAD)
    try:
        return gateway, _events(key, rest, message)
    except Bad as bad:
        raise bad.placed(message.payload) from None


def _events(key: str, rest: list[str], message: Message) -> list[Event]:
    match rest:
        case [kind, *_] if kind in OURS:
            return []
        case ["telemetry"]:
            return [*readings.telemetry(key, message)]
        case ["telemetry", metric]:
            return [readings.scalar(key, metric, message)]
        case ["location"]:
            return [readings.location(key, message)]
        case ["status"]:
            return [replies.status(key, message)]
        case ["ack", cid]:
            return [replies.ack(key, cid, message)]
        case ["reported"]:
            return [replies.report(key, message)]
        case ["meta"]:
            return [*announcements.meta(key, message)]
        case ["meta", item]:
            return [*announcements.meta_item(key, item, message)]
    raise Bad("topic_unknown", f"nothing is expected at {'/'.join(rest) or 'this level'}; see the topics in the docs")


def command_payload(args: object) -> bytes:
    """Return the raw argument: on, off, 21.5, the text itself; JSON for anything else; empty for none."""
    if args is None:
        return b""
    if isinstance(args, bool):
        return b"on" if args else b"off"
    return args.encode() if isinstance(args, str) else msgspec.json.encode(args)
