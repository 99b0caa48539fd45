"""PURE. What the hub tells a device of its own accord: what is committed (receipt), what was refused (error).

And what it shall keep to (desired).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from devices.numbering import Receipt
    from devices.values import Reason, Value

# PubSubClient takes packets of 256 bytes, topic included, and skips larger ones without a word; a packet has 5 bytes
# around both.
MAX_PACKET: Final = 256 - 5
MAX_NOTICE: Final = 170
# Enough to know one's own topic by.
MAX_TOPIC: Final = 64


def receipt_payload(receipt: Receipt, topic: str) -> bytes:
    """Say what is committed: {"boot", "seq", "have"?}; of `have` as many ranges as fit, the lowest first."""
    said: dict[str, Any] = {"boot": receipt.boot, "seq": receipt.seq}
    if not receipt.have:
        return msgspec.json.encode(said)
    have = list(receipt.have)
    while len(payload := msgspec.json.encode({**said, "have": have})) > _room(topic) and have:
        have.pop()
    return payload


def error_payload(reason: Reason, about: str, detail: str, more: int, topic: str) -> bytes:
    """Say what was refused: {"reason", "topic", "detail", "more"?}; `more` of them came since the last notice."""
    said: dict[str, Any] = {"reason": reason, "topic": about[:MAX_TOPIC], "detail": detail[:MAX_NOTICE]}
    if more:
        said["more"] = more
    room = _room(topic)
    for part in ("detail", "topic"):
        while (over := len(msgspec.json.encode(said)) - room) > 0 and said[part]:
            said[part] = said[part][: -1 - over // 6]
    return msgspec.json.encode(said)


def desired_payloads(version: int, values: dict[str, Value | None], topic: str) -> list[bytes]:
    """Say what a device shall keep to, {"version", "values"}, in as few messages as fit, in the order given."""
    room = MAX_PACKET - len(topic)
    payloads: list[bytes] = []
    part: dict[str, Value | None] = {}
    for name, value in values.items():
        if part and len(_desired(version, part | {name: value})) > room:
            payloads.append(_desired(version, part))
            part = {}
        part[name] = value
    return [*payloads, _desired(version, part)] if part else payloads


def _desired(version: int, values: dict[str, Value | None]) -> bytes:
    return msgspec.json.encode({"version": version, "values": values})


def _room(topic: str) -> int:
    # hub/<63>/sub/<63>/receipt has 143 bytes.
    return min(MAX_NOTICE, MAX_PACKET - len(topic))
