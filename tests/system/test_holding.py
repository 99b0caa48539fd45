"""The database cannot store: nothing is acknowledged, everybody is told why, and it goes on by itself, unrestarted."""

import signal
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import httpx
import psycopg
import pytest

from tests import services
from tests.hub import Production, eventually, running_production
from tests.system.test_standby import Plain, publishing

MORE: Final = 60
NUMBERS: Final = count(1)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    try:
        with running_production(tmp_path_factory.mktemp("holding")) as running:
            yield running
    except services.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def device(hub: Production) -> Iterator[Plain]:
    with publishing(hub, f"plain-{next(NUMBERS)}") as plain:
        plain.send(MORE)
        plain.check()
        yield plain


def bridge_is(hub: Production) -> str:
    """What a supervisor is told."""
    told = httpx.get(f"{hub.url}/readyz", timeout=30, trust_env=False).json()
    return str(told["bridge"])


def read_only(hub: Production, *, on: bool) -> None:
    with psycopg.connect(hub.postgres.url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
        connection.execute("SELECT pg_reload_conf()")
    # It is reloaded some time later: until then a frame could still be stored.
    eventually(lambda: default_of(hub) == ("on" if on else "off"), "the server has read its configuration")


def default_of(hub: Production) -> str:
    with psycopg.connect(hub.postgres.url, autocommit=True) as connection:
        (default,) = connection.execute("SHOW default_transaction_read_only").fetchone() or ("",)
    return str(default)


def test_a_database_that_became_read_only(hub: Production, device: Plain) -> None:
    pid = hub.bridges[0].pid
    eventually(lambda: bridge_is(hub) == "ok", "the web hears the bridge")
    with hub.live() as live:
        live.sub(device.device.key)
        read_only(hub, on=True)
        try:
            device.send(MORE)
            told = live.until(type="hub")
            assert (told["storing"], told["because"]) == (False, "the database is read-only")
            assert abs(time.time() * 1000 - told["since"]) < 60_000
            assert len(device.values()) == MORE
            eventually(lambda: bridge_is(hub) == "holding")
            with hub.live() as late:
                assert late.until(type="hub")["because"] == "the database is read-only"
            alive = hub.folder / "bridge-main.alive"
            seen = alive.stat().st_mtime
            eventually(lambda: alive.stat().st_mtime > seen, "it is alive all the same")
        finally:
            read_only(hub, on=False)
        assert live.until(type="hub")["storing"] is True
    device.check()
    assert gauge(hub, "hub_bridge_holding") == 0.0
    assert hub.bridges[0].pid == pid


def gauge(hub: Production, name: str) -> float:
    page = httpx.get(f"{hub.url}/metrics", timeout=30, trust_env=False).text
    (line,) = [line for line in page.splitlines() if line.startswith(f'{name}{{bridge="main"}}')]
    return float(line.rpartition(" ")[2])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_database_that_went_away(hub: Production, device: Plain, how: signal.Signals) -> None:
    eventually(lambda: bridge_is(hub) == "ok", "the web hears the bridge")
    pid = hub.bridges[0].pid
    with hub.live() as live:
        live.sub(device.device.key)
        hub.postgres.end_with(how)
        try:
            device.send(MORE)
            told: Any = live.until(type="hub", storing=False)
            assert told["because"] in {"the database is away", "this bridge looks whether it is still the active one"}
        finally:
            hub.postgres.start()
        live.until(type="hub", storing=True)
    device.check()
    assert hub.bridges[0].pid == pid


def test_without_redis_ingest_goes_on_and_nobody_says_that_the_bridge_is_gone(hub: Production, device: Plain) -> None:
    eventually(lambda: bridge_is(hub) == "ok", "the web hears the bridge")
    with hub.live() as live:
        live.sub(device.device.key)
        hub.redis.kill()
        try:
            began = time.monotonic()
            for _ in range(4):
                device.send(MORE)
                device.check()
            assert device.count == 5 * MORE
            # Longer than the silence after which a bridge is called gone.
            while time.monotonic() - began < 20:
                device.send(MORE)
                device.check()
        finally:
            hub.redis.start()
        eventually(lambda: bridge_is(hub) == "ok", "the web hears the bridge again")
    assert [message for message in live.heard if message["type"] == "hub"] == []


def test_a_bridge_that_is_gone_is_missed(hub: Production, device: Plain) -> None:
    eventually(lambda: bridge_is(hub) == "ok", "the web hears the bridge")
    (bridge,) = hub.bridges
    with hub.live() as live:
        live.sub(device.device.key)
        bridge.kill()
        try:
            assert live.until(type="hub")["because"] == "no bridge is running"
            assert bridge_is(hub) == "unknown"
            device.send(MORE)
        finally:
            bridge.start()
        live.until(type="hub", storing=True)
    device.check()
