"""PURE. What the hub tells a device of its own accord: what is committed (receipt), what was refused (error).

And what it shall keep to (desired).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def desired_payloads(
    version: int, values: Mapping[str, Value | None], since: Mapping[str, int], topic: str
) -> list[bytes]:
    """Say what a device shall keep to, {"version", "values"}, in as few messages as fit, in the order given.

    since  with which version each value was wanted, rising in that order

    Only the last message says the version itself: whoever has not got it has not taken in all of that.
    """
    room = MAX_PACKET - len(topic)
    parts: list[dict[str, Value | None]] = []
    for name, value in values.items():
        if not parts or len(_desired(version, parts[-1] | {name: value})) > room:
            parts.append({})
        parts[-1][name] = value
    firsts = [since[next(iter(part))] for part in parts[1:]]
    upto = [*(first - 1 for first in firsts), version]
    return [_desired(number, part) for number, part in zip(upto, parts, strict=False)]


def _desired(version: int, values: dict[str, Value | None]) -> bytes:
    return msgspec.json.encode({"version": version, "values": values})


def _room(topic: str) -> int:
    # hub/<63>/sub/<63>/receipt has 143 bytes.
    return min(MAX_NOTICE, MAX_PACKET - len(topic))
