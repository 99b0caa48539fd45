"""What goes out on one socket, and when: words at once, rows as far as credit goes, at a person's pace.

Each turn is a method that a test can call once; `run` only repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from dashboard import protocol
from dashboard.protocol import Close, Window
from dashboard.stream import Stream

logger = logging.getLogger(__name__)


class Socket(Protocol):
    """What Channels gives a consumer."""

    async def send(self, text_data: str) -> None:
        """Send one text."""

    async def close(self, code: int) -> None:
        """Close."""


class Sender:
    """The outgoing side of one socket."""

    def __init__(self, socket: Socket, clock: Callable[[], float] = time.monotonic) -> None:
        """Have nothing to say yet."""
        self.socket = socket
        self.clock = clock
        self.streams: dict[str, Stream] = {}
        self.window = Window()
        # Once set, nothing is sent but what was said before.
        self.closing: int | None = None
        self._words: deque[str] = deque()
        self._paced = 0.0
        self._news = asyncio.Event()
        # Whether rows are known to wait, for the pace or for credit: then more of them are no news.
        self._held = False

    def say(self, text: str) -> None:
        """Send a text that needs no credit."""
        if self.closing is None:
            self._words.append(text)
            self._news.set()

    def add(self, stream: Stream) -> None:
        """Serve a subscription from now on."""
        self.streams[stream.id] = stream
        self._news.set()

    def give(self, credit: int) -> None:
        """Take credit back."""
        self.window.give(credit)
        self._news.set()

    def wake(self) -> None:
        """A subscription has new rows."""
        if not self._held:
            self._news.set()

    def quit(self, code: int) -> None:
        """Close, after what was said before; the first reason counts."""
        if self.closing is None:
            self.closing = code
            self._news.set()

    async def run(self) -> None:
        """Send until it is time to close."""
        try:
            while self.closing is None:
                await self._wait()
                await self.turn()
        except Exception:
            logger.exception("a live socket failed")
            self.quit(Close.ERROR)
        await self.socket.close(self.closing or Close.ERROR)

    async def turn(self) -> None:
        """Send what can be sent now."""
        await self._speak()
        for stream in list(self.streams.values()):
            await self._cross_seam(stream)  # needs neither credit nor pace
        now = self.clock()
        if self._rows_wait() and self.window.patience(now) == 0:
            self.quit(Close.TIMEOUT)
        elif now >= self._paced and self.window.left > 0:
            await self._send_rows()

    async def _wait(self) -> None:
        """Wait for news; or for the pace, when rows wait for it alone; or, out of credit, for the end of patience."""
        timeout = None
        if self._rows_wait():
            now = self.clock()
            patience = self.window.patience(now)
            timeout = max(0.0, self._paced - now) if patience is None else patience
        if timeout is None:
            await self._news.wait()
        elif timeout > 0:
            self._held = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._news.wait()
            self._held = False
        self._news.clear()

    def _rows_wait(self) -> bool:
        return any(stream.due for stream in self.streams.values())

    async def _speak(self) -> None:
        while self._words:
            await self.socket.send(text_data=self._words.popleft())

    async def _send_rows(self) -> None:
        """Let each subscription send what is due; next time another is the first: little credit reaches all."""
        for stream in list(self.streams.values()):
            await self._serve(stream)
        if (first := next(iter(self.streams), None)) is not None:
            self.streams[first] = self.streams.pop(first)

    async def _serve(self, stream: Stream) -> None:
        """Send one message of a live subscription, or history as far as credit goes; then the seam."""
        while stream.due and self.window.left > 0 and self._has(stream):
            parcel = await stream.next_parcel()
            await self._speak()
            if not self._has(stream):
                return  # it was ended while we read
            for text in parcel.notes:
                await self.socket.send(text_data=text)
            if parcel.data is not None:
                self.window.spend(self.clock())
                self._paced = self.clock() + protocol.PACE_S
                await self.socket.send(text_data=parcel.data)
            if stream.live:
                break
        await self._cross_seam(stream)

    async def _cross_seam(self, stream: Stream) -> None:
        if self._has(stream) and stream.cross_seam():
            await self.socket.send(text_data=protocol.text(kind="live", id=stream.id))
            self._news.set()

    def _has(self, stream: Stream) -> bool:
        return self.closing is None and self.streams.get(stream.id) is stream
