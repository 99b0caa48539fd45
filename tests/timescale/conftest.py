"""PostgreSQL with TimescaleDB loaded, and fresh databases in it.

Not among the tests that `manage.py test` runs, for few machines have it: `python3 manage.py test tests/timescale`.
"""

from collections.abc import Callable, Iterator
from itertools import count

import psycopg
import pytest

from tests import services

# Telemetry: it would tell its maker of us.
SETTINGS = ["shared_preload_libraries=timescaledb", "timescaledb.telemetry_level=off"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Service]:
    try:
        with services.postgres(tmp_path_factory.mktemp("timescale"), more=SETTINGS) as service:
            yield service
    except (services.Missing, RuntimeError) as missing:
        pytest.skip(f"This machine's PostgreSQL does not load TimescaleDB: {missing}")


@pytest.fixture
def made(server: services.Service) -> Callable[..., str]:
    """Make a database and give its address, with a guest's name if wanted: he may not create extensions."""
    numbers = count()

    def make(*, guest: bool = False) -> str:
        name = f"db_{next(numbers)}"
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
            connection.execute(f"CREATE DATABASE {name}")
        url = server.url.rpartition("/")[0] + f"/{name}"
        if not guest:
            return url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
            connection.execute("GRANT ALL ON SCHEMA public TO guest")
        return url.replace("//hub:", "//guest:")

    return make
