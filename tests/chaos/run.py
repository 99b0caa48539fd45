"""Runs scenarios one after the other, and tells what came of them: `python3 manage.py chaos`."""

import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tests import services
from tests.chaos import table
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.scenarios import SCENARIOS

Say = Callable[[str], None]

# Loopback services, a database of moderate size: it fits anywhere.
PREFIX: Final = "hub-chaos-"


class Asked(NamedTuple):
    """What the command line says; None: as the project promises."""

    only: Sequence[str] = ()
    times: int | None = None
    frames: int | None = None
    rate: float = 1000
    json: Path | None = None


def chosen(names: Sequence[str]) -> list[Scenario]:
    """The scenarios of these names, all when there are none; KeyError names the unknown one."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    return [known[name] for name in names] if names else list(SCENARIOS)


def described() -> list[str]:
    """What there is to choose from."""
    return [f"{one.name:<12} {one.about} ({one.times or one.frames:,} {_unit(one)})" for one in SCENARIOS]


def _unit(scenario: Scenario) -> str:
    return "times" if scenario.times else "messages"


def run(asked: Asked, say: Say) -> int:
    """Run what is asked for; 0 when every promise was kept."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    results = [_tried(scenario, asked, say) for scenario in chosen(asked.only)]
    say("")
    for line in table.lines(results):
        say(line)
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(_report(asked, results)), indent=2))
    return 1 if any(result.broken for result in results) else 0


def _report(asked: Asked, results: Sequence[Result]) -> dict[str, object]:
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    return {"at": int(time.time() * 1000), "machine": machine, "rate": asked.rate, "results": results}


def _tried(scenario: Scenario, asked: Asked, say: Say) -> Result:
    say(f"{scenario.name}: {scenario.about}")
    for name in scenario.needs:
        if services.available()[name] is None:
            return Result(scenario=scenario.name, missing=f"{name} is not here; {services.HOW_TO_GET[name]}")
    if scenario.root and not may_mount():
        return Result(scenario=scenario.name, missing="it mounts a small file system, which needs root")
    # Readable for the account that PostgreSQL runs under.
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o755)
    plan = Plan(
        folder,
        times=scenario.times if asked.times is None else asked.times,
        frames=scenario.frames if asked.frames is None else asked.frames,
        rate=asked.rate,
        say=lambda line: say(f"  {line}"),
    )
    result = _result(scenario, plan)
    for sentence in result.broken:
        say(f"  NOT KEPT: {sentence}")
    if result.broken:
        say(f"  what its parts said is in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def may_mount() -> bool:
    """Whether this process may mount a file system, looked at by mounting one."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)
    return mounted.returncode == 0


def _result(scenario: Scenario, plan: Plan) -> Result:
    began = time.monotonic()
    try:
        return scenario.run(plan)
    except Exception as error:  # noqa: BLE001 - the others are to be run, too
        (plan.folder / "traceback.txt").write_text(traceback.format_exc())
        sentence = f"it broke off: {error!r}"
        return Result(scenario=scenario.name, broken=[sentence], seconds=time.monotonic() - began)
