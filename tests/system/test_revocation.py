"""Whose login is taken away is cut within a second, by its own clock: from the request on, on both brokers."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import pytest

from tests.hub import Device, Hub
from tests.system.raw import Cut, Raw
from tests.system.stands import PATIENCE_S

AT_ONCE_S: Final = 1.0
TIMES: Final = 20


def disable(hub: Hub, key: str) -> None:
    hub.ask("PATCH", f"devices/{key}/", json={"enabled": False})


def rotate(hub: Hub, key: str) -> None:
    hub.ask("POST", f"devices/{key}/rotate/")


def remove(hub: Hub, key: str) -> None:
    hub.ask("DELETE", f"devices/{key}/")


async def connected(hub: Hub, device: Device) -> Raw:
    """The device's connection; one that was made just now may have to knock twice."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await Raw.connect(hub.mqtt_port, device.key, device.key, device.secret)
            except Cut:
                await asyncio.sleep(0.02)


async def test_whose_login_is_taken_away_is_cut_within_a_second(
    anywhere: Hub, new_device: Callable[..., Device]
) -> None:
    ways = [(disable, rotate, remove)[number % 3] for number in range(TIMES)]
    devices = [new_device("revoked") for _ in ways]
    async with asyncio.TaskGroup() as tasks:
        raws = [tasks.create_task(connected(anywhere, device)) for device in devices]
    took = []
    for device, way, connecting in zip(devices, ways, raws, strict=True):
        raw = connecting.result()
        began = time.monotonic()
        await asyncio.to_thread(way, anywhere, device.key)
        await raw.end()
        took.append(time.monotonic() - began)
        await raw.close()
        with pytest.raises(Cut):
            await Raw.connect(anywhere.mqtt_port, device.key, device.key, device.secret)
    assert [each for each in took if each > AT_ONCE_S] == []
