"""The database cannot write: its disk is full, or it is read-only. The hub holds, says so, and goes on by itself.

`disk`        PostgreSQL's journal of frames is on a small file system, which is filled (needs root, to mount one)
`readonly`    PostgreSQL refuses every write, as a standby or a guarded server does
`disk-sqlite` the demo's database is on a small file system, which is filled (needs root)

Every other time the bridge is killed meanwhile: had it acknowledged anything, that would be lost.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg

from tests.chaos import oracle
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.scenarios import demo as whole
from tests.chaos.stream import Stream, streaming
from tests.hub import Part, Production, eventually, running_demo, running_production
from tests.services import Service

SIZE: Final = "96m"
# How long it stays full after the first refusal.
FULL_S: Final = 2.0
# Of what comes in meanwhile; the last page of a table on a full disk takes a few frames more.
FITS: Final = 0.1
# What the bridge says while it cannot store.
ALARM: Final = "cannot store"
# A table that has grown finds room in its own pages for a while.
PATIENCE_S: Final = 120.0


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of SIZE, mounted in this folder for as long as this lasts."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no room."""
    with suppress(OSError), (folder / "filler").open("ab", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 12))


def empty(folder: Path) -> None:
    (folder / "filler").unlink()


# --- PostgreSQL


def on_a_full_disk(plan: Plan) -> Result:
    with small_disk(plan.folder / "disk") as disk, running_production(plan.folder, durable=True) as hub:
        move_frames(hub.postgres, disk)
        return _production(DISK.name, plan, hub, lambda: fill(disk), lambda: empty(disk))


def read_only(plan: Plan) -> Result:
    with running_production(plan.folder, durable=True) as hub:
        refuse = "ALTER SYSTEM SET default_transaction_read_only = on"
        allow = "ALTER SYSTEM RESET default_transaction_read_only"
        return _production(
            READ_ONLY.name, plan, hub, lambda: command(hub.postgres, refuse), lambda: command(hub.postgres, allow)
        )


def move_frames(server: Service, disk: Path) -> None:
    """Put the journal of frames, with its indexes, on this disk."""
    folder = disk / "frames"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, Path(f"/proc/{server.pid}").owner())
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        connection.execute("ALTER TABLE devices_frame SET TABLESPACE small")
        indexes = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'devices_frame'").fetchall()
        for (name,) in indexes:
            connection.execute(f'ALTER INDEX "{name}" SET TABLESPACE small')


def command(server: Service, statement: str) -> None:
    """Change a setting of the server for everybody."""
    with psycopg.connect(server.url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(statement)
        connection.execute("SELECT pg_reload_conf()")


def _production(name: str, plan: Plan, hub: Production, down: Callable[[], None], up: Callable[[], None]) -> Result:
    (bridge,) = hub.bridges

    def killed() -> None:
        # It cannot be ready before the database takes writes again.
        bridge.kill()

    def room_again() -> None:
        up()
        if not bridge.alive:
            bridge.start()

    with streaming(hub, oracle.postgres(hub.postgres.url), plan) as stream:
        for index in plan.rounds():
            held(stream, bridge, down, killed if index % 2 == 0 else _nothing, room_again)
        return stream.result(name)


# --- SQLite


def demo_on_a_full_disk(plan: Plan) -> Result:
    data = plan.folder / "data"
    data.mkdir()
    with small_disk(plan.folder / "disk") as disk:
        database = disk / "hub.sqlite3"
        with (
            running_demo(data, simulators=False, DATABASE_URL=f"sqlite:///{database}") as demo,
            streaming(demo, oracle.sqlite(database), plan, whole.SHAPES) as stream,
        ):

            def room_again() -> None:
                empty(disk)
                if not demo.part.alive:
                    whole.start(demo)

            for index in plan.rounds():
                kill = (lambda: whole.kill(demo)) if index % 2 == 0 else _nothing
                held(stream, demo.part, lambda: fill(disk), kill, room_again)
            return stream.result(DISK_SQLITE.name)


# --- both


def _nothing() -> None:
    return


def held(
    stream: Stream, part: Part, down: Callable[[], None], kill: Callable[[], None], up: Callable[[], None]
) -> None:
    """Take the room away until the hub has said that it holds; give it back, and see frames stored again."""
    before = part.said().count(ALARM)

    def alarmed() -> None:
        eventually(lambda: part.said().count(ALARM) > before, f"{ALARM!r} in {part.log.name}", PATIENCE_S)
        count = stream.stored()
        time.sleep(FULL_S)
        if (more := stream.stored() - count) > FITS * FULL_S * stream.plan.rate:
            stream.broken.append(f"{more} frames were stored although there is no room")
        kill()

    stream.strike(down, up, alarmed)
    stream.flows()


DISK = Scenario("disk", "PostgreSQL's disk is full for a while", on_a_full_disk, times=10, root=True)
READ_ONLY = Scenario("readonly", "PostgreSQL is read-only for a while", read_only, times=10)
DISK_SQLITE = Scenario(
    "disk-sqlite", "the demo's disk is full for a while", demo_on_a_full_disk, 10, needs=("nats",), root=True
)
