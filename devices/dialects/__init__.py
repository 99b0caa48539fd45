"""PURE. Dialects: each module knows one convention's topics and payloads; this one says what they share.

A dialect module has
    FILTERS: Sequence[str]                                   the MQTT filters it wants to hear
    filters(share) -> Sequence[str]                          the same, dealt out among the bridges of a share
    read(message) -> (gateway key or None, list of events)   raises values.Bad and nothing else
    encode(command) -> Publish                               how an order travels to the device
    receipt(receipt, gateway) -> Publish                     how it is told what is committed
    error(rejected, more, gateway) -> Publish                how it is told what was refused
    desired(key, gateway, version, values) -> list[Publish]  how it is told what it shall keep to
"""

from __future__ import annotations

import msgspec


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """What the bridge hands to the broker. Never retained when it is a command."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A command on its way out: `cid` at most 12 characters, `args` as the operator gave it, `expires_at` in ms."""

    device: str
    gateway: str | None
    name: str
    cid: str
    args: object
    expires_at: int
