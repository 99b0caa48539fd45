"""What live dashboards cost, and withstand: `python -m benchmarks.dashboards SCENARIO [--quick] [--json FILE]`.

stuck    some dashboards stop reading, the others go on          (benchmarks/live/stuck.py)
herd     a thousand sockets come back at once                    (benchmarks/live/herd.py)
soak     sockets come and go for an hour                         (benchmarks/live/soak.py)
memory   what an idle and a stuck socket take                    (benchmarks/live/memory.py)

Each starts PostgreSQL (syncing), Redis, Mosquitto, the bridge and the web server as compose does, plays, prints and
ends. Compare figures of one run only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from benchmarks.live import herd, memory, scene, soak, stuck

SCENARIOS: Final[dict[str, Any]] = {"stuck": stuck, "herd": herd, "soak": soak, "memory": memory}


def main() -> None:
    """Play what is asked for."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=[*SCENARIOS, "all"])
    parser.add_argument("--quick", action="store_true", help="a small one, of a minute or so")
    parser.add_argument("--minutes", type=float, help="how long stuck (10) or soak (60) measures")
    parser.add_argument("--opened", type=float, help="soak: sockets opened a second, and as many closed (100)")
    parser.add_argument("--webs", type=int, default=1, help="web processes")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--csv", type=Path, help="soak: write each sample there")
    options = parser.parse_args()
    names = list(SCENARIOS) if options.scenario == "all" else [options.scenario]
    found = {name: played(name, options) for name in names}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def played(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Play one scenario on a hub of its own, and print it."""
    scenario = SCENARIOS[name]
    sizes = scenario.QUICK if options.quick else scenario.Sizes()
    if options.minutes is not None and hasattr(sizes, "seconds"):
        sizes = sizes._replace(seconds=options.minutes * 60)
    if options.opened is not None and name == "soak":
        sizes = sizes._replace(opened=options.opened)
    with scene.running(sizes.devices, webs=options.webs) as here:
        found: dict[str, Any] = scenario.run(here, sizes)
    print(f"\n{name}: {sizes}\n")
    print("\n".join(scenario.show(found)), flush=True)
    if options.csv and name == "soak":
        options.csv.write_text(soak.as_csv(found))
    return {"sizes": sizes._asdict(), **found}


if __name__ == "__main__":
    main()
