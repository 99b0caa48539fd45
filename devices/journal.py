"""How frames and heads reach the database: the fastest way that each one has, in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from devices.models import Head
    from devices.values import Value

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Row(NamedTuple):
    """A frame as stored, in the order of the table's columns (models.Frame)."""

    device_id: int
    seq: int
    ts: int
    received_at: int
    device_ts: int | None
    flags: int
    values: dict[str, Value]
    mark: int | None


_COLUMNS: Final = ", ".join(f'"{name}"' for name in Row._fields)
_COPY: Final = f"COPY devices_frame ({_COLUMNS}) FROM STDIN"
_INSERT: Final = f"INSERT INTO devices_frame ({_COLUMNS}) VALUES ({', '.join(['%s'] * len(Row._fields))})"  # noqa: S608
# One parameter for a thousand marks: a third of the time of as many parameters. On PostgreSQL the look-up is lateral,
# so that it uses the index whatever the planner believes: for `mark = ANY(…)` it read the whole journal, 31 ms a
# batch at 200,000 frames, until the table was analysed for the first time.
_MARKED: Final = {
    "postgresql": """
        SELECT found.* FROM unnest(%s::bigint[]) AS asked (mark) CROSS JOIN LATERAL (
            SELECT mark, received_at, CAST("values" AS text) FROM devices_frame AS frame
            WHERE frame.mark = asked.mark ORDER BY received_at DESC LIMIT 1
        ) AS found""",
    "sqlite": """
        SELECT mark, received_at, CAST("values" AS text) FROM devices_frame
        WHERE mark IN (SELECT value FROM json_each(%s)) ORDER BY received_at""",
}

# Where in the journals of some devices a time of arrival begins: bit by bit, highest first, in one statement. Rejects
# that were replayed stand among younger rows with the time of their first arrival, and are late: the search looks past
# them, at the next row that is not, if there is one near. What is late right behind the place found is looked at one by
# one.
_ARRIVED: Final = """
    WITH RECURSIVE search (device_id, seq, step) AS (
        SELECT device_id, CAST(0 AS bigint), CAST(%s AS bigint) FROM devices_head WHERE device_id IN ({})
        UNION ALL
        SELECT search.device_id, search.seq + CASE WHEN COALESCE(
            (SELECT frame.received_at FROM devices_frame AS frame
                WHERE frame.device_id = search.device_id AND frame.flags %% 2 = 0
                    AND frame.seq BETWEEN search.seq + search.step AND search.seq + search.step + 1000
                ORDER BY frame.seq LIMIT 1),
            (SELECT frame.received_at FROM devices_frame AS frame
                WHERE frame.device_id = search.device_id AND frame.seq >= search.seq + search.step
                ORDER BY frame.seq LIMIT 1)
        ) < %s THEN search.step ELSE 0 END, search.step / 2 FROM search WHERE search.step > 0
    )
    SELECT head.device_id, COALESCE((
        SELECT frame.seq - 1 FROM devices_frame AS frame
        WHERE frame.device_id = search.device_id AND frame.seq > search.seq AND frame.received_at >= %s
        ORDER BY frame.seq LIMIT 1
    ), head.seq) FROM search JOIN devices_head AS head ON head.device_id = search.device_id WHERE search.step = 0"""

# What is written back of a head, and its type at PostgreSQL.
HEAD: Final = {
    "seq": "bigint",
    "ts": "bigint",
    "received_at": "bigint",
    "values": "jsonb",
    "presence": "text",
    "because": "text",
    "since": "bigint",
    "beat_at": "bigint",
    "usual_ms": "bigint",
    "sleep_s": "bigint",
    "greeted_at": "bigint",
    "numbering": "jsonb",
    "missing": "bigint",
}
_JSON: Final = frozenset(name for name, kind in HEAD.items() if kind == "jsonb")
_UPDATE: Final = (
    "UPDATE devices_head SET " + ", ".join(f'"{name}" = %s' for name in HEAD) + " WHERE device_id = %s"  # noqa: S608
)
# One statement for all heads, of one JSON text: an array of JSON texts would have each quotation mark in it escaped, by
# the driver, in Python. With 20 metrics a head takes 8 µs instead of 42.
_UPDATE_ALL: Final = (
    "UPDATE devices_head AS head SET "  # noqa: S608
    + ", ".join(f'"{name}" = new."{name}"' for name in HEAD)
    + " FROM jsonb_to_recordset(%s::jsonb) AS new (device_id bigint, "
    + ", ".join(f'"{name}" {kind}' for name, kind in HEAD.items())
    + ") WHERE head.device_id = new.device_id"
)


def append(rows: Sequence[Row]) -> None:
    """Write new frames: COPY on PostgreSQL, one prepared INSERT elsewhere."""
    if not rows:
        return
    ready = [(*row[:6], _encode(row.values).decode(), row.mark) for row in rows]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(_COPY) as copy:
                for row in ready:
                    copy.write_row(row)
        else:
            cursor.executemany(_INSERT, ready)


def marked(marks: Collection[int | None]) -> list[tuple[int, int, dict[str, Value]]]:
    """Return (mark, received_at, values) of frames that have one of these marks; the newest of each mark comes last."""
    if not marks:
        return []
    asked = list(marks) if connection.vendor == "postgresql" else _encode(list(marks)).decode()
    with connection.cursor() as cursor:
        cursor.execute(_MARKED[connection.vendor], [asked])
        return [(mark, at, _decode(values)) for mark, at, values in cursor.fetchall()]


def arrived_before(devices: Mapping[int, int], at: int) -> dict[int, int]:
    """Return behind which seq the rows begin that arrived at `at` (ms) or later; `devices`: row id → newest seq."""
    if not devices:
        return {}
    highest = 1 << max(devices.values()).bit_length()
    with connection.cursor() as cursor:
        cursor.execute(_ARRIVED.format(", ".join(["%s"] * len(devices))), [highest, *devices, at, at])
        return dict(cursor.fetchall())


def update_heads(heads: Sequence[Head]) -> None:
    """Write locked heads back."""
    if not heads:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            rows = [{"device_id": head.pk, **{name: getattr(head, name) for name in HEAD}} for head in heads]
            cursor.execute(_UPDATE_ALL, [_encode(rows).decode()])
        else:
            cursor.executemany(_UPDATE, [_head_row(head) for head in heads])


def _head_row(head: Head) -> tuple[Any, ...]:
    given = {name: getattr(head, name) for name in HEAD}
    return (*(_encode(value).decode() if name in _JSON else value for name, value in given.items()), head.pk)
