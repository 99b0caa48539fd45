"""On duty or standing by: a bridge works while it has the lock of its name, and waits for it otherwise.

Who stands by is not connected to the broker, claims no command and is in no group. Each time on duty is one Worker.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from bridge.lead import AwayError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridge.lead import Lead
    from bridge.worker import Worker

logger = logging.getLogger(__name__)

# How often a standby tries, and an active one makes sure. Takeover is promised within 5 s.
LOOK_S: Final = 1.0


class Duty:
    """One bridge process. `look_once` is a step; `run` repeats it until `stopping` is set.

    `alive`: a file that is touched every second while the process turns, from the moment on when it hears the broker
    or stands by. That it cannot store for the moment, or has to connect again, is told otherwise, and no reason to
    restart it.
    """

    def __init__(self, lead: Lead, worker: Callable[[], Worker], alive: Path | None = None) -> None:
        """Prepare; `worker` makes what works while we lead."""
        self.stopping = asyncio.Event()
        # Set once devices are heard for the first time.
        self.ready = asyncio.Event()
        self.standing_by = asyncio.Event()
        self.worker: Worker | None = None
        self._lead = lead
        self._make = worker
        self._alive = alive
        self._tasks: list[asyncio.Task[object]] = []
        self._said = ""

    async def run(self) -> None:
        """Work or stand by until told to stop; then finish what was begun, and let the next one lead."""
        stopping = asyncio.create_task(self.stopping.wait(), name="bridge stopping")
        try:
            while not self.stopping.is_set():
                await self.look_once()
                await asyncio.wait([stopping, *self._tasks[:1]], timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if self.worker is not None:
                self.worker.stopping.set()
                await self._tasks[0]
        finally:
            stopping.cancel()
            await self._stand_down()
            await self._lead.release()

    async def look_once(self) -> None:
        """Make sure that we lead, or try to; begin to work or stop accordingly. A bug of the worker comes out here."""
        if self._tasks and self._tasks[0].done():
            self._tasks[0].result()
        try:
            leads = await self._lead.keep()
        except AwayError as error:
            # Whoever works goes on hearing the broker and stores nothing (the fence): nobody else leads, maybe.
            self._say(f"cannot ask for the lock of this bridge's name ({error}); trying again", logging.WARNING)
        else:
            if leads and self.worker is None:
                self._begin()
            elif not leads:
                await self._stand_down()
            self._say("active" if leads else "standing by: another bridge of this name is the active one")
        self._touch()

    def _begin(self) -> None:
        self.standing_by.clear()
        self.worker = self._make()
        self._tasks = [
            asyncio.create_task(self.worker.run(), name="bridge"),
            asyncio.create_task(self._note_ready(self.worker), name="bridge ready"),
        ]

    async def _note_ready(self, worker: Worker) -> None:
        await worker.ready.wait()
        self.ready.set()
        self._touch()

    async def _stand_down(self) -> None:
        """Stop at once: what is in hand unstored comes to whoever leads now."""
        tasks, self._tasks, self.worker = self._tasks, [], None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.standing_by.set()

    def _say(self, text: str, level: int = logging.INFO) -> None:
        if text != self._said:
            logger.log(level, "%s", text)
        self._said = text

    def _touch(self) -> None:
        if self._alive is not None and (self.worker is None or self.worker.ready.is_set()):
            with suppress(OSError):  # a full disk lets itself be touched; whatever else, it must not end the bridge
                self._alive.touch()
