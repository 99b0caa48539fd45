"""Has jobs go on, and schedules make them: each second, at once when rung, and again at once while there is more."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from django.db import Error as DatabaseError

from bridge.threads import now_ms
from devices import jobs, schedules

if TYPE_CHECKING:
    from bridge.threads import Threads

logger = logging.getLogger(__name__)

EVERY_S: Final = 1.0
# A command's time is taken before its transaction commits: those that changed are looked for so far back.
OVERLAP_MS: Final = 10_000
# All jobs are counted so often, whatever changed: the heart of it is that nothing has to tell.
WHOLE_MS: Final = 60_000


class Foreman:
    """Of one bridge. `step` is one step; `run` repeats it for ever."""

    def __init__(self, threads: Threads) -> None:
        """Know nothing of what was counted before."""
        self._threads = threads
        self._news = asyncio.Event()
        self._looked_at = 0
        self._whole_at = 0

    def ring(self) -> None:
        """A job was started, or resumed."""
        self._news.set()

    async def run(self) -> None:
        """Take steps, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._news.wait()
            self._news.clear()
            try:
                while await self.step(now_ms()):
                    pass
            except DatabaseError as error:
                logger.warning("jobs wait for the database (%s)", error)

    async def step(self, now: int) -> bool:
        """Take one step; whether there is more to do at once."""
        whole = now - self._whole_at >= WHOLE_MS
        await self._threads.run(schedules.sweep, now)
        more = await self._threads.run(jobs.step, now, 0 if whole else self._looked_at - OVERLAP_MS)
        self._looked_at = now
        self._whole_at = now if whole else self._whole_at
        return more
