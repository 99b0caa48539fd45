"""`manage.py test [pytest's arguments]`: says what this machine can test, then runs the whole suite, JavaScript's too.

Replaces Django's own command of this name. Which test needs which service is the tests' business, not this module's.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from django.core.management import BaseCommand

from hub import env
from tests import services

JS_TESTS = "tests/js"
# What mostly waits: for services, pages and clocks. Dealt out, so that it waits side by side.
WAITING = sorted(str(path.relative_to(env.CHECKOUT)) for path in env.CHECKOUT.glob("tests/system/test_*.py"))
LANES = (("tests/browser", "tests/core", "tests/django"), tuple(WAITING[::2]), tuple(WAITING[1::2]))


class Command(BaseCommand):
    """The whole suite, or what pytest's arguments choose of it."""

    help = (
        "Runs the tests. Everything after `test` goes to pytest; with nothing after it the JavaScript tests run, too."
    )
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Django's parser does not know pytest's options, so it is passed by."""
        sys.exit(run(argv[2:]))

    def handle(self, *args: Any, **_options: Any) -> None:
        """For call_command()."""
        sys.exit(run(args))


def run(arguments: Sequence[str]) -> int:
    """Pytest's exit code; where it is 0 that of the JavaScript tests, which run when nothing was chosen."""
    found = services.available()
    for line in told(found, services.HOW_TO_GET):
        print(line, flush=True)
    if arguments:
        return subprocess.call(pytest(arguments), cwd=env.CHECKOUT)  # noqa: S603
    return run_lanes() or run_javascript(found["node"], strict=env.in_ci())


def pytest(arguments: Sequence[str]) -> list[str]:
    """The command that runs pytest in this environment."""
    return [sys.executable, "-m", "pytest", *arguments]


def run_lanes() -> int:
    """Run all lanes side by side; the first bad exit code. What the others say is shown when the last one has ended."""
    *beside, last = LANES
    with ExitStack() as files:
        running = []
        for lane in beside:
            said = files.enter_context(TemporaryFile())
            running.append((lane, said, subprocess.Popen(pytest(lane), cwd=env.CHECKOUT, stdout=said, stderr=said)))  # noqa: S603
        codes = [subprocess.call(pytest(last), cwd=env.CHECKOUT)]  # noqa: S603
        for lane, said, child in running:
            codes.append(child.wait())
            said.seek(0)
            print(f"{' '.join(lane)}:\n{said.read().decode(errors='replace')}", flush=True)
    return next((code for code in codes if code), 0)


def told(found: Mapping[str, Path | None], how_to_get: Mapping[str, str]) -> list[str]:
    """What is here, and for what is not: that its tests are left out, and how to get it."""
    here = [name for name, path in found.items() if path]
    missing = [name for name, path in found.items() if not path]
    return [
        f"Real services on this machine: {', '.join(here) or 'none'}",
        *(f"Not here: {name}, so its tests are skipped. To get it: {how_to_get[name]}" for name in missing),
    ]


def run_javascript(node: Path | None, *, strict: bool) -> int:
    """The exit code of Node's test runner, given each test file by name (its search differs between versions)."""
    files = sorted(str(path) for path in (env.CHECKOUT / JS_TESTS).rglob("*.test.*js"))
    if not files:
        return 0
    if node is None:
        print(f"The JavaScript tests need Node. To get it: {services.HOW_TO_GET['node']}", flush=True)
        return 1 if strict else 0
    return subprocess.call([str(node), "--test", *files], cwd=env.CHECKOUT)  # noqa: S603
