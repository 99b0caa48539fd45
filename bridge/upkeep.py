"""What goes on behind the ingest: roll-ups, repairs, retention. Small steps, and a longer pause after each."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from django.db import Error as DatabaseError

from bridge.threads import now_ms
from devices.history import retention, rollups

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.threads import Threads

logger = logging.getLogger(__name__)

# A device's minute is written six times then, not once for each frame; a series reads what is behind from the journal.
EVERY_S: Final = 10.0
PRUNE_S: Final = 60.0
# Frames or rows in one step. SQLite has one writer: with 20 metrics a frame the ingest waits 20 ms for it.
STEP: Final = 500
# How much longer than a step the pause after it is: a quarter of one thread is what the ingest may miss at most.
REST: Final = 3


class Upkeep:
    """Keeps what is made of the journal up to date, in threads that the ingest does not use."""

    def __init__(self, threads: Threads) -> None:
        """Prepare; nothing was pruned yet."""
        self._threads = threads
        self._pruned_at = float("-inf")
        # Frames of this round that are not in the roll-ups yet.
        self._left = 0

    async def run(self) -> None:
        """Work for ever."""
        while True:
            try:
                while await self.step():
                    pass
            except DatabaseError as error:
                logger.warning("roll-ups and retention wait for the database (%s)", error)
            await asyncio.sleep(EVERY_S)

    async def step(self) -> bool:
        """Take a step of each; return whether the next need not wait."""
        more = await self._roll()
        more |= await self._gently(lambda: rollups.rebuild(STEP)) > 0
        return await self._prune() or more

    async def _roll(self) -> bool:
        # What comes in the meantime is left for later: else it would never end, and write a minute for each frame.
        if self._left <= 0:
            self._left = await self._gently(rollups.waiting)
        rolled = await self._gently(lambda: rollups.roll(STEP)) if self._left else 0
        self._left = self._left - rolled if rolled else 0  # others are at what is left
        return self._left > 0

    async def _prune(self) -> bool:
        began = time.monotonic()
        if began - self._pruned_at < PRUNE_S:
            return False
        if await self._gently(lambda: retention.prune(STEP, now_ms())):
            return True
        self._pruned_at = began
        return False

    async def _gently(self, work: Callable[[], int]) -> int:
        began = time.monotonic()
        done = await self._threads.run(work)
        await asyncio.sleep(REST * (time.monotonic() - began))
        return done
