"""Hundreds of sockets in one process: `python -m benchmarks.live.crowd`, asked through benchmarks.live.ask.

Groups have names; each counts for itself. `turn ms`: how long a turn of this process' own loop took at most lately;
with its CPU it tells whether the crowd was the bottleneck (and benchmarks.live.ceiling, how much it could take).
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import select
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from benchmarks.live import ask
from benchmarks.live.sockets import Address, Dashboard, Stuck, Tally, Texts, now_us

LOOK_S: Final = 0.02
LIE_S: Final = 0.25
# Of those who come and go: more would only wait for each other.
MOST_PRESENT: Final = 500
Answer = dict[str, Any]


class Group:
    """Dashboards that are counted together."""

    def __init__(self) -> None:
        """Start with none."""
        self.tally = Tally()
        self.dashboards: dict[Dashboard, asyncio.Task[None]] = {}

    @property
    def live(self) -> int:
        """How many are live."""
        return sum(dashboard.live.is_set() for dashboard in self.dashboards)

    @property
    def coming(self) -> int:
        """How many are not live yet, and still try."""
        return sum(not one.live.is_set() and not task.done() for one, task in self.dashboards.items())

    def stay(self, dashboard: Dashboard, *, again: bool) -> asyncio.Task[None]:
        """Have it come, and stay."""
        task = self.dashboards[dashboard] = asyncio.create_task(dashboard.stay(again=again))
        return task

    def fresh(self) -> Tally:
        """Return what was counted, and count anew."""
        before, self.tally = self.tally, Tally()
        for one in self.dashboards:
            one.tally = self.tally
        return before


class Stage:
    """Sockets that read nothing; whoever is closed comes back and sticks again."""

    def __init__(self) -> None:
        """Start with none."""
        self.stuck: list[Stuck] = []
        self.cuts: Counter[str] = Counter()
        self.stuck_s: dict[str, list[float]] = {"silent": [], "lying": []}
        self._poll = select.epoll()
        self._by_handle: dict[int, Stuck] = {}

    async def stick(self, one: Stuck) -> None:
        """Have one come and stick, as soon as it is let in."""
        while one in self.stuck:
            try:
                async with asyncio.timeout(10):
                    await one.stick()
                break
            except (OSError, TimeoutError):
                one.leave()
                await asyncio.sleep(random.uniform(0.1, 0.5))
        if one.socket is not None:
            self._by_handle[one.socket.fileno()] = one
            self._poll.register(one.socket, select.EPOLLRDHUP)  # with what is always told: HUP and ERR

    def cut(self) -> list[Stuck]:
        """Return who was closed by the hub."""
        found = []
        for handle, _ in self._poll.poll(0):
            one = self._by_handle.pop(handle)
            self._poll.unregister(handle)
            kind = "lying" if one.lying else "silent"
            self.cuts[kind] += 1
            self.stuck_s[kind].append((now_us() - one.stuck_at) / 1e6)
            one.leave()
            found.append(one)
        return found

    def leave(self) -> None:
        """Let all go."""
        for one in self.stuck:
            one.leave()
        self.stuck, self._by_handle = [], {}
        self._poll.close()
        self._poll = select.epoll()


class Crowd:
    """What may be asked."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._groups: dict[str, Group] = {}
        self._texts = Texts()
        self._stage = Stage()
        self._churn: asyncio.Task[None] | None = None
        self._turn_s = 0.0
        self._joins: list[float] = []
        self._steps: set[asyncio.Task[Any]] = set()
        for loop in (self._watch_turns, self._tend_stuck):
            self._begin(loop())

    def _begin(self, step: Any) -> None:  # noqa: ANN401  a coroutine
        task = asyncio.create_task(step)
        self._steps.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._steps.discard(task)
        if not task.cancelled() and (error := task.exception()):
            raise SystemExit(f"the crowd has a fault: {error!r}")

    async def _watch_turns(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(LOOK_S)
            self._turn_s = max(self._turn_s, time.monotonic() - began - LOOK_S)

    async def _tend_stuck(self) -> None:
        while True:
            for one in self._stage.cut():
                self._begin(self._stage.stick(one))
            for one in self._stage.stuck:
                if one.lying:
                    one.lie()
            await asyncio.sleep(LIE_S)

    # -- dashboards

    async def open(  # noqa: PLR0913  one question, each part named
        self,
        group: str,
        count: int,
        to: list[Address],
        devices: list[str],
        watch: int | None = None,
        at_once: int = 20,
        *,
        again: bool = False,
        last_s: float = 0,
        patience_s: float = 120,
    ) -> Answer:
        """Open so many, dealt to the servers in turn; each watches all the devices, or `watch` of them, in turn."""
        crowd, began = self._groups.setdefault(group, Group()), time.monotonic()
        before = len(crowd.dashboards)
        for number in range(before, before + count):
            own = devices if watch is None else [devices[(number + at) % len(devices)] for at in range(watch)]
            dashboard = Dashboard(Address(*to[number % len(to)]), own, crowd.tally, self._texts, last_s)
            crowd.stay(dashboard, again=again)
            await self._until(lambda: crowd.coming < at_once, patience_s)
        await self._until(lambda: not crowd.coming, patience_s)
        _collect()
        return {"live": crowd.live - before, "took s": time.monotonic() - began, **self._said(crowd)}

    async def join(self, count: int, to: list[Address], devices: list[str], last_s: float) -> Answer:
        """Open sockets one after the other; ms from `sub` to each one's answer, seam and first row."""
        crowd = self._groups.setdefault("joins", Group())
        found = []
        for number in range(count):
            dashboard = Dashboard(Address(*to[number % len(to)]), devices, crowd.tally, self._texts, last_s)
            crowd.stay(dashboard, again=False)
            await self._until(lambda: dashboard.row_at > 0 and dashboard.live.is_set(), 30)  # noqa: B023
            times = (dashboard.ok_at, dashboard.live_at, dashboard.row_at)
            found.append([(at - dashboard.asked_at) / 1000 for at in times])
            dashboard.leave()
            await self._until(dashboard.gone.is_set, 30)
        self._groups.pop("joins")
        return {"joins": found, **self._said(crowd)}

    async def close(self, group: str, how: str = "leave") -> Answer:
        """End a group (leave: politely; cut: by RST) and forget it."""
        crowd = self._groups.pop(group)
        for dashboard, task in crowd.dashboards.items():
            task.cancel()
            getattr(dashboard, how)()
        await self._until(lambda: all(one.gone.is_set() for one in crowd.dashboards), 30)
        gc.unfreeze()
        _collect()
        return self._said(crowd)

    async def cut(self, group: str) -> int:
        """Break all connections of a group off at once; who was opened with `again` comes back."""
        began = now_us()
        for dashboard in self._groups[group].dashboards:
            dashboard.cut()
        return began

    async def returned(self, group: str, since: int, patience_s: float) -> Answer:
        """Wait until all are live again, each later than `since` (µs); say when each was, in s after it."""
        crowd = self._groups[group]
        await self._until(lambda: all(_is_back(one, since) for one in crowd.dashboards), patience_s)
        after = sorted((one.live_at - since) / 1e6 for one in crowd.dashboards if _is_back(one, since))
        return {"live": len(after), "after s": after, **self._said(crowd)}

    async def level(self, group: str, heads: dict[str, int], patience_s: float = 30) -> Answer:
        """Wait until each has all frames of its devices; say how many have not."""
        crowd = self._groups[group]

        def behind() -> int:
            return sum(any(one.cursors.get(key) != heads[key] for key in one.devices) for one in crowd.dashboards)

        await self._until(lambda: not behind(), patience_s)
        return {"incomplete": behind(), **self._said(crowd)}

    async def report(self, group: str) -> Answer:
        """Say what a group has counted since this was asked last."""
        crowd = self._groups[group]
        await self._texts.fold()
        said = {"live": crowd.live, "latencies": crowd.tally.latencies.told(), **self._said(crowd)}
        crowd.fresh()
        self._turn_s = 0.0
        return said

    def _said(self, crowd: Group) -> Answer:
        counts = {name: getattr(crowd.tally, name) for name in ("frames", "messages", "bytes")}
        counters = {name: dict(getattr(crowd.tally, name)) for name in ("faults", "handshakes", "closes")}
        return {**counts, **counters, "examples": crowd.tally.examples, "turn ms": self._turn_s * 1000}

    # -- stuck ones

    async def stick(self, count: int, to: list[Address], devices: list[str], *, lying: bool) -> Answer:
        """Have so many come, subscribe and read nothing more."""
        began = time.monotonic()
        fresh = [Stuck(Address(*to[number % len(to)]), devices, lying=lying) for number in range(count)]
        self._stage.stuck += fresh
        for one in fresh:
            await self._stage.stick(one)
        return {"took s": time.monotonic() - began}

    async def stuck(self) -> Answer:
        """Say how often the hub has closed stuck ones since this was asked last, and after how many seconds each."""
        cuts, self._stage.cuts = self._stage.cuts, Counter()
        after, self._stage.stuck_s = self._stage.stuck_s, {"silent": [], "lying": []}
        now = sum(one.socket is not None for one in self._stage.stuck)
        return {"now": now, "closed": dict(cuts), "after s": after}

    async def unstick(self) -> Answer:
        """Let the stuck ones go."""
        self._stage.leave()
        return await self.stuck()

    # -- those who come and go

    async def churn(self, rate: float, to: list[Address], devices: list[str], hold_s: float) -> None:
        """Open so many a second from now on, and close each a while later (up to `hold_s`), politely or by RST."""
        self._groups["churn"] = Group()
        self._churn = asyncio.create_task(self._come_and_go(rate, to, devices, hold_s))

    async def _come_and_go(self, rate: float, to: list[Address], devices: list[str], hold_s: float) -> None:
        crowd, began, opened = self._groups["churn"], time.monotonic(), 0
        while True:
            planned = int((time.monotonic() - began) * rate)
            for number in range(opened, planned):
                if len(crowd.dashboards) >= MOST_PRESENT:
                    crowd.tally.handshakes["late"] += planned - number
                    break
                address = Address(*to[number % len(to)])
                dashboard = Dashboard(address, [random.choice(devices)], crowd.tally, self._texts, last_s=10)
                self._begin(self._visit(crowd, dashboard, random.uniform(0, hold_s)))
            opened = planned
            await asyncio.sleep(LOOK_S)

    async def _visit(self, crowd: Group, dashboard: Dashboard, hold_s: float) -> None:
        began, staying = now_us(), crowd.stay(dashboard, again=False)
        live = asyncio.create_task(dashboard.live.wait())
        await asyncio.wait({staying, live}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        if live.done():
            self._joins.append((dashboard.live_at - began) / 1000)
            await asyncio.sleep(hold_s)
            if random.random() < 0.5:
                dashboard.leave()
                await self._until(dashboard.gone.is_set, 10)
        elif not staying.done():
            crowd.tally.handshakes["not live in 60 s"] += 1
        live.cancel()
        staying.cancel()
        dashboard.cut()
        del crowd.dashboards[dashboard]

    async def visits(self) -> Answer:
        """Say how the visits went since this was asked last: ms from connecting to live, sorted."""
        joins, self._joins = sorted(self._joins), []
        crowd = self._groups["churn"]
        said = {"live ms": joins, "present": len(crowd.dashboards), **self._said(crowd)}
        crowd.fresh()
        return said

    async def settle(self) -> Answer:
        """Let nobody come any more, and wait until all have gone."""
        if self._churn is not None:
            self._churn.cancel()
        await self._until(lambda: not self._groups["churn"].dashboards, 90)
        return await self.visits()

    @staticmethod
    async def _until(look: Callable[[], bool], patience_s: float) -> None:
        """Wait for it as long as patience lasts; what did not happen, the counts tell."""
        deadline = time.monotonic() + patience_s
        while not look() and time.monotonic() < deadline:  # noqa: ASYNC110  many things, none of which tells
            await asyncio.sleep(LOOK_S / 4)


def _is_back(dashboard: Dashboard, since: int) -> bool:
    return dashboard.live.is_set() and dashboard.live_at > since


def _collect() -> None:
    """Do now what would otherwise stop the crowd while it counts."""
    gc.collect()
    gc.freeze()


async def main() -> None:
    """Answer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    await ask.serve(Crowd())


if __name__ == "__main__":
    asyncio.run(main())
