"""The whole suite is all of it: no folder of tests is left out of `manage.py test`."""

import tomllib
from pathlib import Path

from hub.management.commands import test as command

ROOT = Path(__file__).resolve().parents[2]


def test_each_folder_of_tests_is_in_one_lane_or_has_a_command_of_its_own() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    found = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    lanes = [part for lane in command.LANES for part in lane]
    folders = {part.rpartition("/")[0] if part.endswith(".py") else part for part in lanes}
    assert sorted(folders) == sorted(found - set(options["norecursedirs"]))


def test_each_file_of_a_folder_that_is_dealt_out_is_in_one_lane() -> None:
    files = [part for lane in command.LANES for part in lane if part.endswith(".py")]
    assert sorted(files) == sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/system/test_*.py"))


def test_tests_of_javascript_are_where_the_command_looks_for_them() -> None:
    assert list((ROOT / command.JS_TESTS).glob("*.test.js"))
