"""Dashboards that stop reading: what that costs the process, and those beside them.

Run A: all dashboards are healthy. Run B: some of them are stuck, half of them silent, half of them giving credit for
what they do not read; whom the hub closes comes back and sticks again. A goes half before and half after B, on the same
processes, and both judge the same healthy dashboards.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from benchmarks.live.latency import Latencies
from benchmarks.live.scene import Figures, Scene, Spent, each_while
from benchmarks.live.tables import progress, table


class Sizes(NamedTuple):
    """How much of it."""

    healthy: int = 180
    stuck: int = 20
    devices: int = 100
    rate: float = 1000
    seconds: float = 600
    warm_s: float = 30


QUICK = Sizes(healthy=45, stuck=6, devices=20, rate=200, seconds=20, warm_s=5)
SMOKE = Sizes(healthy=4, stuck=2, devices=3, rate=50, seconds=1, warm_s=0.5)


def run(scene: Scene, sizes: Sizes) -> Figures:
    """Play both, and say how they compare."""
    play = _Play(scene, sizes)
    empty = scene.web_mb()
    scene.open("healthy", sizes.healthy)
    scene.publisher.ask("start", rate=sizes.rate)
    before = play.all_healthy(sizes.seconds / 2)
    with_stuck = play.some_stuck()
    after = play.all_healthy(sizes.seconds / 2)
    published = scene.quiet()
    whole = scene.crowd.ask("level", group="healthy", heads=scene.heads())
    runs = {"A, before": before, "B": with_stuck, "A, after": after}
    found = {name: _told(run) for name, run in runs.items()}
    healthy = before["latencies"] + after["latencies"]
    found["A"] = healthy.summary()
    ratio = {name.replace(" ms", ""): found["B"][name] / max(found["A"][name], 0.1) for name in ("p50 ms", "p99 ms")}
    return {
        "runs": found,
        "B / A": ratio,
        "pss MB, nobody there": empty["pss MB"],
        "growth in B, MB": found["B"]["pss MB, end"] - found["B"]["pss MB, start"],
        "most in B, MB": max(found["B"]["pss MB"]) - found["B"]["pss MB, start"],
        "stuck": with_stuck["stuck"],
        "healthy, incomplete at the end": whole["incomplete"],
        "faults of the healthy": play.faults,
        "examples": play.examples,
        "publisher": published,
    }


class _Play:
    """One run after the other, on the same sockets."""

    def __init__(self, scene: Scene, sizes: Sizes) -> None:
        """Begin with nobody there."""
        self._scene, self._sizes = scene, sizes
        self.faults: dict[str, int] = {}
        self.examples: list[str] = []

    def all_healthy(self, seconds: float) -> dict[str, Any]:
        """Run A, or half of it."""
        self._scene.open("others", self._sizes.stuck)
        found = self._measured(seconds, "A")
        self._scene.crowd.ask("close", group="others")
        return found

    def some_stuck(self) -> dict[str, Any]:
        """Run B. Memory is taken from before the stuck ones come."""
        scene, half = self._scene, self._sizes.stuck // 2
        start = scene.web_mb()["pss MB"]
        for lying, count in ((False, self._sizes.stuck - half), (True, half)):
            scene.crowd.ask("stick", count=count, to=scene.to, devices=scene.keys, lying=lying)
        scene.crowd.ask("stuck")
        found = self._measured(self._sizes.seconds, "B")
        found["memory"].insert(0, start)
        found["stuck"] = scene.crowd.ask("unstick")
        return found

    def _measured(self, seconds: float, name: str) -> dict[str, Any]:
        """Warm up, then count."""
        scene, memory = self._scene, list[float]()
        time.sleep(self._sizes.warm_s)
        self._count(scene.crowd.ask("report", group="healthy"))
        spent = self._spent()
        memory.append(scene.web_mb()["pss MB"])

        def sample(passed: float) -> None:
            memory.append(scene.web_mb()["pss MB"])
            progress(f"{name}: {passed:.0f} of {seconds:.0f} s, web {memory[-1]:.1f} MB")

        each_while(seconds, sample)
        percent = spent.percent()
        said = scene.crowd.ask("report", group="healthy")
        self._count(said)
        return {"seconds": seconds, "memory": memory, "percent": percent, "said": said, "latencies": _latencies(said)}

    def _spent(self) -> Spent:
        scene = self._scene
        return Spent(web=scene.web_pid, bridge=scene.hub.bridges[0].pid, crowd=scene.crowd.pid)

    def _count(self, said: dict[str, Any]) -> None:
        self.examples += said["examples"]
        for fault, count in said["faults"].items():
            self.faults[fault] = self.faults.get(fault, 0) + count


def _latencies(said: dict[str, Any]) -> Latencies:
    return Latencies(said["latencies"])


def _told(run: dict[str, Any]) -> Figures:
    return {
        **run["latencies"].summary(),
        "frames/s taken": run["said"]["frames"] / run["seconds"],
        "messages/s taken": run["said"]["messages"] / run["seconds"],
        **run["percent"],
        "crowd's turn ms": run["said"]["turn ms"],
        "pss MB, start": run["memory"][0],
        "pss MB, end": run["memory"][-1],
        "pss MB": run["memory"],
    }


def show(found: Figures) -> list[str]:
    """Say it for people."""
    columns = [name for name in found["runs"]["B"] if name != "pss MB"]
    rows = [[name, *(run.get(column, "") for column in columns)] for name, run in found["runs"].items()]
    stuck, ratio, out = found["stuck"], found["B / A"], found["publisher"]
    ages = {kind: f"{sum(times) / len(times):.0f} s" for kind, times in stuck["after s"].items() if times}
    grew, most = found["growth in B, MB"], found["most in B, MB"]
    incomplete, faults = found["healthy, incomplete at the end"], found["faults of the healthy"]
    return [
        table(["run", *columns], rows),
        f"B / A: p50 {ratio['p50']:.2f}, p99 {ratio['p99']:.2f}",
        f"web process: {found['pss MB, nobody there']:.1f} MB, nobody there; B: {grew:+.1f} MB, {most:+.1f} at most",
        f"stuck ones closed by the hub: {stuck['closed'] or 'none'}, on average after {ages or '–'}",
        f"healthy ones that miss a frame: {incomplete}; faults: {faults or 'none'}",
        *found["examples"],
        f"published {out['published']} ({out['late ms']:.0f} ms late at most), stored {out['stored']}",
    ]
