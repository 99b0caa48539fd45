"""PostgreSQL and SQLite under the few verbs that the layouts need, each in its fastest way. A commit is on disk.

Placeholders are %s everywhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg

Row = tuple[Any, ...]

# PostgreSQL gets arrays, and wants to know of what.
KINDS: Final = {
    "tier": "integer", "n": "integer", "at": "integer", "texts": "integer",
    "min": "double precision", "max": "double precision", "sum": "double precision", "last": "double precision",
    "values": "text", "last_text": "text",
}  # fmt: skip


class Store(Protocol):
    """One database."""

    name: str
    lesser_greater: tuple[str, str]  # the functions that give the lesser and the greater of two values

    def run(self, query: str, values: Sequence[Any] = (), *, prepare: bool | None = None) -> list[Row]:
        """Execute, and fetch all."""

    def transaction(self) -> AbstractContextManager[object]:
        """All or nothing."""

    def append(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Write new rows."""

    def upsert(self, table: str, key: Sequence[str], merged: Mapping[str, str], rows: Sequence[Row]) -> None:
        """Write rows of key and merged columns; `merged` says what becomes of each where the key is there."""

    def matching(self, columns: Sequence[str], keys: Sequence[Row]) -> tuple[str, list[Any]]:
        """A table of these keys, to be joined, and its parameters."""

    def among(self, how: str, column: str, values: Sequence[int]) -> tuple[str, list[Any]]:
        """A clause that leaves rows with one of these values, and its parameters."""

    def settle(self) -> None:
        """Have the database do now what it does in quiet moments."""

    def size(self, tables: Sequence[str]) -> tuple[int, int]:
        """Bytes on disk of the rows, and of what else there is of these tables."""


def _quoted(columns: Iterable[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


class Postgres:
    """COPY and unnest, as devices/journal.py does."""

    name = "PostgreSQL"
    lesser_greater = ("least", "greatest")

    def __init__(self, url: str) -> None:
        """Connect; commits are durable as long as the server's fsync is on."""
        self._connection = psycopg.connect(url, autocommit=True)

    def run(self, query: str, values: Sequence[Any] = (), *, prepare: bool | None = None) -> list[Row]:
        """Execute, and fetch all."""
        cursor = self._connection.execute(query, values or None, prepare=prepare)
        return cursor.fetchall() if cursor.description else []

    def transaction(self) -> AbstractContextManager[object]:
        """All or nothing."""
        return self._connection.transaction()

    def append(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """COPY."""
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {table} ({_quoted(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def upsert(self, table: str, key: Sequence[str], merged: Mapping[str, str], rows: Sequence[Row]) -> None:
        """INSERT FROM unnest, ON CONFLICT."""
        columns = [*key, *merged]
        given = ", ".join(f"%s::{KINDS.get(column, 'bigint')}[]" for column in columns)
        # The column's own type (text, json, jsonb) is the table's business.
        taken = ", ".join(f'"{column}"' + (self._cast(table) if column == "values" else "") for column in columns)
        sets = ", ".join(f'"{column}" = {expression}' for column, expression in merged.items())
        self.run(
            f"INSERT INTO {table} ({_quoted(columns)}) SELECT {taken} FROM unnest({given}) AS new ({_quoted(columns)}) "
            f"ON CONFLICT ({_quoted(key)}) DO UPDATE SET {sets}",
            [list(column) for column in zip(*rows, strict=True)],
        )

    def _cast(self, table: str) -> str:
        return "::jsonb" if "_jsonb_" in table else "::json" if "_json_" in table else ""

    def matching(self, columns: Sequence[str], keys: Sequence[Row]) -> tuple[str, list[Any]]:
        """Unnest."""
        given = ", ".join(f"%s::{KINDS.get(column, 'bigint')}[]" for column in columns)
        return f"unnest({given}) AS asked ({_quoted(columns)})", [list(column) for column in zip(*keys, strict=True)]

    def among(self, how: str, column: str, values: Sequence[int]) -> tuple[str, list[Any]]:
        """A list of parameters, an array, or a join with an array."""
        if how.startswith("in"):
            return f" WHERE {column} IN ({', '.join(['%s'] * len(values))})", list(values)
        if how.startswith("any"):
            return f" WHERE {column} = ANY(%s::bigint[])", [list(values)]
        return f" JOIN unnest(%s::bigint[]) AS asked ({column}) USING ({column})", [list(values)]

    def settle(self) -> None:
        """Vacuum, analyse and write out."""
        self.run("VACUUM ANALYZE")
        self.run("CHECKPOINT")

    def size(self, tables: Sequence[str]) -> tuple[int, int]:
        """Of the tables with TOAST, and of their indexes."""
        rows = [
            self.run("SELECT pg_table_size(%s::regclass), pg_indexes_size(%s::regclass)", (t, t))[0] for t in tables
        ]
        return sum(row[0] for row in rows), sum(row[1] for row in rows)


class SQLite:
    """WAL, synchronous=FULL, IMMEDIATE, as hub/settings.py does."""

    name = "SQLite"
    lesser_greater = ("min", "max")

    def __init__(self, path: Path) -> None:
        """Open a file."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self.run(f"PRAGMA {pragma}")

    def run(self, query: str, values: Sequence[Any] = (), *, prepare: bool | None = None) -> list[Row]:  # noqa: ARG002
        """Execute, and fetch all. Everything is prepared."""
        return self._connection.execute(query.replace("%s", "?"), values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nothing here is meant to fail."""
        self.run("BEGIN IMMEDIATE")
        yield
        self.run("COMMIT")

    def append(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """One prepared INSERT."""
        places = ", ".join("?" * len(columns))
        self._connection.executemany(f"INSERT INTO {table} ({_quoted(columns)}) VALUES ({places})", rows)

    def upsert(self, table: str, key: Sequence[str], merged: Mapping[str, str], rows: Sequence[Row]) -> None:
        """One prepared INSERT, ON CONFLICT."""
        columns = [*key, *merged]
        sets = ", ".join(f'"{column}" = {expression}' for column, expression in merged.items())
        self._connection.executemany(
            f"INSERT INTO {table} ({_quoted(columns)}) VALUES ({', '.join('?' * len(columns))}) "
            f"ON CONFLICT ({_quoted(key)}) DO UPDATE SET {sets}",
            rows,
        )

    def matching(self, columns: Sequence[str], keys: Sequence[Row]) -> tuple[str, list[Any]]:
        """A table made of one JSON parameter."""
        parts = ", ".join(f"value->>{place} AS {column}" for place, column in enumerate(columns))
        return f"(SELECT {parts} FROM json_each(%s)) AS asked", [json.dumps(keys)]

    def among(self, how: str, column: str, values: Sequence[int]) -> tuple[str, list[Any]]:
        """A list of parameters, or a table made of one JSON parameter."""
        if how.startswith("in"):
            return f" WHERE {column} IN ({', '.join(['%s'] * len(values))})", list(values)
        if how.startswith("any"):
            return f" WHERE {column} IN (SELECT value FROM json_each(%s))", [json.dumps(values)]
        return f" JOIN json_each(%s) AS asked ON asked.value = {column}", [json.dumps(values)]

    def settle(self) -> None:
        """Collect statistics and write the log back."""
        self.run("ANALYZE")
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self, tables: Sequence[str]) -> tuple[int, int]:
        """Of the tables, and of their indexes."""
        found = self.run(
            "SELECT m.type, sum(pgsize) FROM dbstat AS d JOIN sqlite_master AS m USING (name) "
            f"WHERE tbl_name IN ({', '.join(['%s'] * len(tables))}) GROUP BY m.type",
            list(tables),
        )
        sizes: dict[str, int] = {kind: size for kind, size in found}  # noqa: C416 - two of an untyped row
        return sizes.get("table", 0), sizes.get("index", 0)
