"""Many announcements in one round trip, on a real Redis: all arrive, in order; what it does not take is named."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from channels.layers import channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer

from devices import bulk, groups
from tests import services
from tests.system.conftest import opened

PATIENCE_S = 20.0


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[services.Service]:
    """A Redis of one's own, to be killed, and the layer on it."""
    for service in opened(services.redis(tmp_path)):
        layer = RedisPubSubChannelLayer(hosts=[{"address": service.url}], prefix="hub")
        before, channel_layers.backends = channel_layers.backends, {"default": layer}
        yield service
        await layer.flush()
        channel_layers.backends = before


def watch(number: int) -> groups.Watch:
    return {"type": "device.watch", "device": f"pump-{number}"}


async def heard(layer: Any, channel: str, count: int) -> list[str]:
    async with asyncio.timeout(PATIENCE_S):
        return [(await layer.receive(channel))["device"] for _ in range(count)]


async def member(layer: Any, numbers: range) -> str:
    channel: str = await layer.new_channel()
    for number in numbers:
        await layer.group_add(groups.device_group(f"pump-{number}"), channel)
    return channel


async def test_all_arrive_in_order_however_many_there_are(own: services.Service) -> None:
    layer: Any = channel_layers.backends["default"]
    numbers = range(2 * bulk.AT_ONCE + 7)
    channel = await member(layer, numbers)
    assert await groups.announce(*(watch(number) for number in numbers)) == []
    assert await heard(layer, channel, len(numbers)) == [f"pump-{number}" for number in numbers]


async def test_one_alone_and_one_whom_nobody_hears_are_no_special_cases(own: services.Service) -> None:
    layer: Any = channel_layers.backends["default"]
    channel = await member(layer, range(1))
    assert await groups.announce(watch(0)) == []
    assert await groups.announce(watch(7), watch(0), watch(8)) == []
    assert await heard(layer, channel, 2) == ["pump-0", "pump-0"]


async def test_what_a_dead_redis_did_not_take_is_named_and_a_living_one_takes_the_next(own: services.Service) -> None:
    layer: Any = channel_layers.backends["default"]
    await member(layer, range(3))
    assert await groups.announce(*map(watch, range(3))) == []
    own.kill()
    lost = await groups.announce(*map(watch, range(3)))
    assert lost == list(map(watch, range(3)))
    own.start()
    async with asyncio.timeout(PATIENCE_S):
        while await groups.announce(*map(watch, range(3))):
            pass


async def test_the_layer_has_the_names_that_we_lean_on(own: services.Service) -> None:
    layer: Any = channel_layers.backends["default"]
    here = layer._get_layer()
    name = here._get_group_channel_name("device.pump-1")
    shard = here._get_shard(name)
    async with shard._lock:
        shard._ensure_redis()
    assert isinstance(layer.serialize({"type": "x"}), bytes)
    assert await shard._redis.pipeline(transaction=False).execute() == []
