"""Withdrawn while Redis is dead, and by a page's own sign-out: through real web servers, within 1 s."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.hub import PATIENCE_S, Hub, Production
from tests.live import Live
from tests.system.test_path import signed_in

WITHIN_S = 1.0


@pytest.fixture
def deaf(production: Production) -> Iterator[Production]:
    """Production without Redis."""
    production.redis.kill()
    yield production
    production.redis.start()


def sign_out(browser: httpx.Client) -> float:
    """Press the button; return when it was done."""
    form = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    browser.post("/sign-out/", data=form, headers={"Referer": str(browser.base_url)}).raise_for_status()
    return time.monotonic()


@contextmanager
def socket_of(browser: httpx.Client, hub: Hub) -> Iterator[ClientConnection]:
    """The socket that a page of this browser opens."""
    cookie = f"sessionid={browser.cookies['sessionid']}"
    with connect(hub.socket_url, additional_headers={"Cookie": cookie}, origin=Origin(hub.url), proxy=None) as socket:
        assert json.loads(socket.recv(timeout=PATIENCE_S))["type"] == "welcome"
        yield socket


def closes(socket: ClientConnection, began: float) -> int:
    """The code with which it closes in time; what was said before is not of interest."""
    with pytest.raises(ConnectionClosed) as closed:
        drain(socket)
    assert time.monotonic() - began <= WITHIN_S
    assert closed.value.rcvd is not None
    return int(closed.value.rcvd.code)


def drain(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=PATIENCE_S)


def test_a_pages_sign_out_closes_its_socket_and_no_other(anywhere: Hub) -> None:
    with (
        signed_in(anywhere, "charlie") as browser,
        signed_in(anywhere, "charlie") as elsewhere,
        socket_of(browser, anywhere) as page,
        socket_of(elsewhere, anywhere) as other,
    ):
        assert closes(page, sign_out(browser)) == 4401
        with pytest.raises(TimeoutError):
            other.recv(timeout=WITHIN_S)
        other.send('{"type":"ping"}')
        assert json.loads(other.recv(timeout=PATIENCE_S)) == {"type": "pong"}


def test_without_redis_a_sign_out_closes_and_a_move_by_sql_ends(deaf: Production) -> None:
    key = deaf.add_device("moves-by-sql", fleet="brewery", user="charlie").key
    move = "UPDATE devices_device SET fleet_id = (SELECT id FROM devices_fleet WHERE slug = 'main') WHERE key = %s"
    with signed_in(deaf, "charlie") as browser, socket_of(browser, deaf) as page, deaf.live("charlie") as live:
        watches(live, key)
        with deaf.live() as admin, psycopg.connect(deaf.postgres.url, autocommit=True) as sql:
            watches(admin, key)
            sql.execute(move, [key])
            began = time.monotonic()
            assert live.until(type="end")["reason"] == "permission_revoked"
            assert time.monotonic() - began <= WITHIN_S
            assert closes(page, sign_out(browser)) == 4401
            sql.execute("UPDATE auth_user SET is_active = false WHERE username = 'charlie'")
            try:
                assert closes(live.socket, time.monotonic()) == 4401
            finally:
                sql.execute("UPDATE auth_user SET is_active = true WHERE username = 'charlie'")
            admin.say(kind="ping")
            admin.until(type="pong")
            assert not [message for message in admin.heard if message["type"] in {"end", "err"}]


def watches(live: Live, key: str) -> None:
    assert live.sub(key)["type"] == "ok"
    live.until(type="live")
