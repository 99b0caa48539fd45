"""What a program iterates over: `Watch` (rows or summaries, worked off at its own pace) and `Events`."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, Protocol, Self, TypeVar

from telemetry_hub.errors import HubError, Refused, Revoked
from telemetry_hub.items import Event, Gap, Missed, Row
from telemetry_hub.told import Ended

# Who takes nothing for so long has enough: the hub is told, others on the same socket get the credit, and it goes on
# by cursor later. The hub itself has 30 s of patience.
STUCK_S: Final = 5.0
EVENTS_KEPT: Final = 1000
NOT_LOST: Final = "It is gone, or may not be seen any more. Watch again from the cursor once it may."

# Row | Gap | Lag, or Summary | Gone.
T = TypeVar("T")


class Source(Protocol):
    """The connection, as a watch sees it."""

    def give(self, credit: int) -> None:
        """So many messages were worked off."""

    def hold(self, name: str) -> None:
        """Have nothing more of this for now."""

    def go_on(self, name: str) -> None:
        """Go on with what was held."""

    def drop(self, name: str) -> None:
        """Have nothing more of this at all."""


class Parcel(Generic[T]):
    """What one message brought: items, and the credit that goes back once they are taken."""

    __slots__ = ("credit", "items")

    def __init__(self, items: list[T], credit: int) -> None:
        self.items: deque[T] = deque(items)
        self.credit = credit


class Watch(AsyncIterator[T]):
    """Iterate over it with `async for`. Each item once and in order, or told what is missing; through cuts.

    cursor   device → seq of the newest row that was handed out: give it as `since` to go on there, in another program
             or after a restart
    """

    def __init__(self, source: Source, name: str, cursor: dict[str, int], *, sparse: bool = False) -> None:
        """Be fed by `source`. `sparse`: rows without values are left out (none of the wanted metrics is in them)."""
        self.name = name
        self.cursor = cursor
        self._source = source
        self._sparse = sparse
        self._parcels: deque[Parcel[T]] = deque()
        self._news = asyncio.Event()
        self._end: BaseException | None = None
        self._held = False
        self._moved = time.monotonic()

    def close(self) -> None:
        """Watch no longer; a watch that nobody holds is closed by itself."""
        self._source.drop(self.name)
        self._fail(StopAsyncIteration())
        self._give_back()
        self._parcels.clear()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            while self._parcels:
                if (item := self._next_of(self._parcels[0])) is not None:
                    return item
            if self._end is not None:
                raise self._end
            if self._held:
                self._held = False
                self._source.go_on(self.name)
            self._news.clear()
            await self._news.wait()

    def _next_of(self, parcel: Parcel[T]) -> T | None:
        """Take one item; None: the parcel is empty, and its credit goes back."""
        while parcel.items:
            item = parcel.items.popleft()
            if isinstance(item, Row):
                self.cursor[item.device] = item.seq
                if self._sparse and not item.values:
                    continue
            elif isinstance(item, Gap):
                self.cursor[item.device] = max(self.cursor.get(item.device, 0), item.last)
            return item
        self._parcels.popleft()
        self._moved = time.monotonic()
        self._source.give(parcel.credit)
        return None

    # -- what the connection says

    def put(self, items: list[T], credit: int) -> None:
        """Take what a message brought."""
        if not self._parcels:
            self._moved = time.monotonic()
        self._parcels.append(Parcel(items, credit))
        self._news.set()

    def end(self, ended: Ended) -> None:
        """Come to the end, once all is taken."""
        if ended.code == "replay_done":
            self._fail(StopAsyncIteration())
        elif not ended.message:
            self._fail(Revoked(f"The hub ended this ({ended.code}). {NOT_LOST}"))
        else:
            self._fail(Refused(ended.code, ended.message, retry=ended.retry))

    def fail(self, error: HubError) -> None:
        """End with an error."""
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._end = self._end or error
        self._news.set()

    def hold_if_stuck(self, *, cut: bool) -> None:
        """Have no more sent while nothing is taken; after a cut at once, or every socket would bring more."""
        if self._parcels and not self._held and (cut or time.monotonic() - self._moved > STUCK_S):
            self._held = True
            self._source.hold(self.name)
            self._give_back()

    def _give_back(self) -> None:
        for parcel in self._parcels:
            self._source.give(parcel.credit)
            parcel.credit = 0


class Events(AsyncIterator[Event]):
    """What else happens: presence, commands, registrations, whether the hub stores, the connection itself."""

    def __init__(self, leave: Callable[["Events"], None]) -> None:
        """Hear from now on."""
        self._leave = leave
        self._kept: deque[Event] = deque()
        self._missed = 0
        self._news = asyncio.Event()
        self._end: BaseException | None = None

    def close(self) -> None:
        """Hear no more."""
        self._leave(self)
        self.fail(StopAsyncIteration())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._kept:
            if self._end is not None:
                raise self._end
            self._news.clear()
            await self._news.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return Missed(missed)
        return self._kept.popleft()

    def put(self, event: Event) -> None:
        """Keep it; of too many, the oldest are only counted."""
        self._kept.append(event)
        if len(self._kept) > EVENTS_KEPT:
            self._kept.popleft()
            self._missed += 1
        self._news.set()

    def fail(self, error: BaseException) -> None:
        """End, once all is taken."""
        self._end = self._end or error
        self._news.set()
