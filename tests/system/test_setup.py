"""A real set-up, with venv, pip and npm, in a checkout whose locks name nothing: no network is needed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DJANGO = "def execute_from_command_line(argv): print('ran', argv[1:])"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The real manage.py and bootstrap, empty locks, and something that answers for Django."""
    (tmp_path / "hub").mkdir()
    for name in ("manage.py", ".npmrc", "hub/__init__.py", "hub/bootstrap.py", "hub/env.py", "hub/machine.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("requirements-demo.lock", "requirements-test.lock", "requirements-node.lock"):
        (tmp_path / name).touch()
    package = {"name": "nothing", "version": "1.0.0"}
    (tmp_path / "package.json").write_text(json.dumps(package), encoding="utf-8")
    lock = {**package, "lockfileVersion": 3, "requires": True, "packages": {"": package}}
    (tmp_path / "package-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "django" / "core").mkdir(parents=True)
    (tmp_path / "django" / "core" / "management.py").write_text(DJANGO, encoding="utf-8")
    return tmp_path


def manage(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=120, check=False)


def test_the_first_command_sets_up_and_the_second_does_not(checkout: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("npm is missing: apt-get install npm")
    first = manage(checkout, "migrate", "--plan")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Python environment … " in first.stdout
    assert first.stdout.endswith("ran ['migrate', '--plan']\n")
    (checkout / "node_modules").mkdir(exist_ok=True)  # npm removes what would be empty
    second = manage(checkout, "migrate")
    assert second.stdout == "ran ['migrate']\n"


def test_a_failure_says_what_failed_and_the_next_start_begins_anew(checkout: Path) -> None:
    (checkout / "requirements-demo.lock").write_text("no-hash-here==1.0\n", encoding="utf-8")
    failed = manage(checkout, "migrate")
    assert failed.returncode == 1
    assert "Python packages failed: " in failed.stderr
    assert "Then the same command again." in failed.stderr
    assert "Python environment … " in manage(checkout, "migrate").stdout
