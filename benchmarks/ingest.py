"""How many frames a second the bridge takes in, with nobody watching, and where the time goes.

`python -m benchmarks.ingest [--quick] [--json FILE]`: Mosquitto, PostgreSQL (syncing) and the bridge as compose starts
them. What was queued while the bridge was away is drained: so neither the load nor the devices cost anything meanwhile.
CPU is read from the kernel for each process; the stages of a commit are timed on the same messages in a process of
their own. Compare figures of one run only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks import load
from benchmarks.processes import cpu_s
from tests.hub import Production, eventually, running_production

PAYLOADS: Final = {
    "plain": b'{"n":%d,"temperature":21.5,"humidity":40.1}',
    "numbered": b'{"boot":1,"seq":%d,"values":{"temperature":21.5,"humidity":40.1}}',
}
DEVICES: Final = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    count = 20_000 if options.quick else 200_000
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, payload in PAYLOADS.items():
            (tmp := Path(folder) / name).mkdir()
            with running_production(tmp, durable=True, HUB_RATE="1000000", HUB_BURST="100000000") as hub:
                found[name] = drained(hub, count, payload)
                found[name]["stages"] = stages(hub, payload)
            show(name, found[name])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def drained(hub: Production, count: int, payload: bytes) -> dict[str, Any]:
    """Queue messages while the bridge is away, start it, and see what each process spends until all are stored."""
    devices = [hub.add_device(f"d{index}") for index in range(DEVICES)]
    logins = [load.Login(device.key, device.secret) for device in devices]
    (bridge,) = hub.bridges
    eventually(lambda: _admitted(hub, logins), "all devices may connect", 60)
    bridge.stop()
    sent_s = load.publish(hub.mqtt_host, hub.mqtt_port, logins, count, payload)
    bridge.start()
    eventually(lambda: stored(hub) > 0)
    parts = {"bridge": bridge.pid, "mosquitto": hub.mosquitto.pid, "postgres": hub.postgres.pid}
    before = {name: cpu_s(pid) for name, pid in parts.items()}
    began, already = time.monotonic(), stored(hub)
    eventually(lambda: stored(hub) >= count, f"all {count} are stored", 600)
    took = time.monotonic() - began
    fresh = count - already
    spent = {name: (cpu_s(pid) - before[name]) / fresh * 1e6 for name, pid in parts.items()}
    return {"published_per_s": count / sent_s, "stored_per_s": fresh / took, "cpu_us_per_frame": spent}


def _admitted(hub: Production, logins: list[load.Login]) -> bool:
    try:
        load.publish(hub.mqtt_host, hub.mqtt_port, logins, 0, b"%d")
    except (AssertionError, OSError, EOFError):
        return False
    return True


def stored(hub: Production) -> int:
    """How many frames are in the database."""
    with psycopg.connect(hub.env["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT sum(seq) FROM devices_head").fetchone()
    return int(row[0] or 0) if row else 0


def stages(hub: Production, payload: bytes) -> dict[str, dict[str, float]]:
    """Time the steps of a commit in a process with this hub's settings (benchmarks.stages)."""
    command = [sys.executable, "-m", "benchmarks.stages", str(DEVICES), payload.decode()]
    found: dict[str, dict[str, float]] = json.loads(subprocess.check_output(command, env=os.environ | hub.env))
    return found


def show(name: str, found: dict[str, Any]) -> None:
    """Print what was measured."""
    print(f"\n{name}: {found['stored_per_s']:,.0f} frames/s stored (published at {found['published_per_s']:,.0f}/s)")
    for part, spent in found["cpu_us_per_frame"].items():
        print(f"  {part:<12}{spent:8.1f} µs CPU a frame")
    for size, steps in found["stages"].items():
        print(f"  batches of {size}")
        for step, spent in steps.items():
            print(f"    {step:<24}{spent:8.1f} µs a frame")


if __name__ == "__main__":
    main()
