"""The join without a gap: wherever a frame arrives while a subscription begins, it comes once and in order."""

from collections.abc import AsyncIterator

import pytest
from channels.layers import channel_layers
from django.contrib.auth.models import User

from dashboard import fanout, reads
from devices.models import Device
from tests.django.live import Live, by_token, publish, store

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def hub() -> AsyncIterator[fanout.Fanout]:
    channel_layers.backends.clear()
    here = fanout.here()
    yield here
    await here.stop()


async def test_smoke(hub: fanout.Fanout, alice: User, pump: Device) -> None:
    await store("pump-1", 3)
    async with Live(await reads.run(by_token, alice)) as live:
        assert (await live.hear())["type"] == "welcome"
        await live.sub("pump-1", since={"last_s": 3600 * 24 * 3000})
        await live.until("live")
        await publish("pump-1")
        assert await live.until_row(4) == [1, 2, 3, 4]
