"""The lock of a bridge's name: whoever has it is the active one, the others of that name stand by.

PostgreSQL: an advisory lock of a session that does nothing else; it goes with its connection, so a bridge that is
killed gives it up in that moment. Elsewhere (SQLite: one machine): `flock` on a file, which goes with its process.
Windows has no flock: there nothing is locked, and a second hub on the same data is the operator's mistake.

What is guaranteed, also when a connection of the active one is cut and it does not know it yet:

- Nothing is lost: a bridge acknowledges what it has committed, and what is not acknowledged comes to its successor,
  which has the same session at the broker (the same client id; the broker throws the elder connection out).
- Nothing is stored twice. What the elder had committed comes to its successor with the DUP flag and the same packet
  id, so its mark is found in the journal. What the elder has in hand and has not committed, it cannot commit any more:
  each of its transactions takes the fence (shared) and then looks whether its own term still holds (`fence`); whoever
  gets the lock takes the fence (alone) before it begins, so each transaction of an earlier term has ended by then, or
  looks afterwards, and is refused. Nor may it do so when it gets the lock back before it has noticed that another one
  led: a new term begins with a new connection to the broker, and what came on the old one comes again.
- A transaction that does not end within WRITERS_S (its machine may be gone) is ended by the successor.
- Commands are claimed by one UPDATE with one winner, and sweeps are idempotent: they need no lock at all.

It takes a real session of the server: a pooler between must not be one that pools transactions.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, LiteralString, Protocol

import psycopg
from django.db import OperationalError, connection

if sys.platform != "win32":
    import fcntl

# A standby must take over within 5 s, and asks once a second: whoever does not answer in this time counts as away.
PATIENCE_S: Final = 3.0
# A transaction that stores takes milliseconds.
WRITERS_S: Final = 1.0
# How often somebody who waits for a turn looks.
TURN_S: Final = 0.2
# Either end finds out within 4 s that the other's machine or the way to it is gone.
_OURS: Final = {
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 3000,
}
_SERVERS: Final = {
    "tcp_keepalives_idle": 1,
    "tcp_keepalives_interval": 1,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 3000,
    "lock_timeout": round(WRITERS_S * 1000),
}
_END_WRITERS: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32) | objid::bigint = %s
"""
# CASE, because it alone promises an order: the fence first, then the look.
_LOOK: Final = """
    SELECT CASE WHEN pg_advisory_xact_lock_shared(%s)::text IS NOT NULL THEN pg_try_advisory_xact_lock_shared(%s) END
"""


class AwayError(Exception):
    """Nobody can tell at this moment who has the lock."""


class NotLeadingError(OperationalError):
    """This bridge has lost the lock, or does not know whether it has it: nothing may be stored. (It is held.)"""


class Fence(Protocol):
    """What whoever stores has to know of the lock."""

    @property
    def term(self) -> int | None:
        """Return which time this is that we lead; None: we do not, as far as we know."""

    def fence(self, term: int | None) -> None:
        """Begin each transaction that stores with this (in its thread): NotLeadingError when the term is over."""


class Lead(Fence, Protocol):
    """The lock of one name, as one bridge has it."""

    async def keep(self) -> bool:
        """Make sure of the lock, or try to get it (again); whether we have it. AwayError: that cannot be told."""

    async def release(self) -> None:
        """Give it up."""


class Alone:
    """No lock: nobody else is there."""

    term: int | None = 0

    def fence(self, term: int | None) -> None:
        """Do nothing."""


def lock(name: str, folder: Path) -> Lead:
    """Return the lock of the bridges of this name; `folder` is where it lies when the database has none."""
    return Session(name) if connection.vendor == "postgresql" else File(folder / f"bridge-{name}.lock")


@asynccontextmanager
async def turn(name: str, folder: Path) -> AsyncIterator[None]:
    """Be the only one inside: for what n bridges that work side by side must not do at the same time."""
    mine = lock(name, folder)
    try:
        while not await mine.keep():  # noqa: ASYNC110  other processes ring no bell
            await asyncio.sleep(TURN_S)
        yield
    finally:
        await mine.release()


class Session:
    """A session of PostgreSQL that has, while we lead, the name's lock and a term: another random lock each time."""

    def __init__(self, name: str) -> None:
        """Be nobody yet."""
        self._name = name
        self._lock, self._fence = key(f"hub bridge {name}"), key(f"hub bridge {name}: storing")
        self.term: int | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def keep(self) -> bool:
        """Ask the server; on a new connection when the old one is lost, for then the lock is lost too."""
        if self.term is not None:
            with suppress(AwayError):
                return bool(await self._ask("SELECT 1"))
        return await self._take()

    async def _take(self) -> bool:
        if not await self._ask("SELECT pg_try_advisory_lock(%s)", self._lock):
            return False
        await self._outlast_writers()
        term = secrets.randbits(63)
        await self._ask("SELECT pg_try_advisory_lock(%s)", term)
        self.term = term
        return True

    async def _outlast_writers(self) -> None:
        """Return when no transaction of an earlier term goes on."""
        while not await self._alone():
            await self._ask(_END_WRITERS, self._fence)
        await self._ask("SELECT pg_advisory_unlock(%s)", self._fence)

    async def _alone(self) -> bool:
        try:
            await self._ask("SELECT pg_advisory_lock(%s) IS NULL", self._fence)
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    async def _ask(self, query: LiteralString, *values: int) -> Any:  # noqa: ANN401  whatever the first column is
        try:
            async with asyncio.timeout(PATIENCE_S):
                self._connection = self._connection or await self._connect()
                found = await (await self._connection.execute(query, values)).fetchone()
        except psycopg.errors.LockNotAvailable:
            raise
        except (psycopg.Error, OSError, TimeoutError) as error:
            await self.release()
            raise AwayError(str(error).strip() or "no answer") from error
        return found[0] if found else None

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        given: dict[str, Any] = connection.get_connection_params()
        for sync in ("cursor_factory", "context"):
            given.pop(sync, None)
        servers = [f"-c {name}={value}" for name, value in _SERVERS.items()]
        ours = {**_OURS, "options": " ".join([given.pop("options", ""), *servers]).strip()}
        ours["application_name"] = f"telemetry-hub bridge {self._name}"
        return await psycopg.AsyncConnection.connect(**{**given, **ours}, autocommit=True)

    def fence(self, term: int | None) -> None:
        """Take the fence until the transaction ends, then look whether the term holds: no other session can lock it."""
        gone = True
        if term is not None:
            with connection.cursor() as cursor:
                cursor.execute(_LOOK, [self._fence, term])
                (gone,) = cursor.fetchone()
        if gone:
            raise NotLeadingError("this bridge has lost its lock, and looks whether it can have it again")

    async def release(self) -> None:
        """Close the session: all its locks go with it."""
        self.term, lost, self._connection = None, self._connection, None
        if lost is not None:
            with suppress(psycopg.Error, OSError):
                await lost.close()


class File(Alone):
    """A locked file in the hub's folder. It is ours until we end, so there is one term, and nothing needs a fence."""

    def __init__(self, path: Path) -> None:
        """Be nobody yet."""
        self._path = path
        self._file: IO[str] | None = None

    async def keep(self) -> bool:
        """Lock the file, unless it is ours already."""
        if self._file is not None:
            return True
        try:
            file = self._path.open("a")
        except OSError as error:
            raise AwayError(str(error)) from error
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
        self._file = file
        return True

    async def release(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None


def key(text: str) -> int:
    """Return the number of an advisory lock: the same on every machine, for ever, and never negative."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
