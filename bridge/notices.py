"""What devices are told of their own messages: receipts, and what was refused. Each at most once a second a device.

Holds what waits; `run` publishes it. QoS 0: a receipt that is lost is followed by a newer one, or the device sends
again what it holds, and that is answered.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from devices.dialects import native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bridge.sender import Sender
    from devices.batch import Rejected
    from devices.dialects import Publish
    from devices.numbering import Receipt
    from devices.registry import Entry

SPACING_S: Final = 1.0
# How exactly the spacing is kept.
LOOK_EVERY_S: Final = 0.1


class _Refused:
    """The first refusal that a device has not been told of, and how many came after it."""

    def __init__(self, first: Rejected) -> None:
        self.first = first
        self.more = 0


class Notices:
    """Spaces what is told to each device; of several receipts of a boot the newest is told."""

    def __init__(self) -> None:
        """Start with nothing to tell."""
        self._receipts: dict[tuple[str, int], Receipt] = {}
        self._refused: dict[str, _Refused] = {}
        self._told: dict[object, float] = {}
        self._news = asyncio.Event()

    def put(self, receipts: Iterable[Receipt], rejects: Iterable[Rejected]) -> None:
        """Take what a commit left to be told."""
        for receipt in receipts:
            self._receipts[receipt.device, receipt.boot] = receipt
        for one in rejects:
            if waiting := self._refused.get(one.key):
                waiting.more += 1
            else:
                self._refused[one.key] = _Refused(one)
        if self._receipts or self._refused:
            self._news.set()

    def due(self, directory: Mapping[str, Entry], now: float) -> list[Publish]:
        """Take what may be told now: to registered devices alone, who else would be there to hear it?"""
        self._told = {name: at for name, at in self._told.items() if now - at < SPACING_S}
        receipts = [name for name in self._receipts if name not in self._told]
        refused = [key for key in self._refused if key not in self._told]
        self._told.update(dict.fromkeys([*receipts, *refused], now))
        publishes = []
        for name in receipts:
            receipt = self._receipts.pop(name)
            if entry := directory.get(receipt.device):
                publishes.append(native.receipt(receipt, entry.gateway))
        for key in refused:
            waiting = self._refused.pop(key)
            if entry := directory.get(key):
                publishes.append(native.error(waiting.first, waiting.more, entry.gateway))
        return publishes

    async def run(self, directory: Callable[[], Mapping[str, Entry]], sender: Sender) -> None:
        """Publish what is due, for ever; while there is no connection, all of it waits."""
        while True:
            await self._news.wait()
            self._news.clear()
            if sender.connected:
                for one in self.due(directory(), time.monotonic()):
                    await sender.say(one)
            if self._receipts or self._refused:
                await asyncio.sleep(LOOK_EVERY_S)
                self._news.set()
