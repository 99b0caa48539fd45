"""Runs one of our programs so that it can be killed at a point: `python -m tests.chaos.orders.faulty FOLDER NAME …`.

It loads the program once, and forks a life of it after the other, as a supervisor would start it again: a fork knows
nothing of the life before it, and begins in a tenth of the time. Its pid is in FOLDER/NAME.pid.
"""

import ctypes
import logging
import os
import runpy
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Final

import django
from django.conf import settings

from hub import machine
from tests.chaos.orders.fuse import Fuse, Passing

# As a supervisor would, so that whatever cannot start does not start a thousand times.
PAUSE_S: Final = 0.05


def load(passing: Passing) -> None:
    """Load what both the web server and the bridge need, with its points."""
    # Daphne as an app opens an event loop when it is loaded, and that is each life's own.
    settings.INSTALLED_APPS.remove("daphne")
    django.setup()
    for program in ("bridge.management.commands.bridge", "hub.asgi"):
        import_module(program)
    import_module("tests.chaos.orders.passages").install(passing)


def live(program: list[str]) -> None:
    """Be the program, as if it had been started by its name."""
    ctypes.CDLL(None).prctl(machine.PR_SET_PDEATHSIG, signal.SIGKILL)
    script = program[1:] if Path(program[0]).name.startswith("python") else program
    sys.argv = script
    runpy.run_path(script[0], run_name="__main__")


def main() -> None:
    folder, name, *program = sys.argv[1:]
    fuse = Fuse(Path(folder))
    load(fuse.passing)
    while True:
        if not (life := os.fork()):
            live(program)
            return
        draft = fuse.pid_file(f"{name}.draft")
        draft.write_text(str(life))
        draft.rename(fuse.pid_file(name))
        _, status = os.waitpid(life, 0)
        logging.getLogger(name).warning("ended: %s", os.waitstatus_to_exitcode(status))
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
