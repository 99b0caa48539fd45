"""What a device keeps: frames until their receipt, commands with their answers, settings. SQLite, in a file or memory.

A frame that `put` has returned for survives the end of the program at any instant; `sync`, called now and then, has it
survive a power cut. What must never be forgotten (a boot's number, a command that was begun) is on the disk at once.

A frame's id is its number plus what came before its boot, so that a receipt deletes one stretch of ids.
"""

import json
import logging
import os
import sqlite3
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from telemetry_hub.device.words import Value, written

log = logging.getLogger(__name__)

# A hub repeats a command within minutes; nobody gives one device 256 of them meanwhile.
REMEMBERED: Final = 256
# A hub follows the last four boots; what is sent at once is of no more than three, so that each gets its receipts.
_BOOTS_AT_ONCE: Final = 3
_MEMORY: Final = ":memory:"
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS frames (id INTEGER PRIMARY KEY, at INTEGER, level TEXT, vals TEXT);
CREATE TABLE IF NOT EXISTS boots (boot INTEGER PRIMARY KEY, before INTEGER);
CREATE TABLE IF NOT EXISTS commands (place INTEGER PRIMARY KEY, cid TEXT UNIQUE, answer BLOB, told INTEGER);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER);
"""
# Those of which there is no frame left.
_FORGET_EMPTY_BOOTS: Final = """
DELETE FROM boots WHERE NOT EXISTS (SELECT 1 FROM frames WHERE id > before AND id <= coalesce(
    (SELECT min(later.before) FROM boots AS later WHERE later.before > boots.before), id))
"""


class Frame(NamedTuple):
    """One frame as it is kept: its place, its numbers, when (ms), its topic's last level, its values as JSON."""

    id: int
    boot: int
    n: int
    at: int
    level: str
    values: str


class Store:
    """One device's. At most `frames` frames of together `size` bytes are kept: the oldest fall out, counted.

    kept      frames that are here
    lost      frames that ever fell out, or were in memory when the power went, without a receipt
    refused   frames that the hub will never take; it has them among its rejects
    """

    def __init__(self, path: str | Path | None = None, *, frames: int = 1_000_000, size: int = 500_000_000) -> None:
        """Open what is at `path`; None: in memory alone."""
        self._lock = threading.RLock()
        self._most, self._most_bytes = frames, size
        self._wal: int | None = None
        self._rows = self._open(Path(path)) if path else _connect(_MEMORY)
        self.kept: int
        self.kept, self._bytes = self._rows.execute(
            "SELECT count(*), coalesce(sum(length(vals)), 0) FROM frames"
        ).fetchone()
        self._boots: list[tuple[int, int]] = []  # (before, boot), the oldest first
        self._last = 0
        self.boot = 0
        self.lost = self._count("lost")
        self.refused = self._count("refused")

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what is measured is its owner's alone
            rows = _connect(str(path))
        except sqlite3.OperationalError as error:
            raise OSError(
                f"{path} cannot be used ({error}): it is in use by another program, or not to be written"
            ) from None
        except sqlite3.DatabaseError as error:
            aside = path.with_name(f"{path.name}.broken")
            log.error("%s is damaged (%s); it is put aside as %s, and a new one begun", path, error, aside)  # noqa: TRY400  one line
            path.replace(aside)
            for rest in ("-wal", "-shm"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
            rows = _connect(str(path))
        self._wal = os.open(f"{path}-wal", os.O_RDWR)
        return rows

    def close(self) -> None:
        """Put everything on the disk, and let go of the file."""
        with self._lock:
            self._rows.close()
            if self._wal is not None:
                os.close(self._wal)
                self._wal = None

    def sync(self) -> None:
        """Have what was put until now survive a power cut. May take a while; may be called from any thread."""
        if self._wal is not None:
            os.fsync(self._wal)

    @contextmanager
    def _at_once(self) -> Iterator[sqlite3.Connection]:
        """One transaction that is on the disk when it is over."""
        with self._lock:
            self._rows.execute("PRAGMA synchronous=FULL")
            self._rows.execute("BEGIN")
            try:
                yield self._rows
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise
            self._rows.execute("COMMIT")
            self._rows.execute("PRAGMA synchronous=NORMAL")

    # Counts

    def _count(self, name: str) -> int:
        with self._lock:
            found = self._rows.execute("SELECT value FROM counts WHERE name=?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def _set(self, name: str, value: int) -> None:
        self._rows.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (name, value))

    # Frames

    def start(self, now: int) -> None:
        """Begin a new boot; an instant (ms) names it, unless one before it was higher."""
        with self._at_once() as rows:
            self.boot = max(self._count("boot") + 1, now)
            [newest] = rows.execute("SELECT coalesce(max(id), 0) FROM frames").fetchone()
            before = max(newest, self._last)
            rows.execute(_FORGET_EMPTY_BOOTS)
            rows.execute("INSERT INTO boots VALUES (?, ?)", (self.boot, before))
            self._set("boot", self.boot)
            self._boots = rows.execute("SELECT before, boot FROM boots ORDER BY before, boot").fetchall()
            self._last = before

    @property
    def n(self) -> int:
        """The newest frame's number within its boot."""
        return self._last - self._boots[-1][0]

    def put(self, at: int, level: str, values: str) -> None:
        """Keep a frame; when there is no room, the oldest fall out."""
        with self._lock:
            self._last += 1
            self._rows.execute("INSERT INTO frames VALUES (?, ?, ?, ?)", (self._last, at, level, values))
            self.kept += 1
            self._bytes += len(values)
            if self.kept > self._most or self._bytes > self._most_bytes:
                self._make_room()

    def _make_room(self) -> None:
        over = max(1, self.kept - self._most)
        while over and (self.kept > self._most or self._bytes > self._most_bytes):
            [last] = self._rows.execute(
                "SELECT max(id) FROM (SELECT id FROM frames ORDER BY id LIMIT ?)", (over,)
            ).fetchone()
            self._lose(self._delete(0, last))
            over = min(1, self.kept - 1)

    def skip(self, count: int) -> None:
        """Pass over numbers of frames that could not even be kept: they are lost."""
        with self._lock:
            self._last += count
            self._lose(count)

    def lose(self) -> None:
        """Forget all frames, as memory does when the power goes."""
        with self._lock:
            self._lose(self._delete(0, self._last))

    def _lose(self, count: int) -> None:
        self.lost += count
        self._set("lost", self.lost)

    def drop(self, id_: int) -> None:
        """Forget a frame that the hub will never take."""
        with self._lock:
            self.refused += self._delete(id_ - 1, id_)
            self._set("refused", self.refused)

    def forget(self, boot: int, ranges: Sequence[tuple[int, int]]) -> int:
        """Forget what a receipt covers: [first, last] numbers of a boot. Return how many frames that were."""
        with self._lock:
            found = [at for at, (_, known) in enumerate(self._boots) if known == boot]
            if not found:
                return 0
            before = self._boots[found[0]][0]
            end = self._boots[found[0] + 1][0] if found[0] + 1 < len(self._boots) else self._last
            return sum(self._delete(before + first - 1, min(end, before + last)) for first, last in ranges)

    def _delete(self, behind: int, last: int) -> int:
        where = (behind, last)
        count, size = self._rows.execute(
            "SELECT count(*), coalesce(sum(length(vals)), 0) FROM frames WHERE id > ? AND id <= ?", where
        ).fetchone()
        if count:
            self._rows.execute("DELETE FROM frames WHERE id > ? AND id <= ?", where)
            self.kept -= count
            self._bytes -= size
        return int(count)

    def behind(self, id_: int, limit: int) -> list[Frame]:
        """Return the frames that come next, in order, as long as they are of few boots."""
        if id_ >= self._last:
            return []
        with self._lock:
            fence = self._fence()
            found = self._rows.execute(
                "SELECT id, at, level, vals FROM frames WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
                (id_, fence, limit),
            ).fetchall()
        return [Frame(each, *self._numbers(each), at, level, values) for each, at, level, values in found]

    def _fence(self) -> int:
        if len(self._boots) <= _BOOTS_AT_ONCE:
            return self._last
        oldest = self.oldest()
        first = bisect_left(self._boots, (oldest,)) - 1 if oldest else 0
        later = self._boots[max(0, first) + _BOOTS_AT_ONCE :]
        return later[0][0] if later else self._last

    def _numbers(self, id_: int) -> tuple[int, int]:
        before, boot = self._boots[bisect_left(self._boots, (id_,)) - 1]
        return boot, id_ - before

    def oldest(self) -> int | None:
        """Return the id of the oldest frame."""
        with self._lock:
            found = self._rows.execute("SELECT min(id) FROM frames").fetchone()
        return None if found[0] is None else int(found[0])

    def upto(self, id_: int) -> int:
        """Return how many frames there are up to this one."""
        with self._lock:
            return int(self._rows.execute("SELECT count(*) FROM frames WHERE id <= ?", (id_,)).fetchone()[0])

    # Commands

    def answer_of(self, cid: str) -> bytes | None:
        """Return the answer to a command that is remembered; b"" while it is under way, None: not known."""
        with self._lock:
            found = self._rows.execute("SELECT answer FROM commands WHERE cid=?", (cid,)).fetchone()
        return None if found is None else found[0] or b""

    def begin(self, cid: str) -> None:
        """Remember a command before anything of it is done."""
        with self._at_once() as rows:
            rows.execute("INSERT OR IGNORE INTO commands (cid, told) VALUES (?, 0)", (cid,))
            rows.execute("DELETE FROM commands WHERE place <= (SELECT max(place) FROM commands) - ?", (REMEMBERED,))

    def settle(self, cid: str, answer: bytes) -> None:
        """Remember how a command ended."""
        with self._at_once() as rows:
            rows.execute("UPDATE commands SET answer=?, told=0 WHERE cid=?", (answer, cid))

    def told(self, cid: str) -> None:
        """The broker has the answer."""
        with self._lock:
            self._rows.execute("UPDATE commands SET told=1 WHERE cid=? AND answer IS NOT NULL", (cid,))

    def interrupted(self, answer: bytes) -> None:
        """Give this answer to each command that was under way when the program ended."""
        with self._at_once() as rows:
            rows.execute("UPDATE commands SET answer=? WHERE answer IS NULL", (answer,))

    def untold(self) -> list[tuple[str, bytes]]:
        """Return the answers that the broker has not got for sure: cid, answer."""
        with self._lock:
            return self._rows.execute(
                "SELECT cid, answer FROM commands WHERE told=0 AND answer IS NOT NULL ORDER BY place"
            ).fetchall()

    # Settings

    @property
    def version(self) -> int | None:
        """The newest desired version that was taken in."""
        return self._count("version") or None

    def settings(self) -> dict[str, Value]:
        """Return what is kept of settings: those that somebody set."""
        with self._lock:
            return {name: json.loads(value) for name, value in self._rows.execute("SELECT name, value FROM settings")}

    def set(self, version: int | None, changes: dict[str, Value | None]) -> None:
        """Keep settings; None: back to the default."""
        with self._at_once() as rows:
            for name, value in changes.items():
                if value is None:
                    rows.execute("DELETE FROM settings WHERE name=?", (name,))
                else:
                    rows.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, written(value)))
            if version is not None:
                self._set("version", version)


def _connect(path: str) -> sqlite3.Connection:
    rows = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False, cached_statements=16)
    if path == _MEMORY:
        rows.execute("PRAGMA page_size=1024")  # a thousand simulated devices are in one process
    rows.execute("PRAGMA locking_mode=EXCLUSIVE")  # two programs with one buffer would send everything twice
    rows.execute("PRAGMA journal_mode=WAL")
    rows.execute("PRAGMA synchronous=NORMAL")
    rows.executescript(_TABLES)
    rows.execute("BEGIN IMMEDIATE")  # says now whether somebody else has it
    rows.execute("COMMIT")
    return rows
