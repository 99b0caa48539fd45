"""The journal as a hypertable, where PostgreSQL has TimescaleDB: why it cannot be, and how it becomes one. SQL only.

Used by the migration and by `manage.py timescale`. Reading and writing know nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

DAY_MS: Final = 86_400_000
# Each question by seq or mark looks into every chunk, so few: three months are three of these and thirteen of a week,
# and a look-up of 1,000 marks takes 3 times as long as in one table instead of 25 times.
CHUNK_MS: Final = 30 * DAY_MS
# Retention at short notice and exports of last month still meet rows; a compressed chunk has a seventh of the bytes.
COMPRESS_AFTER_MS: Final = 30 * DAY_MS
# Since 2.18 compression is called columnstore.
OLDEST: Final = (2, 18)

# Only the library, loaded at the server's start, knows this setting. shared_preload_libraries is shown to few.
_LOADED: Final = "SELECT current_setting('timescaledb.disable_load', true) IS NOT NULL"
_INSTALLED: Final = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
_ON_OFFER: Final = "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
_ALLOWED: Final = """
SELECT bool_or(current_setting('is_superuser') = 'on'
    OR trusted AND has_database_privilege(current_database(), 'CREATE'))
FROM pg_available_extension_versions AS one JOIN pg_available_extensions AS newest USING (name)
WHERE name = 'timescaledb' AND one.version = newest.default_version
"""
_ADOPTED: Final = "SELECT count(*) FROM timescaledb_information.hypertables WHERE hypertable_name = 'devices_frame'"
_LICENSE: Final = "SELECT current_setting('timescaledb.license', true)"
_SOME: Final = "SELECT count(*) FROM (SELECT 1 FROM devices_frame LIMIT %s) AS first"

# A unique key of a hypertable has to contain what it is partitioned by; that no seq is given twice is up to the
# lock of the head's row.
_ADOPT: Final = f"""
ALTER TABLE devices_frame DROP CONSTRAINT devices_frame_pkey,
    ADD CONSTRAINT devices_frame_pkey PRIMARY KEY (device_id, seq, received_at);
SELECT create_hypertable('devices_frame', by_range('received_at', {CHUNK_MS}::bigint),
    create_default_indexes => false, migrate_data => true);
CREATE OR REPLACE FUNCTION hub_now_ms() RETURNS bigint LANGUAGE sql STABLE
    AS 'SELECT (extract(epoch FROM now()) * 1000)::bigint';
SELECT set_integer_now_func('devices_frame', 'hub_now_ms');
"""  # noqa: S608 - a number of our own
# Without ts in the order every question for a time would unpack the device's whole history.
_COMPRESS: Final = f"""
ALTER TABLE devices_frame SET (timescaledb.enable_columnstore,
    timescaledb.segmentby = 'device_id', timescaledb.orderby = 'seq, ts');
CALL add_columnstore_policy('devices_frame', after => {COMPRESS_AFTER_MS}::bigint);
"""


def why_not(connection: BaseDatabaseWrapper) -> str | None:
    """Say what stands in the way, and how it is removed; None: nothing does."""
    if connection.vendor != "postgresql":
        return f"The database is {connection.display_name}; TimescaleDB is an extension of PostgreSQL."
    version = _one(connection, _INSTALLED) or _one(connection, _ON_OFFER)
    if version is None:
        return "This PostgreSQL server has no TimescaleDB: install its package for the server's version."
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return f"TimescaleDB {version} is too old: update it to {'.'.join(map(str, OLDEST))} or newer."
    if not _one(connection, _LOADED):
        return "The server has not loaded TimescaleDB: add timescaledb to shared_preload_libraries, and restart it."
    if not _one(connection, _INSTALLED) and not _one(connection, _ALLOWED):
        return "This user may not create extensions: CREATE EXTENSION timescaledb in this database, as a superuser."
    return None


def is_adopted(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the journal is a hypertable; the extension may be missing altogether."""
    return bool(connection.vendor == "postgresql" and _one(connection, _INSTALLED) and _one(connection, _ADOPTED))


def has_more_than(connection: BaseDatabaseWrapper, rows: int) -> bool:
    """Tell whether the journal is so long that moving it is somebody's decision; reads no more rows than that."""
    return bool(_one(connection, _SOME, rows + 1) > rows)


def adopt(connection: BaseDatabaseWrapper) -> bool:
    """Make the journal a hypertable, and compress what is old if the licence has that; False: it was one already.

    Call it in a transaction, when why_not() has no objection. Rows that are there are moved: nobody writes meanwhile.
    """
    if is_adopted(connection):
        return False
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        cursor.execute(_ADOPT)
        if _one(connection, _LICENSE) == "timescale":
            cursor.execute(_COMPRESS)
    return True


def _one(connection: BaseDatabaseWrapper, query: str, *values: int) -> Any:  # noqa: ANN401 - what the query gives
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        row = cursor.fetchone()
    return row[0] if row else None
