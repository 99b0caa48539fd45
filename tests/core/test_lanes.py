"""The whole suite is all of it: no folder of tests is left out of `manage.py test`."""

import tomllib
from pathlib import Path

from hub.management.commands import test as command

ROOT = Path(__file__).resolve().parents[2]


def test_each_folder_of_tests_is_in_one_lane_or_has_a_command_of_its_own() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    found = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    lanes = [folder for lane in command.LANES for folder in lane]
    assert sorted(lanes) == sorted(found - set(options["norecursedirs"]))


def test_tests_of_javascript_are_where_the_command_looks_for_them() -> None:
    assert list((ROOT / command.JS_TESTS).glob("*.test.js"))
