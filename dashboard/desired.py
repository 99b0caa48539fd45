"""What watched devices shall keep to, and do: read when a doorbell rings and at each check, told where it changed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from dashboard import protocol, reads
from dashboard.feeds import Feed
from devices import desired

# Name → what is told of a setting, as over REST.
Rows = dict[str, dict[str, Any]]


class Desired:
    """What was last told of each watched device."""

    def __init__(self) -> None:
        """Know nothing."""
        self._told: WeakKeyDictionary[Feed, tuple[int, Rows]] = WeakKeyDictionary()
        self._rung: WeakSet[Feed] = WeakSet()
        self._news = asyncio.Event()
        self._checked_at = reads.now_ms()
        # One reads at a time, so that the older never overwrites the newer.
        self._turn = asyncio.Lock()

    async def learn(self, feeds: Collection[Feed]) -> None:
        """Read the settings of new devices: who begins to watch one is told them."""
        if all(feed in self._told for feed in feeds):
            return
        async with self._turn:
            self._told.update(await _read([feed for feed in feeds if feed not in self._told]))

    def text(self, feed: Feed) -> str:
        """Say all settings of a device; nothing when it has none."""
        version, rows = self._told.get(feed, (0, {}))
        return _text(feed, version, rows) if rows else ""

    def ring(self, feed: Feed) -> None:
        """Look at a device soon."""
        self._rung.add(feed)
        self._news.set()

    async def next_rung(self) -> None:
        """Wait for a doorbell, and tell what changed of what it rang for."""
        await self._news.wait()
        self._news.clear()
        feeds, self._rung = list(self._rung), WeakSet()
        try:
            await self._look(feeds)
        except BaseException:
            self._rung.update(feeds)
            self._news.set()
            raise

    async def check(self, feeds: Collection[Feed]) -> None:
        """Tell what no doorbell told of."""
        since, now = self._checked_at - reads.OVERLAP_MS, reads.now_ms()
        pks = {feed.pk: feed for feed in feeds if feed in self._told}
        changed = await reads.run(desired.changed, list(pks), since) if pks else []
        await self._look([pks[pk] for pk in changed])
        self._checked_at = now

    async def _look(self, feeds: Collection[Feed]) -> None:
        async with self._turn:
            found = await _read([feed for feed in feeds if feed in self._told])
            for feed, (version, rows) in found.items():
                _, known = self._told[feed]
                self._told[feed] = (version, rows)
                if news := {name: row for name, row in rows.items() if row != known.get(name)}:
                    feed.confide(_text(feed, version, news))


async def _read(feeds: list[Feed]) -> dict[Feed, tuple[int, Rows]]:
    """Read the settings of these; of those that are gone there are none."""
    found = await reads.run(desired.described, [feed.pk for feed in feeds]) if feeds else {}
    told = {pk: (version, {row["name"]: row for row in rows}) for pk, (version, rows) in found.items()}
    return {feed: told[feed.pk] for feed in feeds if feed.pk in told}


def _text(feed: Feed, version: int, rows: Rows) -> str:
    return protocol.text(kind="settings", device=feed.key, version=version, settings=list(rows.values()))
