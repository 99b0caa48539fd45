"""Loads 90 days of 20 metrics a minute, rolls them up, and measures what history is asked for, on both databases.

`python -m benchmarks.history [--quick] [--json FILE]`. It starts its own PostgreSQL, fsync on, and runs the hub's own
services in a process for each database. A figure is the median of all times something was asked, each time another
device, metric and end of the range; beside it the 95th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from tests import services

MINUTE, DAY = 60_000, 86_400_000
START: Final = 1_750_032_000_000 // DAY * DAY
RANGES: Final = {"1 hour": DAY // 24, "1 day": DAY, "10 days": 10 * DAY, "30 days": 30 * DAY, "90 days": 90 * DAY}
POINTS: Final = 2000
PAGE: Final = 1000
Figures = dict[str, Any]


def main() -> None:
    """Measure on each database, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="9 days instead of 90, one device")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measured(days=9 if options.quick else 90, devices=1 if options.quick else 3)))
        return
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        found["SQLite"] = in_a_hub(f"sqlite:///{folder}/hub.sqlite3", Path(folder), quick=options.quick)
        with services.postgres(Path(folder), fsync=True) as postgres:
            found["PostgreSQL"] = in_a_hub(postgres.url, Path(folder), quick=options.quick)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def in_a_hub(url: str, folder: Path, *, quick: bool) -> Figures:
    """Measure in a process that has this database."""
    env = os.environ | {
        "DATABASE_URL": url,
        "HUB_DATA": str(folder),
        "HUB_NO_BOOTSTRAP": "1",
        "DJANGO_SETTINGS_MODULE": "hub.settings",
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], env=env, check=True)
    command = [sys.executable, "-m", "benchmarks.history", "--here", *(["--quick"] if quick else [])]
    figures: Figures = json.loads(subprocess.check_output(command, env=env).splitlines()[-1])
    return figures


def measured(days: int, devices: int) -> Figures:
    """Load, roll and ask."""
    import django  # noqa: PLC0415  of the process that has a database

    django.setup()
    from django.db import connection  # noqa: PLC0415

    from devices import telemetry  # noqa: PLC0415
    from devices.history import rollups  # noqa: PLC0415
    from devices.history import series as history  # noqa: PLC0415
    from devices.models import Device, Frame  # noqa: PLC0415

    pks = load(days, devices)
    count = days * 1440 * len(pks)
    steps, began = [], time.monotonic()
    while timed(steps, lambda: rollups.roll(1000)):
        pass
    rolled_s = time.monotonic() - began
    if connection.vendor == "postgresql":  # what autovacuum does in quiet moments
        connection.cursor().execute("VACUUM ANALYZE")
    else:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found: Figures = {
        "frames": count,
        "frames rolled/s": round(count / rolled_s),
        "step of 1,000 frames, ms": told(steps),
        "bytes a frame and its roll-ups": sizes(),
    }
    dice = random.Random(1)
    found["series, ms"] = {}
    for name, length in RANGES.items():
        times: list[float] = []
        for _ in range(30):
            device = Device(pk=dice.choice(pks))
            end = START + days * DAY - dice.randrange(DAY) if length < days * DAY else START + days * DAY
            metric = f"metric_{dice.randrange(20)}"
            answer = timed(times, lambda: history.series(device, metric, end - length, end, POINTS))  # noqa: B023
            assert 0 < len(answer.points) <= POINTS
        found["series, ms"][f"{name} ({len(answer.points)} points, {answer.tier})"] = told(times)
    pages: list[float] = []
    for _ in range(30):
        seq = dice.randrange(count // len(pks) - PAGE)
        timed(pages, lambda: telemetry.after(dice.choice(pks), seq, PAGE))  # noqa: B023
    found["frames by cursor/s"] = round(PAGE / median(pages))
    assert Frame.objects.count() == count
    return found


def load(days: int, devices: int) -> list[int]:
    """Write the journal as the bridge's commits do, in large pieces."""
    from django.db import transaction  # noqa: PLC0415

    from devices import journal, registry  # noqa: PLC0415
    from devices.models import Fleet, Head, Metric  # noqa: PLC0415

    fleet = Fleet.objects.create(slug="measured", name="Measured")
    made = [registry.create(f"device-{index}", fleet)[0] for index in range(devices)]
    Metric.objects.bulk_create([Metric(device=device, name=f"metric_{i}") for device in made for i in range(20)])
    for device in made:
        rows = frames(device.pk, days)
        while piece := list(islice(rows, 5000)):
            with transaction.atomic():
                journal.append([journal.Row(*row) for row in piece])
                Head.objects.filter(pk=device.pk).update(seq=piece[-1][1])
    return [device.pk for device in made]


def frames(device_pk: int, days: int) -> Iterator[tuple[Any, ...]]:
    """Yield a device's life: 20 metrics that wander, once a minute."""
    dice = random.Random(device_pk)
    values = [20.0] * 20
    for minute in range(days * 1440):
        ts = START + minute * MINUTE + dice.randrange(MINUTE)
        values = [round(value + dice.uniform(-0.5, 0.5), 2) for value in values]
        readings = {f"metric_{index}": value for index, value in enumerate(values)}
        yield device_pk, minute + 1, ts, ts + 50, None, 0, readings, dice.getrandbits(63)


def timed(times: list[float], act: Callable[[], Any]) -> Any:  # noqa: ANN401  what it returns
    """Do it, and note how long it took."""
    began = time.perf_counter()
    result = act()
    times.append(time.perf_counter() - began)
    return result


def told(times: list[float]) -> list[float]:
    """Median and 95th percentile in ms."""
    return [round(1000 * median(times), 1), round(1000 * quantiles(times, n=20)[-1], 1)]


def sizes() -> dict[str, int]:
    """Bytes of each table and its indexes, for each frame."""
    from django.db import connection  # noqa: PLC0415

    sql = "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = %s)"
    if connection.vendor == "postgresql":
        sql = "SELECT pg_total_relation_size(%s)"
    found = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM devices_frame")
        (count,) = cursor.fetchone()
        for table in ("devices_frame", "devices_rollup"):
            cursor.execute(sql, [table])
            found[table] = cursor.fetchone()[0] // count
    return found


def show(found: dict[str, Figures]) -> None:
    """Print it for people."""
    for name, figures in found.items():
        print(f"\n{name}")
        for what, figure in figures.items():
            if what == "series, ms":
                for asked, (middle, tail) in figure.items():
                    print(f"  series of {asked:32} {middle:8} ms   95 %: {tail} ms")
            else:
                print(f"  {what:42} {figure}")


if __name__ == "__main__":
    main()
