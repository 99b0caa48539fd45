"""What this machine tells of its names, processes and ports, and how a child is made to end with its parent."""

import ctypes
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def loopback(host: str) -> bool:
    """Whether this name or address is this machine's own, so that what is sent there passes no network."""
    name = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def process(pid: int) -> tuple[int, str]:
    """A process's parent and command line; (0, "") when there is none, or it has ended."""
    if sys.platform.startswith("linux"):  # where a slim image has no ps
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            # "1234 (name, which may hold anything) S parent …"
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            return 0, ""
        return int(parent), command
    query = ["ps", "-ww", "-o", "ppid=,command=", "-p", str(pid)]
    found = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603
    parent, _, command = found.stdout.strip().partition(" ")
    return (int(parent), command) if parent.isdecimal() else (0, "")


def open_all_files_allowed() -> None:
    """Raise the soft limit of open files to the hard one: a socket is a file, and many systems begin at 1,024."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  which Windows has not

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS names no limit as the hard one, and takes it for none
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def die_with_parent() -> Callable[[], None] | None:
    """What a child does first, on Linux: ask the kernel to end it when its parent ends, however."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # the parent ended before we could ask

    return ask
