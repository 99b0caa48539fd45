"""PURE. The hub's own convention, which devices.wire knows, behind the interface of dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices import wire
from devices.dialects import Order, Publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devices.batch import Rejected
    from devices.numbering import Receipt
    from devices.values import Value

FILTERS = (wire.FILTER,)
read = wire.read


def filters(share: str = "") -> tuple[str, ...]:
    """Return what to subscribe to; with a share, what several bridges deal out among themselves.

    The broker sends no retained messages to a shared subscription: each bridge reads what those announce by itself.
    """
    return (f"$share/{share}/{wire.FILTER}", *wire.RETAINED_FILTERS) if share else FILTERS


def receipt(told: Receipt, gateway: str | None) -> Publish:
    """Tell a device what of its frames is committed: hub/<key>/receipt, QoS 0."""
    topic = wire.topic(told.device, wire.RECEIPT, gateway=gateway)
    return Publish(topic=topic, payload=wire.receipt_payload(told, topic), qos=0)


def error(refused: Rejected, more: int, gateway: str | None) -> Publish:
    """Tell a device what of its messages was refused: hub/<key>/error, QoS 0; `more` came after it."""
    topic = wire.topic(refused.key, wire.ERROR, gateway=gateway)
    payload = wire.error_payload(refused.reason, refused.message.topic, refused.detail, more, topic)
    return Publish(topic=topic, payload=payload, qos=0)


def desired(
    device: str, gateway: str | None, version: int, values: Mapping[str, Value | None], since: Mapping[str, int]
) -> list[Publish]:
    """Tell a device what it shall keep to: hub/<key>/desired, QoS 1, never retained, small enough for any device."""
    topic = wire.topic(device, wire.DESIRED, gateway=gateway)
    return [Publish(topic=topic, payload=payload) for payload in wire.desired_payloads(version, values, since, topic)]


def encode(order: Order) -> Publish:
    """Publish to hub/<key>/cmd/<name>/<cid> with QoS 1, never retained."""
    return Publish(
        topic=wire.command_topic(order.device, order.name, order.cid, order.gateway),
        payload=wire.command_payload(order.args),
    )
