"""A device of a hub, for a program: publish readings, take commands and settings, and lose nothing meanwhile."""

import asyncio
import contextlib
import inspect
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

from telemetry_hub.device import words
from telemetry_hub.device.arguments import SETTING_TYPES, Spec, Update, spec
from telemetry_hub.device.duties import Duty
from telemetry_hub.device.fetch import fetch, is_at
from telemetry_hub.device.link import KEEPALIVE_S, Cut, Link, certificates, dialler, pause_s
from telemetry_hub.device.order import Order, Rejected
from telemetry_hub.device.outbox import BATCH_BYTES
from telemetry_hub.device.settings import Setting
from telemetry_hub.device.store import Store
from telemetry_hub.device.talk import About, Talk
from telemetry_hub.device.words import LOCATION, TELEMETRY, Outcome, Publish, Send, Value

log = logging.getLogger(__name__)
# What aiomqtt itself warns of is told here.
logging.getLogger("mqtt").setLevel(logging.ERROR)

Does = TypeVar("Does", bound=Callable[..., Any])

PLAIN, TLS = 1883, 8883
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_LONGEST_PAUSE_S: Final = 30.0
# Who leaves waits so long for receipts of what was published last.
_LEAVE_S: Final = 5.0
_SYNC_S: Final = 1.0
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def now_ms() -> int:
    """Return the time of day as the hub has it."""
    return time.time_ns() // 1_000_000


class Device:
    """One device: `async with device: …`, or `asyncio.run(device.run())`. Announce everything before that.

    key, secret   its login, as the hub gave them
    host, port    the broker; tls: encrypted, unless the broker is on this machine; ca: a file of certificates to trust
    buffer        a file for what has no receipt yet; without one it is in memory, and ends with the program
    frames, size  how much that keeps, in frames and bytes: of more, the oldest fall out (`lost` counts them)
    batch_bytes   how long one message with several frames may be
    clock         False for a machine that does not know the time: it then says how long ago something was
    hub           the hub's address on the web, if its name is not the broker's: who may see the secret at downloads
    """

    def __init__(  # noqa: PLR0913  what a program may choose, each by its name
        self,
        key: str,
        secret: str,
        host: str,
        port: int | None = None,
        *,
        tls: bool | None = None,
        ca: str | Path | None = None,
        buffer: str | Path | None = None,
        frames: int = 1_000_000,
        size: int = 500_000_000,
        batch_bytes: int = BATCH_BYTES,
        clock: bool = True,
        keepalive_s: int = KEEPALIVE_S,
        name: str = "",
        model: str = "",
        fw: str = "",
        hub: str = "",
    ) -> None:
        encrypted = host not in _LOOPBACK if tls is None else tls
        self._context = certificates(ca) if encrypted or ca else None
        self._dial = dialler(
            key,
            secret,
            host,
            port or (TLS if encrypted else PLAIN),
            tls=self._context if encrypted else None,
            keepalive_s=keepalive_s,
        )
        self.key = key
        self.leaving: Literal["", "politely", "silently"] = ""
        self._login = (key, secret)
        self._hub = urlsplit(hub).hostname or host
        self._metrics: dict[str, Mapping[str, str]] = {}
        self._commands: dict[str, Spec] = {}
        self._does: dict[str, Callable[..., Any]] = {}
        self._settings: dict[str, Setting] = {}
        about = About(name, model, fw, self._metrics, self._commands, self._settings)
        self._store = Store(buffer, frames=frames, size=size)
        self._talk = Talk(key, about, self._store, batch_bytes=batch_bytes, clock=clock)
        self._store.start(now_ms())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: Link | None = None
        self._life: asyncio.Task[None] | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._up = asyncio.Event()
        self._received = asyncio.Event()
        self._ended = threading.Event()
        self._rng = random.SystemRandom()

    # What it announces

    def metric(self, name: str, *, unit: str = "", device_class: str = "") -> None:
        """Announce what is measured. (What is not announced is learned by the hub, without a unit.)"""
        given = {"unit": unit, "class": device_class}
        self._metrics[name] = {part: text for part, text in given.items() if text}

    def command(  # noqa: PLR0913  what may be announced, each by its name
        self,
        name: str,
        *,
        type: str,  # noqa: A002  as it is called on the wire
        min: float | None = None,  # noqa: A002  as it is called on the wire
        max: float | None = None,  # noqa: A002  as it is called on the wire
        step: float | None = None,
        options: tuple[str, ...] | list[str] = (),
        unit: str = "",
        dangerous: bool = False,
    ) -> Callable[[Does], Does]:
        """Announce a command, and have this function carry it out (in a thread, unless it is asynchronous).

        It gets the argument (none for an action; an Update for an update), and an Order if it takes one more. What it
        returns is the answer's value; Rejected says that it will not, any other exception that it could not.
        """
        limits = {"min": min, "max": max, "step": step, "options": list(options), "unit": unit}
        self._commands[name] = spec(type, {**limits, "dangerous": dangerous})

        def taken(does: Does) -> Does:
            self._does[name] = does
            return does

        return taken

    def setting(  # noqa: PLR0913  what may be announced, each by its name
        self,
        name: str,
        *,
        type: str,  # noqa: A002  as it is called on the wire
        min: float | None = None,  # noqa: A002  as it is called on the wire
        max: float | None = None,  # noqa: A002  as it is called on the wire
        step: float | None = None,
        options: tuple[str, ...] | list[str] = (),
        unit: str = "",
        default: Value | None = None,
    ) -> Callable[[Does], Does]:
        """Announce a setting, and have this function take it: at each start, and when somebody changes it.

        It is quick and not asynchronous, and raises ValueError for a value that it cannot keep to.
        """
        limits = {"min": min, "max": max, "step": step, "options": list(options), "unit": unit}
        described = spec(type, limits, SETTING_TYPES)

        def taken(take: Does) -> Does:
            if inspect.iscoroutinefunction(take):
                raise TypeError(f"what takes the setting {name!r} must not be asynchronous: it is reported at once")
            self._settings[name] = Setting(described, default, take)
            return take

        return taken

    # What it measures

    def publish(
        self, values: Mapping[str, Any] | None = None, /, *, at: datetime | float | None = None, **named: Value | None
    ) -> None:
        """Send readings of one instant (now, or `at`: s since 1970), or keep them until they can be sent.

        From any thread. When it has returned they survive the end of the program, with a buffer file; after a second
        also a power cut. ValueError: no hub would take them.
        """
        self._put(TELEMETRY, {**(values or {}), **named}, at)

    def locate(self, lat: float, lon: float, *, at: datetime | float | None = None, **more: float) -> None:
        """Send where it is, in degrees; also acc, alt (m), speed (km/h), course (°)."""
        if not (-90 <= lat <= 90 and -180 <= lon <= 180):  # noqa: PLR2004  the globe
            raise ValueError(f"{lat}, {lon} is no place on the globe")
        self._put(LOCATION, {"lat": lat, "lon": lon, **more}, at)

    def _put(self, level: str, values: Mapping[str, Any], at: datetime | float | None) -> None:
        given = at.timestamp() if isinstance(at, datetime) else at
        instant = now_ms() if given is None else round(given * 1000)
        self._store.put(instant, level, words.values(values))
        self._wake()

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._up.is_set()

    @property
    def waiting(self) -> int:
        """How many frames have no receipt yet."""
        return self._store.kept

    @property
    def lost(self) -> int:
        """How many frames ever fell out of the full buffer, without a receipt."""
        return self._store.lost

    @property
    def refused(self) -> int:
        """How many frames the hub ever refused for what is in them; it keeps them among its rejects."""
        return self._store.refused

    async def received(self) -> None:
        """Wait until every frame that was published is in the hub's database."""
        while self._store.kept:
            self._received.clear()
            await self._received.wait()

    # Its life

    async def __aenter__(self) -> Self:
        """Begin to connect, and to stay connected; it does not wait for the first time."""
        self._life = asyncio.create_task(self.run(), name=f"device {self.key}")
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait a moment for the last receipts, say good-bye, and end."""
        assert self._life is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S if self._up.is_set() else 0):
                await self.received()
        self.leaving = "politely"
        self._wake()
        await asyncio.wait([self._life], timeout=_LEAVE_S)
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)

    async def run(self) -> None:
        """Be connected, again and again, until the task is cancelled."""
        self._loop = asyncio.get_running_loop()
        self._link = Link(self, self._dial)
        self._talk.duties.start()
        self._talk.settings.start()
        syncing = asyncio.create_task(self._sync(), name=f"device {self.key}: sync")
        try:
            await self._stay(self._link)
        finally:
            self._ended.set()
            for task in (syncing, *self._carrying):
                task.cancel()
            await asyncio.gather(syncing, *self._carrying, return_exceptions=True)
            self._store.close()

    async def _stay(self, link: Link) -> None:
        failures = 0
        while not self.leaving:
            why = ""
            try:
                await link.visit()
            except Cut as cut:
                why = f"the broker does not let it in: {cut}" if cut.refused else str(cut)
            failures = 0 if self._up.is_set() else failures + 1
            self._up.clear()
            if not self.leaving:
                pause = pause_s(failures, _LONGEST_PAUSE_S, self._rng)
                tell = log.warning if failures <= 1 else log.info
                tell("%s: %s; it tries again in %.1f s", self.key, why, pause)
                await asyncio.sleep(pause)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_S)
            await asyncio.to_thread(self._store.sync)

    def _wake(self) -> None:
        if self._loop is not None and self._link is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be woken
                self._loop.call_soon_threadsafe(self._link.wake)

    # What its connection asks

    def topics(self) -> list[str]:
        """What has to be heard."""
        return self._talk.topics()

    def wishes(self) -> list[str]:
        """What should be heard, if the broker allows it."""
        return self._talk.wishes()

    def will(self) -> Publish:
        """What the broker says when the connection breaks."""
        return self._talk.will()

    def hello(self) -> list[Publish]:
        """What is said first."""
        return self._talk.hello(time.monotonic())

    def up(self) -> None:
        """The connection is of use."""
        log.info("%s: connected", self.key)
        self._up.set()

    def next(self) -> Send | None:
        """What is to be sent now."""
        return self._talk.next(time.monotonic(), now_ms())

    def done(self, send: Send) -> None:
        """The broker has it."""
        self._talk.done(send)

    def pause_s(self) -> float | None:
        """For how long there will be nothing to send, unless something happens."""
        now = time.monotonic()
        at = self._talk.outbox.wake_at(now)
        return None if at is None else max(0.0, at - now)

    def hear(self, about: str, payload: bytes, *, retained: bool) -> None:
        """Take what the hub says."""
        heard = self._talk.hear(about, payload, time.monotonic(), now_ms(), retained=retained)
        if heard.fault:
            log.warning("%s: %s", self.key, heard.fault)
        if heard.duty:
            self._talk.duties.tell(heard.duty.cid)
            task = asyncio.create_task(self._carry_out(heard.duty), name=f"device {self.key}: {heard.duty.name}")
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)
        if not self._store.kept:
            self._received.set()

    # Commands

    async def _carry_out(self, duty: Duty) -> None:
        order = Order(
            duty.name,
            duty.cid,
            lambda outcome: self._tell(duty.cid, outcome),
            lambda outcome: self._talk.duties.settle_at_start(duty.cid, outcome),
        )
        try:
            value = await self._call(duty, order)
            outcome = Outcome(value=None if value is None else words.scalar("the value", value))
        except Rejected as rejected:
            outcome = Outcome("rejected", message=str(rejected))
        except Exception as error:
            log.exception("%s: %s failed", self.key, duty.name)
            outcome = Outcome("error", message=f"{type(error).__name__}: {error}")
        if not order.restarts or outcome.status != "ok":
            self._talk.duties.settle(duty.cid, outcome)
            self._wake()

    async def _call(self, duty: Duty, order: Order) -> object:
        does = self._does[duty.name]
        given = [] if self._commands[duty.name]["type"] == "action" else [duty.argument]
        places = [part for part in inspect.signature(does).parameters.values() if part.kind in _POSITIONAL]
        arguments = [*given, order] if len(places) > len(given) else given
        if inspect.iscoroutinefunction(does):
            return await does(*arguments)
        return await asyncio.to_thread(does, *arguments)

    def _tell(self, cid: str, outcome: Outcome) -> None:
        loop, link = self._loop, self._link
        if loop is None or link is None or loop.is_closed():
            return

        def tell() -> None:
            self._talk.duties.tell(cid, outcome)
            link.wake()

        loop.call_soon_threadsafe(tell)

    async def download(self, update: Update, order: Order, to: str | Path) -> Path:
        """Fetch the file of an update, tell its steps, and verify its sha256; NotFetched says why not.

        What was fetched before a cut or a restart is not fetched again. The secret goes along to the hub alone.
        """

        def tell(done: float) -> None:
            order.step("downloading" if done < 1 else "downloaded", done)

        tell(0.0)
        login = self._login if is_at(update.url, self._hub) else None
        path = await asyncio.to_thread(fetch, update, Path(to), login, self._context, tell, self._ended)
        order.step("verified")
        return path
