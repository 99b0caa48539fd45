"""How rejects reach each database: added or counted in one statement, in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class Row(NamedTuple):
    """A kind of reject as it came: a new row, or what is added to the one that there is (models.Reject)."""

    key: str
    reason: str
    digest: str
    topic: str
    payload: bytes
    size: int
    position: int | None
    qos: int
    retain: bool
    detail: str
    first_at: int
    last_at: int
    times: int


# As which type of array PostgreSQL gets each.
_TYPES: Final = ("text",) * 4 + ("bytea", "int", "int", "smallint", "boolean", "text", "bigint", "bigint", "bigint")
_COLUMNS: Final = ", ".join(f'"{name}"' for name in (*Row._fields[:-1], "count"))
# One statement that adds or counts: whoever adds, replays or discards the same kind meanwhile, no count is lost.
_OR_COUNT: Final = """
    ON CONFLICT ("key", "reason", "digest") DO UPDATE SET
    "count" = devices_reject."count" + excluded."count", last_at = excluded.last_at,
    detail = excluded.detail, "position" = excluded."position"
"""
# The ids tell in which order they came; the rows are locked in one order for all, so no two writers wait crosswise.
_POSTGRES: Final = f"""
    WITH new AS MATERIALIZED (
        SELECT nextval(pg_get_serial_sequence('devices_reject', 'id')) AS id, '' AS client, came.*
        FROM unnest({", ".join(f"%s::{kind}[]" for kind in _TYPES)}) AS came ({_COLUMNS})
    )
    INSERT INTO devices_reject (id, client, {_COLUMNS})
    SELECT id, client, {_COLUMNS} FROM new ORDER BY "key", "reason", "digest" {_OR_COUNT}
"""  # noqa: S608  names of columns
_SQLITE: Final = f"""
    INSERT INTO devices_reject (client, {_COLUMNS}) VALUES ('', {", ".join(["%s"] * len(_TYPES))}) {_OR_COUNT}
"""  # noqa: S608  as above
# Two parameters, however many are looked for.
_KNOWN: Final = "SELECT key, reason, digest FROM devices_reject WHERE key {0} AND digest {0}"
_KNOWN_POSTGRES: Final = _KNOWN.format("= ANY(%s)")
_KNOWN_SQLITE: Final = _KNOWN.format("IN (SELECT value FROM json_each(%s))")


def known(keys: Collection[str], digests: Collection[str]) -> set[tuple[str, str, str]]:
    """Return (key, reason, digest) of what is kept and has one of these keys and one of these digests."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_KNOWN_POSTGRES, [list(keys), list(digests)])
        else:
            cursor.execute(_KNOWN_SQLITE, [_json(keys), _json(digests)])
        return set(cursor.fetchall())


def _json(texts: Collection[str]) -> str:
    return msgspec.json.encode(list(texts)).decode()


def add(rows: Sequence[Row]) -> None:
    """Add new kinds, and count what is kept already. Rows are given, and get their ids, in the order of arrival."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_POSTGRES, [list(column) for column in zip(*rows, strict=True)])
        else:
            cursor.executemany(_SQLITE, rows)
