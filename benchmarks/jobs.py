"""How long a job of very many devices takes, what it costs, and that each is told once although the bridge dies.

`python -m benchmarks.jobs [--devices 10000] [--gateways 10] [--rate N] [--kills 2] [--json FILE]`: Mosquitto,
PostgreSQL (syncing), Redis, a web process and a bridge as compose starts them. The devices stand behind gateways, one
connection each, and answer at once. The bridge is killed hard in the middle, and started again. Compare figures of one
run only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.live import families
from benchmarks.processes import memory
from tests.hub import Production, eventually, running_production

PATIENCE_S: Final = 600.0
LOOK_S: Final = 0.5
MIB: Final = 1 << 20
# The same as devices/jobs/counting.py asks.
COUNT: Final = """
SELECT CASE WHEN t.refused <> '' OR t.device_id IS NULL THEN 'refused' ELSE coalesce(c.state, 'waiting') END s, count(*)
FROM devices_target t LEFT JOIN devices_command c ON c.id = t.command_id WHERE t.job_id = %s GROUP BY s
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--gateways", type=int, default=10)
    parser.add_argument("--rate", type=int, help="commands a second; as fast as they go, if left out")
    parser.add_argument("--kills", type=int, default=2, help="how often the bridge is killed in the middle")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    limits = {"HUB_RATE": "1000000", "HUB_BURST": "100000000", "HUB_API_RATE": "1000000"}
    with tempfile.TemporaryDirectory() as folder, running_production(Path(folder), durable=True, **limits) as hub:
        found = measured(hub, options.gateways, options.devices // options.gateways, options.rate, options.kills)
    for name, figure in found.items():
        print(f"{name:<40}{figure}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def measured(hub: Production, gateways: int, children: int, rate: int | None, kills: int) -> dict[str, Any]:
    """Run one job to its end."""
    total = gateways * children
    asked = {"fleet": families.FLEET, "name": "blink", "ttl_s": 3600, "rate": rate, "selection": {"presence": "online"}}
    with ExitStack() as stack:
        found = families.made(hub, gateways, children)
        there = [stack.enter_context(family) for family in found]
        eventually(lambda: online(hub) == total, "all are online", PATIENCE_S)
        began, sizes = time.monotonic(), [sizes_of(hub)]
        job = hub.ask("POST", "jobs/", json=asked, user="mandy")
        figures: dict[str, Any] = {"devices": job["total"], "s until it is made": since(began)}
        assert job["total"] == total
        for kill in range(kills):
            wanted = total * (kill + 1) // (kills + 1)
            eventually(lambda least=wanted: issued(hub, job["id"]) >= least, f"{wanted} have their command", PATIENCE_S)
            hub.bridges[0].kill()
            hub.bridges[0].start()
        while look(hub, job["id"])["state"] == "running":
            assert time.monotonic() - began < PATIENCE_S, look(hub, job["id"])
            sizes.append(sizes_of(hub))
            time.sleep(LOOK_S)
        figures |= {"s until it is done": since(began), "counts": look(hub, job["id"])["counts"]}
        figures |= told(there)
    for part in ("web", "bridge"):
        figures[f"MiB of the {part}, first and most"] = [sizes[0][part], max(size[part] for size in sizes)]
    return figures | {"ms to count": counted(hub, job["id"])}


def told(there: list[families.Family]) -> dict[str, Any]:
    """Say how often devices were told."""
    times = Counter(times for family in there for times in family.told.values())
    return {"devices told once, twice, more": [times[1], times[2], sum(times.values()) - times[1] - times[2]]}


def online(hub: Production) -> int:
    """Count those that the hub knows to be there."""
    query = "SELECT count(*) FROM devices_head JOIN devices_device d ON d.id = device_id "
    query += "JOIN devices_fleet f ON f.id = d.fleet_id WHERE d.gateway_id IS NOT NULL AND f.slug = %s"
    return asked_of(hub, f"{query} AND presence = 'online'", families.FLEET)


def issued(hub: Production, job: str) -> int:
    """Count the devices that have their command."""
    return asked_of(hub, "SELECT count(*) FROM devices_target WHERE job_id = %s AND command_id IS NOT NULL", job)


def asked_of(hub: Production, query: str, *given: str) -> int:
    """Ask the database for a number."""
    with psycopg.connect(hub.postgres.url) as connection:
        (number,) = connection.execute(query, given).fetchone() or (0,)  # type: ignore[arg-type]
        return int(number)


def counted(hub: Production, job: str) -> float:
    """Return how long the database takes to count a job, the best of five (ms)."""
    took = []
    with psycopg.connect(hub.postgres.url) as connection:
        for _ in range(5):
            began = time.perf_counter()
            connection.execute(COUNT, [job]).fetchall()
            took.append((time.perf_counter() - began) * 1000)
    return round(min(took), 1)


def look(hub: Production, job: str) -> dict[str, Any]:
    """Return a job as REST tells it."""
    told: dict[str, Any] = hub.ask("GET", f"jobs/{job}/", user="mandy")
    return told


def sizes_of(hub: Production) -> dict[str, int]:
    """Return what the parts hold."""
    return {"web": memory(hub.webs[0].pid).rss // MIB, "bridge": memory(hub.bridges[0].pid).rss // MIB}


def since(began: float) -> float:
    """Return the seconds since then."""
    return round(time.monotonic() - began, 1)


if __name__ == "__main__":
    main()
