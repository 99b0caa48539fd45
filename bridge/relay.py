"""The bridge's one channel in the layer, and the groups that it is a member of."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any, Final

from channels.layers import get_channel_layer

from devices import groups

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0


class Relay:
    """Without the layer commands wait for the sweep, and nothing else does: every call here forgives it."""

    def __init__(self) -> None:
        """Be in no group."""
        self._layer: Any = get_channel_layer()
        self._channel = ""
        self._joined: set[str] = set()
        # Some layers forget their members after a time (pub/sub does not): in a third of it we join all groups again.
        self._lease_s = getattr(self._layer, "group_expiry", math.inf) / 3
        self._renew_at = 0.0

    async def open(self) -> None:
        """Open our channel, however long the layer is away."""
        while not self._channel:
            try:
                channel = await self._layer.new_channel("bridge")
            except Exception as error:  # noqa: BLE001  whatever the layer raises: it is away
                logger.warning("the channel layer is away (%s); trying again", error)
                await asyncio.sleep(RETRY_S)
            else:
                self._channel = channel

    async def receive(self) -> dict[str, Any]:
        """Wait for a message of one of our groups."""
        message: dict[str, Any] = await self._layer.receive(self._channel)
        return message

    async def join(self, wanted: set[str]) -> None:
        """Be a member of these groups, and of no others."""
        if not self._channel:
            return
        if (now := time.monotonic()) >= self._renew_at:
            self._joined.clear()
            self._renew_at = now + self._lease_s
        try:
            for group in (wanted | {groups.REGISTRY}) - self._joined:
                await self._layer.group_add(group, self._channel)
                self._joined.add(group)
            for group in self._joined - wanted - {groups.REGISTRY}:
                await self._layer.group_discard(group, self._channel)
                self._joined.discard(group)
        except Exception as error:  # noqa: BLE001  whatever the layer raises: it is away
            logger.warning("cannot join groups (%s); the sweep tries again", error)
