"""`python -m tests.fuzz`: feeds each decoder made-up input by the million, and prints a table of what it did."""

# ruff: noqa: T201 -- a command talks to a person

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "telemetry scalar location status meta meta-item ack reported gateway topic written json rest live broker".split()
)
MISSING = "The fuzzer is not in the locks, since it has no wheels for every machine. To get it: pip install atheris"
# Large inputs cost a hundred small ones and teach little more: one run in a hundred may have the size limit and above.
SMALL, LARGE = 1_024, 65_600
DONE = re.compile(r"Done (\d+) runs")
BROKE = re.compile(r"=== Uncaught Python exception: ===\n(.*)")


class Outcome(NamedTuple):
    """What became of one target: runs done, how long they took, and the finding, if there was one."""

    runs: int
    seconds: float
    found: str


def main() -> int:
    """Run what was asked for; 1 when there was a finding, 2 when nothing could run."""
    asked = arguments()
    if importlib.util.find_spec("atheris") is None:
        print(MISSING, file=sys.stderr)
        return 2
    place = asked.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    write_seeds(place / "seeds")
    outcomes = [fuzz(name, asked.runs, place) for name in asked.only or NAMES]
    print(f"Inputs, findings and logs: {place}")
    return int(any(outcome.found for outcome in outcomes))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="inputs for each target (default: 100,000)")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what was learned there, and begin with it")
    return parser.parse_args()


def write_seeds(place: Path) -> None:
    """One file each, as libFuzzer reads them."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    from tests.fuzz import seeds  # noqa: PLC0415  needs the settings, as its target does

    place.mkdir(parents=True, exist_ok=True)
    for seed in seeds.seeds():
        (place / sha256(seed).hexdigest()[:16]).write_bytes(seed)


def fuzz(name: str, runs: int, place: Path) -> Outcome:
    """Fuzz one target, each part in a process of its own, and print its line."""
    large = runs // 100
    began = time.monotonic()
    done, found = 0, ""
    for part, size in ((runs - large, SMALL), (large, LARGE)):
        if part and not found:
            ran, found = _part(name, part, size, place)
            done += ran
    outcome = Outcome(done, time.monotonic() - began, found)
    rate = outcome.runs / outcome.seconds
    print(f"{name:10} {outcome.runs:>12,} runs {rate:>8,.0f} a second   {found or 'no finding'}", flush=True)
    return outcome


def _part(name: str, runs: int, size: int, place: Path) -> tuple[int, str]:
    corpus = place / name
    corpus.mkdir(exist_ok=True)
    log = place / f"{name}-{size}.log"
    options = [f"-runs={runs}", f"-max_len={size}", "-timeout=20", "-rss_limit_mb=1500"]
    command = [sys.executable, "-m", "tests.fuzz.one", name, *options, f"-artifact_prefix={place}/{name}-"]
    with log.open("w") as output:
        code = subprocess.call([*command, corpus, place / "seeds"], cwd=ROOT, stdout=output, stderr=output)
    said = log.read_text(errors="replace")
    done = DONE.search(said)
    broke = BROKE.search(said)
    return int(done[1]) if done else 0, "" if code == 0 else f"{broke[1] if broke else f'code {code}'} (see {log})"


if __name__ == "__main__":
    sys.exit(main())
