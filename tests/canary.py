"""Secrets with a mark, and the search for it: whatever of a run is searched, no secret may be there.

Plain Python, no pytest. `plant()` has every secret that is made in this process bear the mark. What is found goes, a
line each, to the file that CANARY_FOUND names. Child processes inherit that name, and have settings of their own
(tests/canary_settings.py) that plant and search as well.
"""

import base64
import json
import logging
import os
import re
import secrets
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple

MARK: Final = "zq9canary9qz"
# What people in tests sign in with.
PASSWORD: Final = "correct horse battery"
FOUND: Final = "CANARY_FOUND"
POLL_S: Final = 0.1
LARGEST: Final = 50_000_000

# Files that are there to hold a secret. Only their owner may read them.
KEPT: Final = ("own.json", "sign-in.json", "secret_key", "redis.conf", "token.txt", "credentials.json", "hub.json")
# Programs of others that play devices and visitors, as the documentation shows them to people.
OTHERS: Final = ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr", "curl")
# The tests' own clients. What they say of themselves is not the hub's.
CLIENTS: Final = ("websockets.client", "httpcore", "httpx")
_OF_CLIENTS: Final = re.compile(rf"^.* logger=({'|'.join(map(re.escape, CLIENTS))})\S* .*$", re.MULTILINE)


def _forms(text: str) -> Iterator[bytes]:
    """A text as it is, in hex, and in base64 wherever it begins in there."""
    raw = text.encode()
    yield raw
    yield raw.hex().encode()
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        yield coded[(before * 8 + 5) // 6 : -1]


_SEEN: Final = re.compile(
    b"|".join(re.escape(form) for text in (MARK, PASSWORD) for form in _forms(text)), re.IGNORECASE
)


def plant() -> None:
    """Have all secrets of this process bear the mark."""
    secrets.token_urlsafe = marked(secrets.token_urlsafe)


def marked(make: Callable[..., str]) -> Callable[..., str]:
    @wraps(make)
    def made(*args: Any, **kwargs: Any) -> str:
        text = make(*args, **kwargs)
        if sys._getframe(1).f_globals["__name__"].startswith("telemetry_hub"):
            return text  # it names a command, so that none is done twice: no secret
        return text[: -len(MARK)] + MARK

    return made


def sings(what: bytes | str) -> str | None:
    """Where in this a secret is, with what stands around it; None: nowhere."""
    raw = what if isinstance(what, bytes) else what.encode(errors="replace")
    found = _SEEN.search(raw)
    return found and raw[max(0, found.start() - 100) : found.end() + 40].decode(errors="replace")


class Hit(NamedTuple):
    """A secret where none may be."""

    place: str
    test: str
    around: str


def search(place: str, what: bytes | str) -> bool:
    """Look for a secret, and note it if there is one."""
    around = sings(what)
    if around is not None:
        note(place, around)
    return around is not None


def note(place: str, around: str) -> None:
    """Write down that something was found."""
    hit = Hit(place, os.environ.get("PYTEST_CURRENT_TEST", ""), around)
    with Path(os.environ[FOUND]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(hit) + "\n")


def hits(found: Path) -> list[Hit]:
    """All that was noted there."""
    return [Hit(*json.loads(line)) for line in found.read_text(encoding="utf-8").splitlines()]


# --- where is searched


class Listener(logging.Handler):
    """What is logged in this process, as the hub would write it."""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(CLIENTS):
            search(f"log of {record.name}", self.format(record))


def output(said: str) -> None:
    """Search what was written in this process."""
    search("output", _OF_CLIENTS.sub("", said))


def commands() -> None:
    """Search what this process starts, and keep looking at what its children started."""
    sys.addaudithook(_started)
    threading.Thread(target=_look_at_commands, name="canary", daemon=True).start()


def _started(event: str, args: Any) -> None:
    if event == "subprocess.Popen":
        _command([os.fsdecode(part) for part in (args[1] if isinstance(args[1], list | tuple) else [args[1]])])


def _command(words: list[str]) -> None:
    if words and Path(words[0]).name not in OTHERS:
        search(f"command line of {words[0]}", " ".join(words))


def _look_at_commands() -> None:
    seen: set[str] = set()
    while True:
        for words in running(os.getpid()):
            if (line := " ".join(words)) not in seen:
                seen.add(line)
                _command(words)
        time.sleep(POLL_S)


def running(root: int) -> Iterator[list[str]]:
    """The command lines of a process's children, and theirs."""
    for path in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue
        for child in children:
            try:
                yield Path(f"/proc/{child}/cmdline").read_text().rstrip("\0").split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            yield from running(int(child))


def files(folder: Path) -> None:
    """Search all files in there; those that are meant to hold a secret are their owner's alone."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            continue
        if path.name in KEPT:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode != 0o600:
                note(f"file {path}", f"its mode is {mode:o}")
        elif path.suffix == ".sqlite3":
            _database(path)
        elif not path.name.endswith((".sqlite3-wal", ".sqlite3-shm")):
            search(f"file {path}", _without_sign_in(path.read_bytes()))


def _database(path: Path) -> None:
    """Search a database's tables. Sessions are kept there by their names."""
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in set(tables) - {"django_session"}:
            for row in database.execute(f'SELECT * FROM "{name}"'):  # noqa: S608  a name that it told itself
                search(f"table {name} of {path}", text_of(row))


def text_of(row: tuple[Any, ...]) -> bytes:
    """All the values of a row."""
    return b" ".join(
        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode(errors="replace") for value in row
    )


def _without_sign_in(said: bytes) -> bytes:
    """What was written, without the line by which the demo tells the terminal how to sign in."""
    return re.sub(rb"^password: \S+$", b"", said, flags=re.MULTILINE)
