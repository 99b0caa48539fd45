"""Runs one of our own programs so that it can be killed at a point: `python -m tests.chaos.orders.faulty FOLDER NAME …`.

It loads the program once, and forks a life of it after the other, as a supervisor would start it again: a fork knows
nothing of the life before it, and begins in a tenth of the time. Its pid is in FOLDER/NAME.pid.
"""

import ctypes
import os
import runpy
import signal
import sys
import time
from pathlib import Path

from tests.chaos.orders import points
from tests.chaos.orders.fuse import Fuse, Passing

# As a supervisor would, so that whatever cannot start does not start a thousand times.
PAUSE_S = 0.05
PR_SET_PDEATHSIG = 1


def load(passing: Passing) -> None:
    """Load what both the web server and the bridge need, with its points."""
    from django.conf import settings

    # Daphne as an app opens an event loop when it is loaded, and that is each life's own.
    settings.INSTALLED_APPS.remove("daphne")
    import django

    django.setup()
    import bridge.management.commands.bridge
    import hub.asgi  # noqa: F401

    points.install(passing)


def live(program: list[str]) -> None:
    """Be the program, as if it had been started by its name."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
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
        print(f"{name} ended: {os.waitstatus_to_exitcode(status)}", file=sys.stderr, flush=True)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
