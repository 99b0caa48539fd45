"""The second factor: its tests run in a process where it is on; by itself it is off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from tests.hub import PLAIN
from tests.services import ROOT


def on(tmp: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run this where HUB_SECOND_FACTOR is optional."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | PLAIN | {"HUB_DATA": str(tmp), "HUB_SECOND_FACTOR": "optional"} | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_where_it_is_on_all_its_tests_pass(tmp_path: Path) -> None:
    ended = on(tmp_path, "-m", "pytest", "tests/second_factor", "-q", "-p", "no:cacheprovider")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_by_itself_it_is_off_and_nothing_of_it_is_loaded() -> None:
    assert settings.SECOND_FACTOR == "off"
    assert not [app for app in settings.INSTALLED_APPS if app.startswith("allauth")]
    with pytest.raises(CommandError, match="HUB_SECOND_FACTOR is off"):
        call_command("second_factor", reset="alice")
