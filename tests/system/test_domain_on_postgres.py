"""The domain's tests once more, on PostgreSQL: threads that really wait for each other, COPY, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

from tests import services

DOMAIN = (
    "telemetry",
    "arrivals",
    "numbered_frames",
    "commands",
    "rejects",
    "replay",
    "registry",
    "history",
    "history_model",
    "retention",
    "repairs",
    "exports",
    "presence",
    "exactly_once",
    "audit",
    "invitations",
    "visibility",
    "jobs",
    "schedules",
)


def test_the_domain_holds_on_postgresql(postgres: services.Service, tmp_path: Path) -> None:
    run(postgres, tmp_path, *(f"tests/django/test_{name}.py" for name in DOMAIN))


def test_a_code_of_the_second_factor_is_good_once_on_postgresql(postgres: services.Service, tmp_path: Path) -> None:
    run(postgres, tmp_path, "tests/second_factor/test_sign_in.py", "-k", "once", HUB_SECOND_FACTOR="optional")


def run(postgres: services.Service, folder: Path, *what: str, **env: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--create-db", *what]
    environ = os.environ | {"DATABASE_URL": postgres.url, "HUB_DATA": str(folder)} | env
    done = subprocess.run(command, cwd=services.ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
