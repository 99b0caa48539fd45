"""What watched devices are registered as: read when a doorbell rings and at each check, told where it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple
from weakref import WeakKeyDictionary

from dashboard import protocol, reads
from dashboard.feeds import Feed
from devices.models import Device


class Registration(NamedTuple):
    """What those who watch a device are told of it; `fleet` is a slug."""

    name: str
    fleet: str
    enabled: bool


class Registrations:
    """What was last told of each watched device."""

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        """Know nothing; `look` ends what is not permitted any more."""
        self._look = look
        self._told: WeakKeyDictionary[Feed, Registration] = WeakKeyDictionary()
        # One reads at a time, so that the older never overwrites the newer.
        self._turn = asyncio.Lock()

    async def learn(self, feeds: Collection[Feed]) -> None:
        """Take what new devices are registered as for known: who begins to watch one has just read it."""
        if all(feed in self._told for feed in feeds):
            return
        async with self._turn:
            new = [feed for feed in feeds if feed not in self._told]
            self._told.update(await _read(new))

    async def check(self, feeds: Collection[Feed]) -> None:
        """Tell those who watch these devices what has changed, if they still may know it."""
        async with self._turn:
            now = await _read([feed for feed in feeds if feed in self._told])
            changed = {feed: one for feed, one in now.items() if one != self._told[feed]}
            if any(one.fleet != self._told[feed].fleet for feed, one in changed.items()):
                await self._look()  # those who may not see it where it is now do not learn where that is
            self._told.update(changed)
        for feed in changed:
            feed.say(self.text(feed))

    def text(self, feed: Feed) -> str:
        """Say what a device is registered as."""
        return protocol.text(kind="device", device=feed.key, **self._told[feed]._asdict())


async def _read(feeds: list[Feed]) -> dict[Feed, Registration]:
    """Read what these are; those that are gone are left out."""
    found = await reads.run(_of, [feed.pk for feed in feeds]) if feeds else {}
    return {feed: found[feed.pk] for feed in feeds if feed.pk in found}


def _of(pks: list[int]) -> dict[int, Registration]:
    rows = Device.objects.filter(pk__in=pks).values_list("pk", "name", "fleet__slug", "enabled")
    return {pk: Registration(name, fleet, enabled) for pk, name, fleet, enabled in rows}
