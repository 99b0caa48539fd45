"""Be a device of a Telemetry Hub: `from telemetry_hub.device import Device`. Needs the extra `device` (aiomqtt)."""

from telemetry_hub.device.arguments import Update
from telemetry_hub.device.client import Device
from telemetry_hub.device.fetch import NotFetched
from telemetry_hub.device.order import Order, Rejected

__all__ = ["Device", "NotFetched", "Order", "Rejected", "Update"]
