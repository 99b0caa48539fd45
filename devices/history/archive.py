"""How roll-ups reach the database, and how history is read in bulk: the fastest way that each one has.

The journal's other half: raw SQL lives here and there, nowhere else. All of it in the caller's transaction.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from django.db import connection, transaction

from devices.history.buckets import Bucket
from devices.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Rows fetched at once of an answer of unknown length.
PIECE: Final = 2000
# Bytes of a row and its entries in the indexes, without its values: measured.
_ROW: Final = 90.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

# Which device, behind which seq, up to which seq.
Span: TypeAlias = tuple[int, int, int]
# Which device, which tier (ms), from when.
RollupKey: TypeAlias = tuple[int, int, int]

# LATERAL and its ORDER BY keep the planner from joining with the whole journal.
_BEHIND_POSTGRES: Final = """
    SELECT s.device_id, f.ts, f."values"::text
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS s (device_id, behind, upto) CROSS JOIN LATERAL (
        SELECT ts, "values" FROM devices_frame
        WHERE device_id = s.device_id AND seq > s.behind AND seq <= s.upto ORDER BY seq
    ) AS f"""
_BEHIND_SQLITE: Final = """
    SELECT f.device_id, f.ts, f."values" FROM json_each(%s) AS s CROSS JOIN devices_frame AS f
    ON f.device_id = json_extract(s.value, '$[0]')
    AND f.seq > json_extract(s.value, '$[1]') AND f.seq <= json_extract(s.value, '$[2]') ORDER BY s.key, f.seq"""
_ROLLUPS_POSTGRES: Final = """
    SELECT r.device_id, r.tier, r.ts, r."values"::text
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS k (device_id, tier, ts) JOIN devices_rollup AS r
    ON r.device_id = k.device_id AND r.tier = k.tier AND r.ts = k.ts"""
_ROLLUPS_SQLITE: Final = """
    SELECT r.device_id, r.tier, r.ts, r."values" FROM json_each(%s) AS k CROSS JOIN devices_rollup AS r
    ON r.device_id = json_extract(k.value, '$[0]')
    AND r.tier = json_extract(k.value, '$[1]') AND r.ts = json_extract(k.value, '$[2]')"""
_UPSERT: Final = 'ON CONFLICT (device_id, tier, ts) DO UPDATE SET "values" = excluded."values"'
# One JSON text: an array of JSON texts would have each quotation mark in it escaped, by the driver, in Python.
_PUT_POSTGRES: Final = f"""
    INSERT INTO devices_rollup (device_id, tier, ts, "values") SELECT d, t, s, v
    FROM jsonb_to_recordset(%s::jsonb) AS new (d bigint, t integer, s bigint, v jsonb) {_UPSERT}"""  # noqa: S608
_PUT_SQLITE: Final = f'INSERT INTO devices_rollup (device_id, tier, ts, "values") VALUES (%s, %s, %s, %s) {_UPSERT}'  # noqa: S608


def behind(spans: Sequence[Span]) -> Iterator[tuple[int, int, dict[str, Value]]]:
    """Yield (device, ts, values) of each device's frames in these spans of seq, in the order of seq."""
    yield from ((pk, ts, _decode(values)) for pk, ts, values in _joined(_BEHIND_POSTGRES, _BEHIND_SQLITE, spans))


def rollups(keys: Sequence[RollupKey]) -> Iterator[tuple[RollupKey, str]]:
    """Yield those of these roll-ups that are there, with their values as they are stored."""
    yield from (((pk, tier, ts), text) for pk, tier, ts, text in _joined(_ROLLUPS_POSTGRES, _ROLLUPS_SQLITE, keys))


def _joined(postgres: str, sqlite: str, keys: Sequence[tuple[int, int, int]]) -> Iterator[Any]:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(postgres, [list(column) for column in zip(*keys, strict=True)] or [[], [], []])
        else:
            cursor.execute(sqlite, [_encode(keys).decode()])
        while rows := cursor.fetchmany(PIECE):
            yield from rows


def put_rollups(rows: Sequence[tuple[int, int, int, str]]) -> None:
    """Write (device, tier, ts, values as they are stored), new or in place of what is there."""
    if not rows:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            new = [{"d": pk, "t": tier, "s": ts, "v": msgspec.Raw(text.encode())} for pk, tier, ts, text in rows]
            cursor.execute(_PUT_POSTGRES, [_encode(new).decode()])
        else:
            cursor.executemany(_PUT_SQLITE, rows)


# -- reading one metric for a series


@contextmanager
def snapshot() -> Iterator[None]:
    """Let all reads in this block see one moment of the database; inside a transaction, as that has it."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield
    else:
        # Not Django's: its transactions begin with the lock of whoever writes.
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")


def readings(device_pk: int, metric: str, start: int, end: int, seq: int = 0) -> Iterator[tuple[int, Value]]:
    """Yield (ts, value) of one metric from the frames behind `seq` that happened in [start, end), in order of ts."""
    sql = "FROM devices_frame WHERE device_id = %s AND ts >= %s AND ts < %s AND seq > %s ORDER BY ts, seq"
    return _picked(sql, [device_pk, start, end, seq], metric, Value)


def rolled(device_pk: int, tier: int, metric: str, start: int, end: int) -> Iterator[tuple[int, Bucket]]:
    """Yield (ts, bucket) of one metric from the roll-ups of a tier that begin in [start, end), in order."""
    sql = "FROM devices_rollup WHERE device_id = %s AND tier = %s AND ts >= %s AND ts < %s ORDER BY ts"
    return _picked(sql, [device_pk, tier, start, end], metric, Bucket)


def _picked(sql: str, params: Sequence[int], metric: str, kind: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401  a type
    """PostgreSQL takes the metric out of the binary JSON; elsewhere the decoder passes over the others, as fast."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            read: Callable[[str], Any] = msgspec.json.Decoder(kind).decode
            cursor.execute(f'SELECT ts, ("values" -> %s)::text {sql}', [metric, *params])
        else:
            read = _reader(metric, kind)
            cursor.execute(f'SELECT ts, "values" {sql}', params)
        while rows := cursor.fetchmany(PIECE):
            for ts, text in rows:
                if text is not None and (value := read(text)) is not None:
                    yield ts, value


@lru_cache(maxsize=1024)
def _reader(metric: str, kind: Any) -> Callable[[str], Any]:  # noqa: ANN401  a type
    """Return what reads this member of a JSON object alone: it takes half the time of reading all."""
    if '"' in metric or "\\" in metric:  # names that the decoder's fields cannot have
        read_all = msgspec.json.Decoder(dict[str, kind]).decode
        return lambda text: read_all(text).get(metric)
    one = msgspec.defstruct("One", [("value", kind | None, None)], rename={"value": metric})
    read_one = msgspec.json.Decoder(one).decode
    return lambda text: read_one(text).value  # type: ignore[attr-defined]


# -- how much it is


def sizes(frames: int) -> tuple[int, float, float]:
    """Return the bytes of the database, and about how many a frame and a roll-up take with their indexes.

    PostgreSQL knows; SQLite knows the whole, which is shared out by samples of what is in the rows.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
            (total,) = cursor.fetchone()
            return total, _each(cursor, "devices_frame", frames), _each(cursor, "devices_rollup", None)
        cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        (total,) = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM devices_rollup")
        (rollups,) = cursor.fetchone()
        a_frame, a_rollup = (_sampled(cursor, table) for table in ("devices_frame", "devices_rollup"))
    guessed = frames * a_frame + rollups * a_rollup
    share = min(1.5, total / guessed) if guessed else 1.0
    return total, a_frame * share, a_rollup * share


def _each(cursor: Any, table: str, count: int | None) -> float:  # noqa: ANN401  Django's own has no name
    cursor.execute("SELECT pg_total_relation_size(oid), reltuples FROM pg_class WHERE oid = %s::regclass", [table])
    size, about = cursor.fetchone()
    # Before the first ANALYZE it is -1.
    rows = about if count is None else count
    # Of a table in chunks, its own size is nothing.
    return float(size / rows) if rows > 0 and size else _sampled(cursor, table)


def _sampled(cursor: Any, table: str) -> float:  # noqa: ANN401
    some = f'SELECT "values" FROM {table} LIMIT 1000'  # noqa: S608
    cursor.execute(f'SELECT avg(length(CAST("values" AS text))) FROM ({some}) AS sample')  # noqa: S608
    (length,) = cursor.fetchone()
    return _ROW + float(length or 0)
