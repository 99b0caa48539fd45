"""Long answers and sockets through a real Daphne: it holds no more than was taken, and outlives what breaks off."""

import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests import services
from tests.hub import BIN, eventually
from tests.services import LOOPBACK, ROOT
from tests.system.streams import PART, PARTS

# What the kernel's buffers of both ends take is some MB.
HELD = PARTS / 4


@pytest.fixture(scope="module")
def daphne(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Service]:
    port = services.free_port()
    command = [sys.executable, BIN / "daphne", "-b", LOOPBACK, "-p", str(port), "tests.system.streams:app"]
    log = tmp_path_factory.mktemp("daphne") / "daphne.log"
    service = services.Service(command, port, f"http://{LOOPBACK}:{port}", log, env={"PYTHONPATH": str(ROOT)})
    with services.running(service):
        yield service


def asked(daphne: services.Service, path: str) -> socket.socket:
    """Ask, and read nothing yet."""
    client = socket.create_connection((LOOPBACK, daphne.port), timeout=20)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    return client


def drain(client: socket.socket) -> None:
    while client.recv(1 << 20):
        pass


def given(daphne: services.Service) -> dict[str, int]:
    told: Any = httpx.get(f"{daphne.url}/given").json()
    return dict(told)


def at_rest(daphne: services.Service) -> int:
    """How many parts were given to Daphne once it takes no more for a second."""
    before, since = -1, time.monotonic()

    def resting() -> bool:
        nonlocal before, since
        now = given(daphne)["parts"]
        if now != before or not now:
            before, since = now, time.monotonic()
        return time.monotonic() - since > 1

    eventually(resting, "the answer neither ends nor rests")
    return before


def test_nothing_is_held_for_who_does_not_read_and_all_of_it_comes_when_they_do(daphne: services.Service) -> None:
    with asked(daphne, "/long") as client:
        held = at_rest(daphne)
        assert held < HELD, f"{held * len(PART) / 1e6:.0f} MB were given to one who reads nothing"
        tail = b""
        count = 0
        while got := client.recv(1 << 20):
            count += len(got)
            tail = (tail + got)[-20:]
    assert count > PARTS * len(PART)
    assert tail.endswith(b"end\r\n0\r\n\r\n")


def test_one_who_goes_away_ends_the_reading(daphne: services.Service) -> None:
    left = given(daphne)["left"]
    client = asked(daphne, "/long")
    at_rest(daphne)
    client.close()
    # Django cancels what is asked for by one who has gone; here nobody does, and what is sent goes nowhere.
    eventually(lambda: given(daphne)["left"] == left + 1, "the answer goes on")


def test_one_who_takes_nothing_can_be_cut_off_with_what_waits_for_them(daphne: services.Service) -> None:
    left = given(daphne)["left"]
    with asked(daphne, "/stuck") as client:
        eventually(lambda: given(daphne)["left"] == left + 1, "the answer stays")
        with pytest.raises(ConnectionResetError):
            drain(client)


def test_a_broken_answer_does_not_look_whole_and_daphne_lives_on(daphne: services.Service) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        httpx.get(f"{daphne.url}/broken")
    # It answers for what fails before an answer by a check once a second, which must not have fallen over.
    assert httpx.get(f"{daphne.url}/raise", timeout=20).status_code == 500


# --- sockets


def opened(daphne: services.Service, path: str) -> ClientConnection:
    return connect(f"ws://{LOOPBACK}:{daphne.port}{path}", proxy=None, max_size=None, max_queue=1)


def test_nothing_is_held_for_a_socket_that_is_not_read_and_all_of_it_comes_when_it_is(
    daphne: services.Service,
) -> None:
    with opened(daphne, "/flood") as client:
        held = at_rest(daphne)
        assert held < HELD, f"{held * len(PART) / 1e6:.0f} MB were given to one who reads nothing"
        assert all(client.recv(timeout=20) == PART.decode() for _ in range(PARTS))


def test_what_is_written_straight_to_a_socket_keeps_its_place_and_waits_as_well(daphne: services.Service) -> None:
    with opened(daphne, "/straight") as client:
        held = at_rest(daphne)
        assert held < HELD, f"{held} parts were given to one who reads nothing"
        heard = [str(client.recv(timeout=20)).partition(" ") for _ in range(PARTS)]
    assert [(int(number), len(rest) // len(PART)) for number, _, rest in heard] == [(n, n % 3) for n in range(PARTS)]


def upgraded(daphne: services.Service, path: str) -> socket.socket:
    """Open a socket, and read nothing yet."""
    client = socket.create_connection((LOOPBACK, daphne.port), timeout=20)
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n{upgrade}{key}\r\n".encode())
    return client


def test_a_socket_that_is_not_read_is_closed_all_the_same(daphne: services.Service) -> None:
    left = given(daphne)["left"]
    client = upgraded(daphne, "/shut")
    eventually(lambda: given(daphne)["left"] == left + 1, "the socket stays")
    client.close()


def test_one_who_says_goodbye_while_the_pipe_is_full_is_let_go(daphne: services.Service) -> None:
    left, full = given(daphne)["left"], given(daphne)["full"]
    with upgraded(daphne, "/full") as client:
        eventually(lambda: given(daphne)["full"] == full + 1, "the pipe takes it all")
        client.sendall(b"\x88\x82" + bytes(4) + (1000).to_bytes(2, "big"))
        time.sleep(0.2)  # it is heard before any of what waits is taken
        drain(client)
    eventually(lambda: given(daphne)["left"] == left + 1, "the socket stays")


def test_who_is_connected_when_the_server_ends_is_told_that_it_restarts(daphne: services.Service) -> None:
    with opened(daphne, "/wait") as client:
        daphne.stop()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=20)
    daphne.start()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
