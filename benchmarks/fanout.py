"""One channel a socket against one a process: `python -m benchmarks.fanout [--quick] [--json FILE]`.

Both on Channels' two layers for Redis, under Daphne, one web process. Frames are stored and announced by
benchmarks.live.feeder, so that neither broker nor bridge counts; every socket watches all devices, and
benchmarks.live.crowd counts what comes. The ways take turns, each case on a fresh web process, and a figure is the
median of the repetitions. Compare figures of one run only.

at a steady rate   CPU of the web process and of Redis for each frame that a socket got; latency from just before the
                   frame was stored until the socket had it; how long a socket takes to join among the others
keeping up         the highest rate, doubled each time, of which 95 % came: frames a second in all sockets together;
                   and the most that came when there was more than that
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import redis

from benchmarks import processes
from benchmarks.live.ask import Child, child
from benchmarks.live.latency import Latencies
from benchmarks.live.scene import MB, Figures, Spent
from benchmarks.live.tables import figure, progress, table
from tests import services
from tests.hub import BIN, PLAIN, Part
from tests.services import LOOPBACK

LAYERS: Final = {"core": "benchmarks.live.core_layer", "pub/sub": "hub.settings"}
SERVERS: Final = {"socket": "benchmarks.live.textbook:application", "process": "hub.asgi:application"}
WAYS: Final = list(product(SERVERS, LAYERS))
# Not more than the steady rate lasts: who joins is not to read what an earlier case left.
HISTORY_S: Final = 5
WARM: Final = 5
ENOUGH: Final = 0.95
ON_ITS_WAY_S: Final = 0.1
ALL_OF_IT: Final = "keeps up with all that was tried"


class Sizes(NamedTuple):
    """How much of it.

    rate       frames a second at the steady rate; fewer where that would be more than `messages` a second in all
               sockets, one by one, which the textbook can take
    most       the highest rate that is tried
    """

    sockets: tuple[int, ...] = (1, 10, 50, 200)
    devices: tuple[int, ...] = (10, 100)
    rate: float = 20
    messages: float = 800
    steady_s: float = 6
    step_s: float = 2
    most: float = 12_800
    joins: int = 5
    again: int = 3


QUICK = Sizes(sockets=(1, 20), devices=(10,), steady_s=3, step_s=1, most=1600, joins=3, again=1)


class Bench:
    """The services, and who feeds and counts."""

    def __init__(self, folder: Path, env: dict[str, str], store: redis.Redis, crowd: Child) -> None:
        """Take them over."""
        self.folder, self.env, self.redis, self.crowd = folder, env, store, crowd
        self.feeders: dict[str, Child] = {}
        self.keys: list[str] = []
        self.token = ""
        self.redis_pid = 0

    def environment(self, layer: str) -> dict[str, str]:
        """The hub's environment with this layer."""
        return {**self.env, "DJANGO_SETTINGS_MODULE": LAYERS[layer]}

    @contextmanager
    def web(self, server: str, layer: str) -> Iterator[Part]:
        """A fresh web process, which has served a few sockets."""
        port = services.free_port()
        command: list[str | Path] = [sys.executable, BIN / "daphne", "-b", LOOPBACK, "-p", str(port), SERVERS[server]]
        part = Part(command, port, "", self.folder / "web.log", env=self.environment(layer))
        self.redis.flushall()
        with services.running(part):
            self.crowd.ask("open", group="warm", count=WARM, to=self.to(part), devices=self.keys[:1])
            self.crowd.ask("close", group="warm")
            time.sleep(0.5)
            yield part

    def to(self, web: Part) -> list[tuple[str, int, str]]:
        """Where sockets go."""
        return [(LOOPBACK, web.port, self.token)]


@contextmanager
def bench(devices: int) -> Iterator[Bench]:
    """Start the services and the processes beside them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(services.redis(folder))
        postgres = stack.enter_context(services.postgres(folder))
        env = {**PLAIN, "DATABASE_URL": postgres.url, "REDIS_URL": store.url, "HUB_DATA": str(folder)}
        env |= {"SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": LOOPBACK}
        _migrate(env, folder)
        crowd = stack.enter_context(child("benchmarks.live.crowd", folder / "crowd.log"))
        made = Bench(folder, env, redis.Redis.from_url(store.url), crowd)
        made.redis_pid = store.pid
        for layer in LAYERS:
            log = folder / f"feeder-{layer.replace('/', '')}.log"
            made.feeders[layer] = stack.enter_context(child("benchmarks.live.feeder", log, made.environment(layer)))
        prepared = made.feeders["core"].ask("prepare", devices=devices)
        made.keys, made.token = prepared["keys"], prepared["token"]
        yield made


def _migrate(env: dict[str, str], folder: Path) -> None:
    command: list[str | Path] = [sys.executable, services.ROOT / "manage.py", "migrate", "--verbosity=0"]
    part = Part(command, 0, "", folder / "migrate.log", env=env, ready=lambda: not part.alive)
    part.start()
    part.stop()
    assert part.code == 0, part.said()


class Case:
    """One way, with so many sockets and devices."""

    def __init__(self, made: Bench, sizes: Sizes, way: tuple[str, str], sockets: int, devices: int) -> None:
        """Take what it needs."""
        self._bench, self._sizes, self._sockets = made, sizes, sockets
        self._server, self._layer = way
        self._keys = made.keys[:devices]
        self._feeder = made.feeders[self._layer]
        self._rate = min(sizes.rate, sizes.messages / sockets)

    def measured(self) -> Figures:
        """Measure it."""
        with self._bench.web(self._server, self._layer) as web:
            to = self._bench.to(web)
            empty = processes.memory(web.pid).pss
            opened = self._bench.crowd.ask("open", group="all", count=self._sockets, to=to, devices=self._keys)
            assert opened["live"] == self._sockets, f"{opened}: {web.said()[-2000:]}"
            found = {"kB a socket": (processes.memory(web.pid).pss - empty) / 1000 / self._sockets}
            # Beside the feeders' and our own.
            found["Redis connections"] = int(self._bench.redis.info()["connected_clients"])  # type: ignore[index]
            self._feed(self._rate)
            found |= self._steady(web)
            found |= self._joins(to)
            found |= self._keeping_up(web)
            self._feeder.ask("stop")
            found["web MB at last"] = processes.memory(web.pid).pss / MB
            self._bench.crowd.ask("close", group="all", how="cut")
        return found

    def _feed(self, rate: float) -> None:
        self._feeder.ask("feed", keys=self._keys, rate=rate)
        time.sleep(0.5)

    def _spell(self, web: Part, seconds: float) -> Figures:
        """Count for so long."""
        self._bench.crowd.ask("report", group="all")
        self._feeder.ask("report")
        spent = Spent(web=web.pid, redis=self._bench.redis_pid, crowd=self._bench.crowd.pid, feeder=self._feeder.pid)
        began = time.monotonic()
        time.sleep(seconds)
        fed, said = self._feeder.ask("report"), self._bench.crowd.ask("report", group="all")
        took = time.monotonic() - began
        percent = spent.percent()
        offered = fed["frames"] * self._sockets
        return {
            **percent,
            "frames/s": said["frames"] / took,
            "messages/s": said["messages"] / took,
            "came": said["frames"] / max(offered, 1),
            "short": offered - said["frames"],
            "lost": sum(said["faults"].values()),
            "latencies": Latencies(said["latencies"]),
            "feeder late ms": fed["late ms"],
        }

    def _steady(self, web: Part) -> Figures:
        spell = self._spell(web, self._sizes.steady_s)
        each = {name: spell[f"{name} %"] * 1e4 / max(spell["frames/s"], 1e-9) for name in ("web", "redis")}
        return {
            "steady: frames/s": self._rate,
            "web, µs a frame": each["web"],
            "Redis, µs a frame": each["redis"],
            "p50 ms": spell["latencies"].ms(0.5),
            "p99 ms": spell["latencies"].ms(0.99),
            "came %": spell["came"] * 100,
            "holes": spell["lost"],
        }

    def _joins(self, to: list[tuple[str, int, str]]) -> Figures:
        said = self._bench.crowd.ask("join", count=self._sizes.joins, to=to, devices=self._keys, last_s=HISTORY_S)
        answered, live, row = (median(column) for column in zip(*said["joins"], strict=True))
        return {"join: answered ms": answered, "join: live ms": live, "join: first row ms": row}

    def _keeping_up(self, web: Part) -> Figures:
        """Double the rate until too little of it comes."""
        best, rate, most = {"frames/s": 0.0, "messages/s": 0.0, "web %": 0.0, "crowd %": 0.0}, self._rate, 0.0
        while rate <= self._sizes.most:
            self._feed(rate)
            spell = self._spell(web, self._sizes.step_s)
            most = max(most, spell["frames/s"])
            # What is on its way when a spell ends has not come yet.
            on_its_way = self._sockets * (1 + rate * ON_ITS_WAY_S)
            if spell["short"] > (1 - ENOUGH) * rate * self._sizes.step_s * self._sockets + on_its_way or spell["lost"]:
                break
            best, rate = spell, rate * 2
        told = {"keeps up: frames/s": best["frames/s"], "keeps up: messages/s": best["messages/s"]}
        # Where it is not the web process that could take no more, it would have kept up with more.
        told[ALL_OF_IT] = float(rate > self._sizes.most)
        told["frames/s at most"] = most
        return {**told, "keeps up: web %": best["web %"], "keeps up: crowd %": best["crowd %"]}


def main() -> None:
    """Measure, print and keep."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cases, each once")
    parser.add_argument("--again", type=int, help="how often each case is measured (3)")
    parser.add_argument("--sockets", type=int, nargs="+", help="how many (1 10 50 200)")
    parser.add_argument("--devices", type=int, nargs="+", help="how many (10 100)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    given = {name: getattr(options, name) for name in ("again", "sockets", "devices")}
    sizes = sizes._replace(**{name: value for name, value in given.items() if value})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with bench(max(sizes.devices)) as made:
        found = measured(made, sizes)
    for text in shown(found, sizes):
        print(text)
    if options.json:
        options.json.write_text(json.dumps({"sizes": sizes._asdict(), "cases": found}, indent=1) + "\n")


def measured(made: Bench, sizes: Sizes) -> list[Figures]:
    """All cases; the ways take turns."""
    runs: dict[tuple[int, int, tuple[str, str]], list[Figures]] = {}
    for turn, devices, sockets, way in product(range(sizes.again), sizes.devices, sizes.sockets, WAYS):
        figures = Case(made, sizes, way, sockets, devices).measured()
        runs.setdefault((devices, sockets, way), []).append(figures)
        summary = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        progress(
            f"{turn + 1}/{sizes.again} {devices} devices, {sockets} sockets, a channel a {way[0]}, {way[1]}: {summary}"
        )
    return [
        {"devices": devices, "sockets": sockets, "channel a": way[0], "layer": way[1], **_middle(figures)}
        for (devices, sockets, way), figures in runs.items()
    ]


def _middle(figures: list[Figures]) -> Figures:
    return {name: median(one[name] for one in figures) for name in figures[0]}


def _cell(name: str, one: Figures) -> object:
    """What it kept up with is a lower bound where everything that was tried came."""
    bound = name.startswith("keeps up") and name.endswith("/s") and one[ALL_OF_IT] >= 0.5
    return f"≥ {figure(one[name])}" if bound else one[name]


def shown(found: list[Figures], sizes: Sizes) -> Iterator[str]:
    """A Markdown table for each figure: a line for each size, a column for each way."""
    columns = ["devices", "sockets", *(f"a {server}, {layer}" for server, layer in WAYS)]
    for name in [name for name in list(found[0])[4:] if name != ALL_OF_IT]:
        rows = []
        for devices, sockets in product(sizes.devices, sizes.sockets):
            mine = [one for one in found if (one["devices"], one["sockets"]) == (devices, sockets)]
            by_way: dict[Any, Any] = {(one["channel a"], one["layer"]): _cell(name, one) for one in mine}
            rows.append([str(devices), str(sockets), *(by_way[way] for way in WAYS)])
        yield f"\n**{name}**\n\n{table(columns, rows)}"


if __name__ == "__main__":
    main()
