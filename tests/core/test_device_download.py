"""A firmware over HTTP from a server that cuts: it goes on where it was, and is not taken unless its digest fits."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetry_hub.device import NotFetched, Update, fetch

FILE = bytes(range(256)) * 1024
DIGEST = hashlib.sha256(FILE).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Gives FILE, `cuts` times no more than a part of it; remembers what it was asked for."""

    cuts = 0
    status = 206

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[dict[str, str]] = []


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.server.status == 206 else 0
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(FILE) - start))
        self.end_headers()
        if self.server.status >= 400:
            return
        self.server.cuts -= 1
        self.wfile.write(FILE[start : start + 100_000] if self.server.cuts >= 0 else FILE[start:])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_LONGEST_PAUSE_S", 0.01)


def update(server: Server, **other: Any) -> Update:
    url = f"http://127.0.0.1:{server.server_port}/firmware/7?signed=x"
    return Update(url, len(FILE), DIGEST, "2.0")._replace(**other)


def fetched(what: Update, to: Path, login: tuple[str, str] | None = None) -> Path:
    return fetch.fetch(what, to, login, None, lambda _: None, threading.Event())


def test_a_file_that_is_cut_twice_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cuts = 2
    path = fetched(update(server), tmp_path / "firmware.bin")
    assert path.read_bytes() == FILE
    assert [asked["Range"] for asked in server.asked] == ["bytes=0-", "bytes=100000-", "bytes=200000-"]
    assert [each.name for each in tmp_path.iterdir()] == ["firmware.bin"]


def test_what_was_here_before_a_restart_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "firmware.bin.part").write_bytes(FILE[:250_000])
    assert fetched(update(server), tmp_path / "firmware.bin").read_bytes() == FILE
    assert [asked["Range"] for asked in server.asked] == ["bytes=250000-"]


def test_a_server_that_knows_no_parts_gives_it_from_the_start(server: Server, tmp_path: Path) -> None:
    server.status = 200
    (tmp_path / "firmware.bin.part").write_bytes(FILE[:99])
    assert fetched(update(server), tmp_path / "firmware.bin").read_bytes() == FILE


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"sha256": "0" * 64}, "sha256"),
        ({"size": 1000, "sha256": hashlib.sha256(FILE[:1000]).hexdigest()}, "larger"),
        ({"url": "http://192.0.2.1/firmware"}, "https"),
        ({"url": "file:///etc/passwd"}, "https"),
    ],
)
def test_what_is_not_what_was_announced_is_not_taken(
    server: Server, tmp_path: Path, other: dict[str, Any], why: str
) -> None:
    with pytest.raises(NotFetched, match=why):
        fetched(update(server, **other), tmp_path / "firmware.bin")
    assert not (tmp_path / "firmware.bin").exists()


def test_a_hub_that_does_not_give_it_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = 403
    with pytest.raises(NotFetched, match="403"):
        fetched(update(server), tmp_path / "firmware.bin")
    assert len(server.asked) == 1


def test_the_secret_goes_along_when_it_is_given_and_else_not(server: Server, tmp_path: Path) -> None:
    fetched(update(server), tmp_path / "a", ("kitchen", "hush"))
    fetched(update(server), tmp_path / "b")
    assert [asked.get("Authorization", "")[:6] for asked in server.asked] == ["Basic ", ""]
