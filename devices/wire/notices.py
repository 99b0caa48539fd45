"""PURE. What the hub tells a device of its own accord: what is committed (receipt), what was refused (error)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from devices.numbering import Receipt
    from devices.values import Reason

# PubSubClient takes packets of 256 bytes, topic included, and skips larger ones without a word; a topic of ours has at
# most 76 bytes (hub/<63>/receipt), and a packet 4 bytes around both.
MAX_NOTICE: Final = 170
# Enough to know one's own topic by.
MAX_TOPIC: Final = 64


def receipt_payload(receipt: Receipt) -> bytes:
    """Say what is committed: {"boot", "seq", "have"?}; of `have` as many ranges as fit, the lowest first."""
    said: dict[str, Any] = {"boot": receipt.boot, "seq": receipt.seq}
    if not receipt.have:
        return msgspec.json.encode(said)
    have = list(receipt.have)
    while len(payload := msgspec.json.encode({**said, "have": have})) > MAX_NOTICE:
        have.pop()
    return payload


def error_payload(reason: Reason, topic: str, detail: str, more: int) -> bytes:
    """Say what was refused: {"reason", "topic", "detail", "more"?}; `more` of them came since the last notice."""
    said: dict[str, Any] = {"reason": reason, "topic": topic[:MAX_TOPIC], "detail": detail[:MAX_NOTICE]}
    if more:
        said["more"] = more
    while len(payload := msgspec.json.encode(said)) > MAX_NOTICE and said["detail"]:
        said["detail"] = said["detail"][: -1 - (len(payload) - MAX_NOTICE) // 4]
    return payload
