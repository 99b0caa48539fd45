"""PURE. The hub's own convention, which devices.wire knows, behind the interface of dialects."""

from __future__ import annotations

from devices import wire
from devices.dialects import Order, Publish

FILTERS = (wire.FILTER,)
read = wire.read


def encode(order: Order) -> Publish:
    """Publish to hub/<key>/cmd/<name>/<cid> with QoS 1, never retained."""
    return Publish(
        topic=wire.command_topic(order.device, order.name, order.cid, order.gateway),
        payload=wire.command_payload(order.args),
    )
