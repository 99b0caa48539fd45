"""One simulated device's life on the wire, over the shipped client's connection; what device.py could decide, it does.

It comes, leaves and comes back; updates are fetched as the shipped client fetches them.
"""

import asyncio
import logging
import ssl
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal, NamedTuple

from simulators.counts import Counts
from simulators.device import Device
from simulators.dice import dice
from telemetry_hub.device.arguments import Update
from telemetry_hub.device.fetch import NotFetched, fetch, is_at
from telemetry_hub.device.link import Cut, dialler, pause_s
from telemetry_hub.device.link import Link as Connection
from telemetry_hub.device.words import Publish, Send

log = logging.getLogger(__name__)

# A restarted broker is back within seconds, so is a new account; a fleet that knocks every 5 s hurts nobody.
_LONGEST_BACKOFF_S = 5.0
# A broker that goes away fails a thousand devices at once; one of them is worth a line.
_COMPLAIN_EVERY_S = 10.0


class Complaints:
    """Tells that devices cannot connect: one line for all of them, every ten seconds."""

    def __init__(self) -> None:
        self._next = 0.0
        self._unsaid = 0

    def hear(self, key: str, why: object, now: float) -> None:
        """Log it, or count it for the next line."""
        if now < self._next:
            self._unsaid += 1
            return
        log.info("%s: %s; it tries again (failures before that: %d)", key, why, self._unsaid)
        self._next = now + _COMPLAIN_EVERY_S
        self._unsaid = 0


class Hub(NamedTuple):
    """Where a fleet's hub is, and by which certificates it is known."""

    host: str
    port: int
    tls: bool
    trusted: ssl.SSLContext | None


class Link:
    """One device on the wire, until `end`. It is what its connection asks."""

    def __init__(self, device: Device, hub: Hub, secret: str, counts: Counts, complaints: Complaints) -> None:
        self._device = device
        self._hub = hub
        self._secret = secret
        self._counts = counts
        self._complaints = complaints
        self._rng = dice(device.key, "link")
        dial = dialler(device.key, secret, hub.host, hub.port, tls=hub.trusted if hub.tls else None)
        self._connection = Connection(self, dial)
        self._wake = asyncio.Event()
        self._ending = False
        self._ended = threading.Event()
        self._up = False
        self._failures = 0
        self._fetching: asyncio.Task[None] | None = None

    def end(self) -> None:
        """Make `live` say good-bye and return."""
        self._ending = True
        self._ended.set()
        self._wake.set()
        self._connection.wake()

    async def live(self) -> None:
        """Connect, and again whenever the connection is gone."""
        try:
            while not self._ending:
                await self._visit()
                if self._device.away:
                    await self._stay_away()
                elif not self._ending:
                    await self._pause(time.time() + pause_s(self._failures, _LONGEST_BACKOFF_S, self._rng))
        finally:
            if self._fetching:
                self._fetching.cancel()

    async def _visit(self) -> None:
        self._failures += 1
        try:
            await self._connection.visit()
        except Cut as cut:
            self._complaints.hear(self._device.key, cut, time.monotonic())
            self._counts.refused += cut.refused
        self._counts.connected -= self._up
        self._up = False

    async def _stay_away(self) -> None:
        away = self._device.away
        assert away is not None
        self._counts.dropouts += not away.polite
        lost = self._device.firmware.store.lost
        self._device.leave()
        self._counts.lost += self._device.firmware.store.lost - lost
        while not self._ending and time.time() < away.until:
            await self._pause(away.until)
        self._device.back(time.time())

    async def _pause(self, until: float) -> None:
        """Wait for an instant, or until the end."""
        delay = until - time.time()
        if delay <= 0:
            return
        alarm = asyncio.get_running_loop().call_later(delay, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()
        self._wake.clear()

    # What its connection asks

    @property
    def leaving(self) -> Literal["", "politely", "silently"]:
        """Whether this connection is to end, and how."""
        if away := self._device.away:
            return "politely" if away.polite else "silently"
        return "politely" if self._ending else ""

    def topics(self) -> list[str]:
        """What has to be heard."""
        return self._device.firmware.talk.topics()

    def wishes(self) -> list[str]:
        """What should be heard, if the broker allows it."""
        return self._device.firmware.talk.wishes()

    def will(self) -> Publish:
        """What the broker says when the connection breaks."""
        return self._device.firmware.will()

    def hello(self) -> list[Publish]:
        """What is said first."""
        return self._device.firmware.hello(time.time())

    def up(self) -> None:
        """The connection is of use."""
        self._up = True
        self._failures = 0
        self._counts.connects += 1
        self._counts.connected += 1

    def next(self) -> Send | None:
        """What is to be sent now."""
        now, lost = time.time(), self._device.firmware.store.lost
        self._device.advance(now)
        self._counts.lost += self._device.firmware.store.lost - lost
        return None if self._device.away else self._device.next(now)

    def done(self, send: Send) -> None:
        """The broker has it: count it."""
        self._device.done(send)
        self._counts.answers += send.what == "answer"
        self._counts.frames += send.fresh
        self._counts.doubles += send.what == "double"
        self._counts.bad += send.what == "bad"

    def pause_s(self) -> float | None:
        """For how long there will be nothing to send, unless something happens."""
        now = time.time()
        at = self._device.firmware.talk.outbox.wake_at(now)
        own = self._device.wake_at()
        return max(0.0, (own if at is None else min(own, at)) - now)

    def hear(self, about: str, payload: bytes, *, retained: bool) -> None:
        """Take what the hub says; fetch what is to be installed."""
        firmware = self._device.firmware
        self._counts.commands += firmware.hear(about, payload, retained=retained)
        if firmware.updating and not (self._fetching and not self._fetching.done()):
            self._fetching = asyncio.create_task(self._fetch(firmware.updating), name=f"{self._device.key} updates")

    async def _fetch(self, update: Update) -> None:
        firmware, loop = self._device.firmware, asyncio.get_running_loop()

        def tell(done: float) -> None:
            loop.call_soon_threadsafe(firmware.step, "downloading" if done < 1 else "downloaded", done)
            loop.call_soon_threadsafe(self._connection.wake)

        with tempfile.TemporaryDirectory() as folder:
            to = Path(folder) / "firmware"
            try:
                login = (self._device.key, self._secret) if is_at(update.url, self._hub.host) else None
                await asyncio.to_thread(fetch, update, to, login, self._hub.trusted, tell, self._ended)
            except NotFetched as fault:
                firmware.failed(update, str(fault))
            else:
                firmware.fetched(update)
        self._connection.wake()
