"""Fixtures of the live socket's tests; a plugin, so that each test module may name it."""

from collections.abc import AsyncIterator

import pytest
from channels.layers import channel_layers

from dashboard import fanout, protocol


@pytest.fixture
async def hub() -> AsyncIterator[fanout.Fanout]:
    """This test's own fan-out, on a layer of its own."""
    channel_layers.backends.clear()
    here = fanout.here()
    yield here
    await here.stop()
    channel_layers.backends.clear()


@pytest.fixture
def no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are sent as soon as they are there."""
    monkeypatch.setattr(protocol, "PACE_S", 0.0)
