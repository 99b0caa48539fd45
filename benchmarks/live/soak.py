"""Sockets come and go for an hour: does anything grow?

Each comes, subscribes to a device with ten seconds of history, stays a moment, and leaves politely or is cut off (RST),
half and half. So many are opened a second, and as many closed: 100 and 100 are "200 opened and closed in total". Some
dashboards stay all the time, and have to miss nothing. No more than 500 are there at once: `late` counts who could not
come when it was their time, because the hub could not take so many.
"""

from __future__ import annotations

import csv
import io
import re
import time
from typing import Final, NamedTuple

import httpx
import psycopg
import redis

from benchmarks import processes
from benchmarks.live.latency import Latencies
from benchmarks.live.scene import MB, Figures, Scene, Spent, each_while
from benchmarks.live.tables import progress, table

# What of a web process' own counts may show that something is left behind. Only what goes up and down.
CONNECTIONS: Final = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
GAUGE: Final = re.compile(r"^# TYPE (hub_web_\S+|hub_\S*tasks)(?<!_created) gauge$", re.MULTILINE)
# What is said while it goes on.
SAID: Final = "s,web pss MB,web handles,redis clients,opened/s,present,live p99 ms,steady p99 ms".split(",")


class Sizes(NamedTuple):
    """How much of it; `opened`: a second, and as many are closed; `hold_s`: how long one stays at most."""

    opened: float = 100
    hold_s: float = 2
    steady: int = 10
    devices: int = 100
    rate: float = 200
    seconds: float = 3600
    every_s: float = 10


QUICK = Sizes(opened=50, devices=20, seconds=30, every_s=2)
SMOKE = Sizes(opened=10, hold_s=0.2, steady=2, devices=3, rate=50, seconds=2, every_s=0.5)


def run(scene: Scene, sizes: Sizes) -> Figures:
    """Let them come and go, and look now and then."""
    scene.publisher.ask("start", rate=sizes.rate)
    scene.open("steady", sizes.steady)
    scene.crowd.ask("churn", rate=sizes.opened, to=scene.to, devices=scene.keys, hold_s=sizes.hold_s)
    samples, play = list[Figures](), _Play(scene)
    time.sleep(min(10.0, sizes.every_s))
    play.sample(0)

    def sample(passed: float) -> None:
        samples.append(play.sample(passed))
        progress(", ".join(f"{name} {value:.5g}" for name, value in samples[-1].items() if name in SAID))

    each_while(sizes.seconds, sample, sizes.every_s)
    end = scene.crowd.ask("settle")
    time.sleep(min(10.0, sizes.every_s))
    rest = play.sample(sizes.seconds + 10)
    published = scene.quiet()
    whole = scene.crowd.ask("level", group="steady", heads=scene.heads())
    return {
        "samples": samples,
        "at rest": rest,
        "left over": end["present"],
        "handshakes": play.handshakes,
        "faults": play.faults,
        "closes": play.closes,
        "examples": play.examples,
        "steady, incomplete": whole["incomplete"],
        "publisher": published,
    }


class _Play:
    """Takes samples, and adds up what must not happen."""

    def __init__(self, scene: Scene) -> None:
        """Begin to count."""
        self._scene = scene
        self._redis = redis.Redis.from_url(scene.hub.redis.url)
        self._spent = self._watch()
        self.handshakes: dict[str, int] = {}
        self.faults: dict[str, int] = {}
        self.closes: dict[str, int] = {}
        self.examples: list[str] = []

    def _watch(self) -> Spent:
        return Spent(web=self._scene.web_pid, bridge=self._scene.hub.bridges[0].pid, crowd=self._scene.crowd.pid)

    def sample(self, passed: float) -> Figures:
        """Look at everything once."""
        visits = self._scene.crowd.ask("visits")
        steady = self._scene.crowd.ask("report", group="steady")
        for name, counts in (("handshakes", visits), ("faults", visits), ("faults", steady), ("closes", visits)):
            mine = getattr(self, name)
            for what, count in counts[name].items():
                mine[what] = mine.get(what, 0) + count
        self.examples += visits["examples"] + steady["examples"]
        spent, took, self._spent = self._spent.percent(), self._spent.passed_s, self._watch()
        live = visits["live ms"]
        return {
            "s": passed,
            **self._kernel(),
            **self._services(),
            **self._counted(),
            **spent,
            "opened/s": visits["handshakes"].get("open", 0) / took,
            "present": visits["present"],
            "late": visits["handshakes"].get("late", 0),
            "live p99 ms": live[int(len(live) * 0.99)] if live else 0.0,
            "steady p99 ms": Latencies(steady["latencies"]).ms(0.99),
        }

    def _kernel(self) -> Figures:
        found: Figures = {}
        for name, pid in (("web", self._scene.web_pid), ("bridge", self._scene.hub.bridges[0].pid)):
            memory = processes.memory(pid)
            found |= {f"{name} rss MB": memory.rss / MB, f"{name} pss MB": memory.pss / MB}
            found[f"{name} handles"] = processes.handles(pid)
        return found

    def _services(self) -> Figures:
        told = self._redis.info()
        assert isinstance(told, dict)
        with psycopg.connect(self._scene.hub.postgres.url) as connection:
            row = connection.execute(CONNECTIONS).fetchone()
        return {
            "redis clients": told["connected_clients"],
            "redis MB": told["used_memory"] / MB,
            "postgres connections": row[0] if row else 0,
        }

    def _counted(self) -> Figures:
        """What the web process counts itself, where it can go down again."""
        text = httpx.get(f"{self._scene.hub.url}/metrics", timeout=30, trust_env=False).text
        found: Figures = {}
        for name in GAUGE.findall(text):
            if values := re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE):
                found[name] = sum(map(float, values))
        return found


def trend(samples: list[Figures], name: str) -> Figures:
    """The first quarter's mean, the last one's, and the slope of a straight line through all, an hour."""
    points = [(one["s"], float(one[name])) for one in samples if name in one]
    quarter = max(1, len(points) // 4)
    middle_s, middle = (sum(column) / len(points) for column in zip(*points, strict=True))
    spread = sum((s - middle_s) ** 2 for s, _ in points) or 1.0
    slope = sum((s - middle_s) * (value - middle) for s, value in points) / spread
    first, last = (sum(value for _, value in part) / quarter for part in (points[:quarter], points[-quarter:]))
    return {"first quarter": first, "last quarter": last, "an hour": slope * 3600}


def as_csv(found: Figures) -> str:
    """All samples."""
    names = list(dict.fromkeys(name for one in found["samples"] for name in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(found["samples"])
    return text.getvalue()


def show(found: Figures) -> list[str]:
    """Say it for people."""
    samples, rest = found["samples"], found["at rest"]
    names = [name for name in samples[0] if name != "s"]
    rows = [[name, *trend(samples, name).values(), rest.get(name, "")] for name in names]
    return [
        table(["", "first quarter", "last quarter", "slope an hour", "at rest after"], rows),
        f"handshakes: {found['handshakes']}; closes: {found['closes']}; left over: {found['left over']}",
        *found["examples"],
        f"faults: {found['faults'] or 'none'}; steady dashboards that miss a frame: {found['steady, incomplete']}",
        f"published {found['publisher']['published']}, stored {found['publisher']['stored']}",
    ]
