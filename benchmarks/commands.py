"""How long a command takes from the request to the device, and until its success is seen; alone, and among readings.

`python -m benchmarks.commands [--quick] [--door socket] [--rate 200] [--frames 1000] [--json FILE]`: Mosquitto,
PostgreSQL (syncing), Redis, a web process and a bridge as compose starts them. Operators give commands, over the live
socket or over REST, to devices that answer at once; a live socket watches. In turns with nothing else to do, and while
other devices send readings. CPU is what the kernel counts for each process. Compare figures of one run only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import load
from benchmarks.live.ask import child
from benchmarks.live.latency import Latencies
from benchmarks.live.scene import Spent, admitted
from tests.hub import Production, eventually, running_production
from tests.services import LOOPBACK

TURNS: Final = 2
SHOWN: Final = {"answered": "request → answer", "reached": "request → device", "seen": "request → success seen"}


class Play(NamedTuple):
    """How much of what: commands and frames a second, for how long, devices that are told, and those that send."""

    rate: float = 200
    frames: float = 1000
    seconds: float = 30
    told: int = 50
    sending: int = 100
    door: str = "socket"


SMOKE: Final = Play(rate=10, frames=20, seconds=0.5, told=2, sending=2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 s of each instead of 60 s")
    parser.add_argument("--door", choices=["rest", "socket"], default=Play().door, help="by which commands are given")
    parser.add_argument("--rate", type=float, default=Play().rate, help="commands a second")
    parser.add_argument("--frames", type=float, default=Play().frames, help="frames a second, in the busy turns")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    limits = {"HUB_RATE": "1000000", "HUB_BURST": "100000000", "HUB_API_RATE": "1000000"}
    with tempfile.TemporaryDirectory() as folder, running_production(Path(folder), durable=True, **limits) as hub:
        found = measured(
            hub, Play(options.rate, options.frames, 5 if options.quick else Play().seconds, door=options.door)
        )
    for name, figures in found.items():
        show(name, figures)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def measured(hub: Production, play: Play) -> dict[str, Any]:
    """Give commands, in turns alone and among readings; the figures of all turns of a kind together."""
    told, sending = (
        [hub.add_device(f"{kind}{number}", user="mandy") for number in range(count)]
        for kind, count in (("told", play.told), ("sends", play.sending))
    )
    told_logins, sending_logins = ([load.Login(one.key, one.secret) for one in some] for some in (told, sending))
    eventually(lambda: admitted(hub, [*told_logins, *sending_logins]), "all devices may connect", 60)
    found: dict[str, Any] = {"alone": {}, "among readings": {}}
    with (
        child("benchmarks.live.publisher", hub.folder / "publisher.log") as publisher,
        child("benchmarks.live.orders", hub.folder / "orders.log") as orders,
    ):
        publisher.ask("connect", host=hub.mqtt_host, port=hub.mqtt_port, logins=sending_logins)
        to = {"mqtt": (hub.mqtt_host, hub.mqtt_port), "web": (LOOPBACK, hub.webs[0].port)}
        orders.ask("open", token=hub.token("mandy"), logins=told_logins, **to)
        orders.ask("give", rate=play.rate / 4, seconds=1, door=play.door)  # so that nothing is done for the first time
        for _ in range(TURNS):
            for name, figures in found.items():
                if name != "alone":
                    publisher.ask("start", rate=play.frames)
                spent = Spent(web=hub.webs[0].pid, bridge=hub.bridges[0].pid, orders=orders.pid)
                add(figures, orders.ask("give", rate=play.rate, seconds=play.seconds, door=play.door))
                given = play.rate * play.seconds
                figures["CPU ms a command"] = {part: each * 1000 / given for part, each in spent.seconds().items()}
                figures["% of a core"] = spent.percent()
                if name != "alone":
                    figures["readings"] = publisher.ask("stop")
    return found


def add(figures: dict[str, Any], turn: dict[str, Any]) -> None:
    """Add what a turn found."""
    figures["given"] = figures.get("given", 0) + turn["given"]
    figures["late ms"] = max(figures.get("late ms", 0), turn["late ms"])
    for name in SHOWN:
        figures[name] = (Latencies(figures.get(name)) + Latencies(turn[name])).told()


def show(name: str, figures: dict[str, Any]) -> None:
    """Print what was measured."""
    print(f"\n{name}: {figures['given']} commands, asked for {figures['late ms']:.0f} ms late at most")
    for kind, said in SHOWN.items():
        latencies = Latencies(figures[kind])
        tails = "".join(f"  {what} {ms:6.0f}" for what, ms in latencies.summary().items())
        print(f"  {said:<24}{latencies.amount:6}{tails}")
    for kind in ("% of a core", "CPU ms a command"):
        print(f"  {kind}: " + ", ".join(f"{part} {spent:.1f}" for part, spent in figures[kind].items()))


if __name__ == "__main__":
    main()
