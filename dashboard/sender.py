"""What goes out on one socket, and when: words at once, rows as far as credit goes, at a person's pace.

Each turn is a method that a test can call once; `run` only repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Final, Protocol

from dashboard import path, protocol, rows
from dashboard.feeds import Subscriber
from dashboard.parcel import Parcel
from dashboard.protocol import Close, Window

logger = logging.getLogger(__name__)

# What may wait for a client that takes nothing: as much as the answer to several large subscriptions.
MAX_WAITING: Final = 1_048_576
# What was said before the end still goes to a client that takes it; but a withdrawal has to show within 1 s.
PARTING_S: Final = 0.2


class Socket(Protocol):
    """What Channels gives a consumer."""

    async def send(self, text_data: str) -> None:
        """Send one text."""

    async def close(self, code: int) -> None:
        """Close."""


class Gate(Protocol):
    """Closed while the pipe to the client is full (hub.pace)."""

    @property
    def open(self) -> bool:
        """Whether it takes more now."""

    async def passed(self) -> None:
        """Wait until it does."""

    def write(self, text: str) -> bool:
        """Send a text at once; whether it could: otherwise the socket does."""


class AlwaysOpen:
    """The gate of a server that waits in `send` by itself."""

    open: Final = True

    def write(self, text: str) -> bool:  # noqa: ARG002  it has no way of its own
        """Leave it to the socket."""
        return False

    async def passed(self) -> None:
        """Go on."""


class Source(Subscriber, Protocol):
    """A subscription, as far as the sender is concerned."""

    id: str

    @property
    def due(self) -> Collection[str]:
        """Return what there is to send; empty: nothing."""

    @property
    def live(self) -> bool:
        """Whether all history was sent: then one message a turn."""

    async def next_parcel(self) -> Parcel:
        """Take what is due, as much as one message holds."""

    def cross_seam(self) -> bool:
        """Go live once all history was sent; whether it did so now."""

    def settle(self) -> None:
        """Nothing is due any more."""

    def leave(self) -> None:
        """Listen no longer."""


class Sender:
    """The outgoing side of one socket."""

    def __init__(self, socket: Socket, gate: Gate | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Have nothing to say yet."""
        self.socket = socket
        self.gate = gate or AlwaysOpen()
        self.clock = clock
        self.sources: dict[str, Source] = {}
        self.window = Window()
        self.counts = path.SocketCounts(path.counts)
        # Once set, nothing is sent but what was said before.
        self.closing: int | None = None
        self._words: deque[str] = deque()
        self._waiting = 0
        self._paced = 0.0
        self._news = asyncio.Event()
        # Who waits for the gate: what goes out, and maybe what comes in. Until when they may, once it is closing.
        self._stuck: set[asyncio.Timeout] = set()
        self._until: float | None = None
        # Whether rows are known to wait, for the pace or for credit: then more of them are no news.
        self._held = False

    def say(self, text: str) -> None:
        """Send a text that needs no credit. Who lets them pile up is not served any more."""
        if self.closing is not None or (not self._words and self.gate.open and self.gate.write(text)):
            return
        self._words.append(text)
        self._waiting += len(text)
        if self._waiting > MAX_WAITING:
            self._give_up()
        self._news.set()

    def offer(self, sub: str, parcel: Parcel) -> bool:
        """Send what is the same for many, if there is credit and room for it; whether there was."""
        if self.closing is None and (self.window.left <= 0 or not self._room):
            return False
        if parcel.tail is not None:
            self.window.spend(self.clock())
        self._utter(sub, parcel)
        return True

    @property
    def _room(self) -> bool:
        # The gate knows nothing yet of what waits: many subscriptions may be offered much before any of it goes out.
        return self.gate.open and self._waiting < rows.CHUNK_SIZE

    def _utter(self, sub: str, parcel: Parcel) -> None:
        """Send what is paid for."""
        if self.closing is None:
            self._count(parcel)
        for note in parcel.noted(sub):
            self.say(note)
        if (data := parcel.addressed(sub)) is not None:
            self.say(data)

    def _count(self, parcel: Parcel) -> None:
        if parcel.tail is not None:
            self.counts.sent(1, parcel.frames - parcel.merged, parcel.merged)
            self.counts.read_back(parcel.read_back)
        for note in parcel.notes:
            if note["kind"] == "lag":
                self.counts.skipped(sum(note["devices"].values()))
            elif note["kind"] == "gap":
                self.counts.gone(note["to"] - note["from"] + 1)

    def add(self, source: Source) -> None:
        """Serve a subscription from now on."""
        self.sources[source.id] = source
        self._news.set()

    def drop(self, sub: str) -> bool:
        """Serve it no longer; whether there was such a subscription."""
        source = self.sources.pop(sub, None)
        if source is not None:
            source.leave()
        return source is not None

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
            self._until = asyncio.get_running_loop().time() + PARTING_S
            for stuck in self._stuck:
                if not stuck.expired():
                    stuck.reschedule(self._until)

    async def run(self) -> None:
        """Send until it is time to close."""
        with self.counts:
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
        for source in list(self.sources.values()):
            await self._cross_seam(source)  # needs neither credit nor pace
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
        return any(source.due for source in self.sources.values())

    async def passed(self) -> None:
        """Wait until the client takes what it was sent; for so long, and it is as good as gone."""
        if self.gate.open:
            return
        now = asyncio.get_running_loop().time()
        stuck = asyncio.timeout_at(now + protocol.CREDIT_TIMEOUT_S if self._until is None else self._until)
        try:
            async with stuck:
                self._stuck.add(stuck)
                await self.gate.passed()
        except TimeoutError:
            self._give_up()
        finally:
            self._stuck.discard(stuck)

    def _give_up(self) -> None:
        self._words.clear()
        self._waiting = 0
        self.quit(Close.TIMEOUT)

    async def _speak(self) -> None:
        while self._words:
            await self.passed()
            if not self._words:
                return
            text = self._words.popleft()
            self._waiting -= len(text)
            await self.socket.send(text_data=text)

    async def _send_rows(self) -> None:
        """Let each subscription send what is due; next time another is the first: little credit reaches all."""
        for source in list(self.sources.values()):
            await self._serve(source)
        if (first := next(iter(self.sources), None)) is not None:
            self.sources[first] = self.sources.pop(first)

    async def _serve(self, source: Source) -> None:
        """Send one message of a live subscription, or history as far as credit goes; then the seam."""
        while source.due and self.window.left > 0 and self._has(source):
            self.window.spend(self.clock())  # before it reads: what is told to many meanwhile is not to take it as well
            parcel = await source.next_parcel()
            await self._speak()
            if parcel.tail is None or not self._has(source):
                self.window.give(1)
            if not self._has(source):
                return  # it was ended while we read
            self._utter(source.id, parcel)
            if parcel.tail is not None:
                self._paced = self.clock() + protocol.PACE_S
            await self._speak()
            if source.live:
                break
        await self._cross_seam(source)

    async def _cross_seam(self, source: Source) -> None:
        if not self._has(source):
            return
        if source.cross_seam():
            self.say(protocol.text(kind="live", id=source.id))
            await self._speak()
        if self._has(source) and not source.due:  # else it was ended while that was told
            source.settle()

    def _has(self, source: Source) -> bool:
        return self.closing is None and self.sources.get(source.id) is source


class Addressee:
    """A session, as far as it is spoken to (feeds.Session): all of that goes to its sender."""

    sender: Sender

    def say(self, text: str) -> None:
        """Send a text that needs no credit."""
        self.sender.say(text)

    def wake(self) -> None:
        """Look again: a subscription has something new."""
        self.sender.wake()

    def offer(self, sub: str, parcel: Parcel) -> bool:
        """Send what is the same for many, if there is credit and room for it; whether there was."""
        return self.sender.offer(sub, parcel)

    def end(self, sub: str, reason: str = "permission_revoked") -> None:
        """End a subscription that is not permitted any more, or over, and say so."""
        if self.sender.drop(sub):
            self.say(protocol.text(kind="end", id=sub, reason=reason))

    def quit(self, code: int) -> None:
        """Close, after what was said before."""
        self.sender.quit(code)
