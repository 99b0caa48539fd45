"""A thousand sockets come back at once, each with its cursors, while devices publish.

Two ways: all connections are cut (the network's fault), and the web server is killed and started again. Whoever is not
let in tries again within half a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.live.latency import Latencies
from benchmarks.live.scene import Figures, Scene
from benchmarks.live.sockets import now_us
from benchmarks.live.tables import progress, table
from tests import services
from tests.hub import Part, command_of
from tests.services import LOOPBACK

PATIENCE_S = 120.0


class Sizes(NamedTuple):
    """How much of it; `watch`: devices a socket, `again`: how often each way is tried."""

    sockets: int = 1000
    devices: int = 100
    watch: int = 1
    rate: float = 200
    again: int = 3
    settle_s: float = 10


QUICK = Sizes(sockets=200, devices=20, again=1, settle_s=3)
SMOKE = Sizes(sockets=10, devices=3, rate=50, again=1, settle_s=0.5)


def run(scene: Scene, sizes: Sizes) -> Figures:
    """Have them all come back, each way as often as asked, in turn."""
    scene.hub.token("mandy")  # which asks a server, as long as there is nobody else
    with _listening(scene):
        return _played(scene, sizes)


def _played(scene: Scene, sizes: Sizes) -> Figures:
    scene.publisher.ask("start", rate=sizes.rate)
    opened = scene.open("herd", sizes.sockets, watch=sizes.watch, again=True)
    progress(f"{opened['live']} sockets are live after {opened['took s']:.1f} s, at most 20 joining at once")
    times = []
    for _ in range(sizes.again):
        times.append({"way": "cut", **_back(scene, sizes, _cut)})
        times.append({"way": "restart", **_back(scene, sizes, _restart)})
    published = scene.quiet()
    whole = scene.crowd.ask("level", group="herd", heads=scene.heads(), patience_s=PATIENCE_S)
    last = scene.crowd.ask("report", group="herd")
    return {
        "opened": opened,
        "times": times,
        "incomplete": whole["incomplete"],
        "faults at the end": last["faults"],
        "publisher": published,
    }


def _back(scene: Scene, sizes: Sizes, break_off: Callable[[Scene], tuple[int, int]]) -> Figures:
    time.sleep(sizes.settle_s)
    scene.crowd.ask("report", group="herd")
    broken_at, ready_at = break_off(scene)
    back = scene.crowd.ask("returned", group="herd", since=broken_at, patience_s=PATIENCE_S)
    report = scene.crowd.ask("report", group="herd")
    after, waited = back["after s"], (ready_at - broken_at) / 1e6
    failed = {how: count for how, count in report["handshakes"].items() if how not in ("open", "refused")}
    progress(f"{len(after)} of {sizes.sockets} are back {after[-1] - waited if after else 0:.1f} s after they could be")
    return {
        "back": len(after),
        "server away s": waited,
        "median s": after[len(after) // 2] - waited,
        "last s": after[-1] - waited,
        "refused": report["handshakes"].get("refused", 0),
        "failed handshakes": failed,
        "faults": report["faults"],
        "examples": report["examples"],
        "worst latency ms": Latencies(report["latencies"]).ms(1),
        "crowd's turn ms": report["turn ms"],
    }


def _cut(scene: Scene) -> tuple[int, int]:
    at: int = scene.crowd.ask("cut", group="herd")
    return at, at


def _restart(scene: Scene) -> tuple[int, int]:
    """Kill and start; it counts from when the server listens again, for whoever is let in first."""
    at = now_us()
    for web in scene.hub.webs:
        web.kill()
    for web in scene.hub.webs:
        web.start()
    return at, now_us()


@contextmanager
def _listening(scene: Scene) -> Iterator[None]:
    """Web servers that are ready when they listen: whether they answer is what the herd asks, all at once."""
    before = scene.hub.webs
    for web in before:
        web.stop()
    scene.hub.webs = [_same(scene, web) for web in before]
    with ExitStack() as stack:
        for web in scene.hub.webs:
            stack.enter_context(services.running(web))
        yield
    scene.hub.webs = before


def _same(scene: Scene, web: Part) -> Part:
    command = command_of("web", {"0.0.0.0": LOOPBACK, "8000": str(web.port)})  # noqa: S104  what compose binds
    return Part(command, web.port, web.url, web.log, env=scene.hub.env)


def show(found: Figures) -> list[str]:
    """Say it for people."""
    columns = [name for name in found["times"][0] if name != "examples"]
    rows = [[str(cell) if isinstance(cell := one[name], dict) else cell for name in columns] for one in found["times"]]
    return [
        table(columns, rows),
        *(example for one in found["times"] for example in one["examples"]),
        f"sockets that miss a frame at the end: {found['incomplete']}; faults: {found['faults at the end'] or 'none'}",
        f"published {found['publisher']['published']}, stored {found['publisher']['stored']}",
        "median and last: from when the server listened again until live",
    ]
