"""Without TimescaleDB the journal stays a plain table: the real migrations on both databases, forth, back and forth."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests import services

PRIMARY_KEY = """
SELECT string_agg(attname, ' ' ORDER BY array_position(conkey, attnum)) FROM pg_constraint
JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
WHERE conrelid = 'devices_frame'::regclass AND contype = 'p'
"""


def manage(url: str, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"HUB_NO_BOOTSTRAP": "1", "DATABASE_URL": url, "HUB_DATA": str(folder)}
    whole = [sys.executable, "manage.py", *command]
    return subprocess.run(whole, cwd=services.ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path}/hub.sqlite3"
    postgres: services.Service = request.getfixturevalue("postgres")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS plain")
        connection.execute("CREATE DATABASE plain")
    return postgres.url.rpartition("/")[0] + "/plain"


@pytest.mark.parametrize("url", ["PostgreSQL", "SQLite"], indirect=True)
def test_the_migration_does_nothing_where_timescaledb_is_not(url: str, tmp_path: Path) -> None:
    for command in (["migrate"], ["migrate", "devices", "0002"], ["migrate"]):
        done = manage(url, tmp_path, *command)
        assert done.returncode == 0, done.stderr
    if url.startswith("postgres"):
        with psycopg.connect(url) as connection:
            assert connection.execute(PRIMARY_KEY).fetchone() == ("device_id seq",)
            assert connection.execute("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'").fetchone() == (
                0,
            )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("SQLite", "The database is SQLite"),
        # Some machines have its package, and none of them has it loaded.
        ("PostgreSQL", "TimescaleDB"),
    ],
    indirect=["url"],
)
def test_the_command_says_what_stands_in_the_way(url: str, reason: str, tmp_path: Path) -> None:
    done = manage(url, tmp_path, "timescale")
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
