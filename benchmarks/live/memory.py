"""What one socket takes of the web process' memory: idle without and with a subscription, and stuck under load.

Each on a fresh process, which has served a few sockets before, so that what is made once is not charged to them.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks.live.scene import Figures, Scene
from benchmarks.live.tables import progress, table


class Sizes(NamedTuple):
    """How much of it."""

    sockets: int = 1000
    stuck: int = 100
    devices: int = 100
    rate: float = 1000
    seconds: float = 25  # the hub closes a silent one after 30


QUICK = Sizes(sockets=200, stuck=20, devices=20, rate=200, seconds=10)
SMOKE = Sizes(sockets=10, stuck=2, devices=3, rate=50, seconds=1)
WARM = 20


def run(scene: Scene, sizes: Sizes) -> Figures:
    """Measure each kind."""
    idle = {f"idle, {watch or 'no'} device": _idle(scene, sizes, watch) for watch in (0, 1)}
    scene.publisher.ask("start", rate=sizes.rate)
    stuck = {f"stuck, {name}": _stuck(scene, sizes, lying=name == "lying") for name in ("silent", "lying")}
    scene.publisher.ask("stop")
    return {"kinds": idle | stuck}


def _fresh(scene: Scene) -> float:
    for web in scene.hub.webs:
        web.stop()
        web.start()
    scene.open("warm", WARM, watch=1)
    time.sleep(1)
    scene.crowd.ask("close", group="warm")
    return _rested(scene)


def _rested(scene: Scene) -> float:
    time.sleep(2)
    return scene.web_mb()["pss MB"]


def _idle(scene: Scene, sizes: Sizes, watch: int) -> Figures:
    before = _fresh(scene)
    scene.open("idle", sizes.sockets, watch=watch)
    after = _rested(scene)
    scene.crowd.ask("close", group="idle")
    progress(f"{sizes.sockets} idle sockets: {before:.1f} → {after:.1f} MB")
    return _told(sizes.sockets, before, after, _rested(scene))


def _stuck(scene: Scene, sizes: Sizes, *, lying: bool) -> Figures:
    """What is kept of the devices for everybody is there before they come: one healthy dashboard watches all."""
    _fresh(scene)
    scene.open("healthy", 1)
    time.sleep(sizes.seconds)
    before = most = scene.web_mb()["pss MB"]
    scene.crowd.ask("stick", count=sizes.stuck, to=scene.to, devices=scene.keys, lying=lying)
    until = time.monotonic() + sizes.seconds
    while time.monotonic() < until:
        most = max(most, scene.web_mb()["pss MB"])
        time.sleep(0.5)
    closed = scene.crowd.ask("unstick")["closed"]
    scene.crowd.ask("close", group="healthy")
    progress(f"{sizes.stuck} stuck sockets: {before:.1f} → {most:.1f} MB")
    return {**_told(sizes.stuck, before, most, _rested(scene)), "closed meanwhile": sum(closed.values())}


def _told(sockets: int, before: float, most: float, after: float) -> Figures:
    each = (most - before) * 1e6 / sockets
    return {"sockets": sockets, "before MB": before, "with MB": most, "gone MB": after, "bytes a socket": each}


def show(found: Figures) -> list[str]:
    """Say it for people."""
    columns = list(dict.fromkeys(name for kind in found["kinds"].values() for name in kind))
    rows = [[name, *(kind.get(column, "") for column in columns)] for name, kind in found["kinds"].items()]
    return [table(["pss of the web process", *columns], rows)]
