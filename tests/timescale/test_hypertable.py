"""Where TimescaleDB is: the journal becomes a hypertable, soon or late, and everything goes on as on a plain table."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import services

DOMAIN = ("telemetry", "numbered_frames", "commands", "rejects", "registry", "history", "repairs")
FRAME = (
    "INSERT INTO devices_frame (device_id, seq, ts, received_at, flags, values) "
    "SELECT id, n, 1790000000000 + n * 3600000::bigint, 1790000000000 + n * 3600000::bigint, 0, '{}' "
    "FROM devices_device, generate_series(1, 2000) AS n"
)
CHUNKS = "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'devices_frame'"
POLICIES = "SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_name = 'devices_frame'"
KEY = """
SELECT string_agg(attname, ' ' ORDER BY array_position(conkey, attnum)) FROM pg_constraint
JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
WHERE conrelid = 'devices_frame'::regclass AND contype = 'p'
"""

Make = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(url: str, *command: str) -> subprocess.CompletedProcess[str]:
        environ = os.environ | {"HUB_NO_BOOTSTRAP": "1", "DATABASE_URL": url, "HUB_DATA": str(tmp_path)}
        return subprocess.run(
            [sys.executable, *command], cwd=services.ROOT, env=environ, capture_output=True, text=True, check=False
        )

    return run


def one(url: str, query: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row else None


def test_the_migration_makes_the_journal_a_hypertable_and_the_command_finds_it_done(made: Make, run: Any) -> None:
    url = made()
    for command in (["migrate"], ["migrate", "devices", "0002"], ["migrate"]):
        done = run(url, "manage.py", *command)
        assert done.returncode == 0, done.stderr
    assert one(url, KEY) == "device_id seq received_at"
    assert one(url, POLICIES) == 1
    assert "already" in run(url, "manage.py", "timescale").stdout


def test_a_user_who_may_not_create_extensions_gets_a_plain_table_and_the_remedy(made: Make, run: Any) -> None:
    url = made(guest=True)
    assert run(url, "manage.py", "migrate").returncode == 0
    assert one(url, KEY) == "device_id seq"
    refused = run(url, "manage.py", "timescale")
    assert refused.returncode == 1
    assert "CREATE EXTENSION timescaledb" in refused.stderr


def test_a_journal_that_was_there_before_the_extension_is_moved_by_the_command(made: Make, run: Any) -> None:
    url = made(guest=True)
    assert run(url, "manage.py", "migrate").returncode == 0
    assert run(url, "manage.py", "provision", "tank").returncode == 0
    with psycopg.connect(url) as connection:
        connection.execute(FRAME)
    with psycopg.connect(url.replace("//guest:", "//hub:")) as connection:
        connection.execute("CREATE EXTENSION timescaledb")
    done = run(url, "manage.py", "timescale")
    assert "is a hypertable now" in done.stdout, done.stderr
    assert one(url, "SELECT count(*) FROM devices_frame") == 2000
    assert one(url, "SELECT count(*) FROM ONLY devices_frame") == 0
    assert one(url, CHUNKS) >= 3


def test_a_long_journal_is_left_to_its_operator(made: Make, run: Any) -> None:
    url = made(guest=True)
    assert run(url, "manage.py", "migrate", "devices", "0002").returncode == 0
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO devices_fleet (slug, name) VALUES ('main', 'Main')")
        connection.execute(
            "INSERT INTO devices_device (key, name, fleet_id, enabled, secret_box, secret_version, model, firmware, "
            "commands, created_at) SELECT 'tank', '', id, true, '', 1, '', '', '{}', now() FROM devices_fleet"
        )
        connection.execute(FRAME.replace("2000", "1000001"))
    with psycopg.connect(url.replace("//guest:", "//hub:")) as connection:
        connection.execute("CREATE EXTENSION timescaledb")
    done = run(url, "manage.py", "migrate")
    assert done.returncode == 0, done.stderr
    assert "manage.py timescale" in done.stdout + done.stderr
    assert one(url, KEY) == "device_id seq"


def test_the_journal_is_read_written_and_pruned_compressed_or_not(made: Make, run: Any) -> None:
    done = run(
        made(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--create-db", "tests/timescale/on_hypertable.py"
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_the_domain_holds_on_a_hypertable(made: Make, run: Any) -> None:
    files = [f"tests/django/test_{name}.py" for name in DOMAIN]
    done = run(made(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--create-db", *files)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
