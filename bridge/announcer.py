"""When something is announced: only what somebody watches, at once, and then at most every so often.

Holds what waits; sends through groups.announce.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol

from bridge.tally import Tally
from devices import groups

logger = logging.getLogger(__name__)

# A watcher renews every 5 s; one that has not for this long is gone (live.md).
WATCH_S: Final = 60.0
# A person sees no difference below it; one message then carries what came meanwhile.
SPACING_S: Final = 0.05
FLEET_SPACING_S: Final = 0.5
FLEET_CHUNK: Final = 200
# While the layer does not take them, a device's rows wait; whoever misses the older ones reads them from the database.
MOST_ROWS: Final = 1000


class Summaries(Protocol):
    """Reads the summaries of devices: key → what a fleet's page shows."""

    async def __call__(self, keys: list[str]) -> dict[str, dict[str, object]]:
        """Read."""


class Announcer:
    """Spaces the announcements of each device, and conflates those of fleets."""

    def __init__(self, summaries: Summaries, tally: Tally) -> None:
        """Start with nobody watching; `tally` is told what becomes of frames."""
        self._summaries = summaries
        self._tally = tally
        self._watched: dict[str, float] = {}
        self._watched_fleets: dict[str, float] = {}
        self._frames: dict[str, groups.Frames] = {}
        self._states: dict[str, groups.State] = {}
        self._sent_at: dict[str, float] = {}
        self._fleets: dict[str, set[str]] = {}
        self._fleets_at = 0.0
        self._news = asyncio.Event()
        self._fleet_news = asyncio.Event()
        # Frames that the layer has been given, and has not taken yet.
        self._sending = 0

    @property
    def waiting(self) -> int:
        """How many frames are still to be announced."""
        return self._sending + _amount(self._frames.values())

    def watch(self, key: str, now: float) -> None:
        """Somebody looks at a device."""
        self._watched[key] = now + WATCH_S

    def watch_fleet(self, slug: str, now: float) -> None:
        """Somebody looks at a fleet."""
        self._watched_fleets[slug] = now + WATCH_S

    def put(self, message: groups.Message, fleet: str | None, now: float) -> bool:
        """Take what was stored; whether somebody will hear of it. Presence is told whoever watches: it is rare."""
        if message["type"] != "device.state" and message["type"] != "device.frames":
            return False
        key, heard = message["device"], True
        if message["type"] == "device.state":
            self._states[key] = message
        elif self._wanted(self._watched, key, now):
            self._add(message)
        else:
            heard = False
            self._tally.unwatched += len(message["frames"])
        if fleet and self._wanted(self._watched_fleets, fleet, now):
            self._fleets.setdefault(fleet, set()).add(key)
            self._fleet_news.set()
            heard = True
        if self._frames or self._states:
            self._news.set()
        return heard

    def _add(self, message: groups.Frames) -> None:
        waiting = self._frames.setdefault(message["device"], message)
        if waiting is not message:
            waiting["frames"] += message["frames"]
            if hops := message.get("hops"):
                waiting["hops"] = hops
        if (surplus := len(waiting["frames"]) - MOST_ROWS) > 0:
            waiting["prev"] = waiting["frames"][surplus - 1][0]
            del waiting["frames"][:surplus]
            self._tally.lost += surplus

    @staticmethod
    def _wanted(watched: dict[str, float], name: str, now: float) -> bool:
        until = watched.get(name)
        if until is not None and until < now:
            del watched[name]
        return until is not None and until >= now

    def due(self, now: float) -> list[groups.Message]:
        """Take what may be said now: every presence, and the frames whose device was silent for long enough."""
        states, self._states = list(self._states.values()), {}
        keys = [key for key in self._frames if now - self._sent_at.get(key, 0.0) >= SPACING_S]
        for key in keys:
            self._sent_at[key] = now
        return [*states, *(self._frames.pop(key) for key in keys)]

    async def announce(self, messages: list[groups.Message]) -> None:
        """Send, and count what the layer took."""
        self._sending = _amount(messages)
        lost = _amount(await groups.announce(*messages))
        self._tally.announced += self._sending - lost
        self._tally.lost += lost
        self._sending = 0

    async def due_fleets(self, now: float) -> list[groups.Message]:
        """Take the summaries of watched fleets, twice a second at most."""
        if not self._fleets or now - self._fleets_at < FLEET_SPACING_S:
            return []
        self._fleets_at = now
        fleets, self._fleets = self._fleets, {}
        messages: list[groups.Message] = []
        for slug, keys in fleets.items():
            devices = list((await self._summaries(sorted(keys))).items())
            for at in range(0, len(devices), FLEET_CHUNK):
                chunk = dict(devices[at : at + FLEET_CHUNK])
                messages.append({"type": "fleet.summary", "fleet": slug, "devices": chunk})
        return messages

    async def run(self) -> None:
        """Send what is due, for ever. Frames do not wait for what is read of fleets."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run_frames(), name="announce frames")
            tasks.create_task(self._run_fleets(), name="announce fleets")

    async def _run_frames(self) -> None:
        while True:
            # What waits for its spacing does not hold up another device's news.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.pause(time.monotonic())):
                    await self._news.wait()
            self._news.clear()
            await self.announce(self.due(time.monotonic()))

    def pause(self, now: float) -> float | None:
        """Return for how long (s) nothing that waits may be said; None: nothing waits."""
        waiting = [self._sent_at.get(key, 0.0) for key in self._frames]
        return max(0.0, min(waiting) + SPACING_S - now) if waiting else None

    async def _run_fleets(self) -> None:
        while True:
            await self._fleet_news.wait()
            self._fleet_news.clear()
            await asyncio.sleep(max(0.0, self._fleets_at + FLEET_SPACING_S - time.monotonic()))
            try:
                await groups.announce(*await self.due_fleets(time.monotonic()))
            except Exception:
                logger.exception("cannot read the summaries of fleets; the next ones will tell")


def _amount(messages: Iterable[groups.Message]) -> int:
    """How many frames these announce."""
    return sum(len(message["frames"]) for message in messages if message["type"] == "device.frames")
