"""What the hub asks of other machines, of real servers on this one: exactly the place that was checked, briefly."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices import outgoing
from devices.errors import Refusal

BODY = b'{"a": 1}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell"
NAME = "hooks.test"


class Server:
    """One that remembers what it was asked, and answers by a function that is given its socket."""

    def __init__(self, answer: Callable[[Any], None], context: ssl.SSLContext | None = None) -> None:
        self.heard: list[bytes] = []
        heard = self.heard

        class Answering(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), ExitStack() as stack:  # whoever asked may have gone
                    line = self.request
                    if context:
                        line = stack.enter_context(context.wrap_socket(line, server_side=True))
                    asked = line.recv(65536)
                    while not asked.endswith(BODY):
                        asked += line.recv(65536)
                    heard.append(asked)
                    answer(line)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


Serve = Callable[..., Server]


@pytest.fixture
def serve(settings: Any) -> Iterator[Serve]:
    """Start a server that the hub may ask by the name hooks.test, or one that it may not."""
    with ExitStack() as stack:

        def started(answer: bytes | Callable[[Any], None] = OK, *, allowed: bool = True, **how: Any) -> Server:
            server = Server(answer if callable(answer) else lambda line: line.sendall(answer), **how)
            stack.callback(server.close)
            if allowed:
                settings.HUB_OUTGOING = (*settings.HUB_OUTGOING, (NAME, server.port), ("other.test", server.port))
            return server

        yield started


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names mean; each time one is looked up, its next meaning, and the last one from then on."""
    meanings = {NAME: ["127.0.0.1"], "other.test": ["127.0.0.1"]}
    asked = socket.getaddrinfo

    def looked_up(host: str, *args: Any, **more: Any) -> Any:
        if host in meanings:
            found = meanings[host]
            host = found.pop(0) if len(found) > 1 else found[0]
        return asked(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    return meanings


def post(port: int, host: str = NAME, scheme: str = "http") -> outgoing.Answer:
    return outgoing.post(f"{scheme}://{host}:{port}/hook?a=b", BODY, {"Content-Type": "application/json"})


@contextmanager
def shorter(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    """Nobody waits longer than this, whatever comes."""
    monkeypatch.setattr(outgoing, "WITHIN_S", seconds)
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + 2


def test_what_is_sent_arrives_with_its_headers_and_is_answered(serve: Serve) -> None:
    server = serve()
    assert post(server.port) == (200, b"well")
    (heard,) = server.heard
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /hook?a=b HTTP/1.1"
    for line in (f"Host: {NAME}:{server.port}".encode(), b"Content-Type: application/json", b"Content-Length: 8"):
        assert line in head.splitlines()
    assert body == BODY


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "other.test", "0.0.0.0"])
def test_this_machine_is_not_asked_by_any_other_name(host: str, serve: Serve) -> None:
    server = serve(allowed=False)
    with pytest.raises(Refusal, match=r"Port .* is none of|not on the public internet") as refused:
        post(server.port, host)
    with pytest.raises(Refusal, match="not on the public internet"):
        outgoing.check(f"http://{host}/")
    assert (refused.value.code, list(refused.value.fields or {}), server.heard) == ("address_refused", ["url"], [])


def test_a_name_that_means_another_machine_by_then_leads_nowhere(serve: Serve, names: dict[str, list[str]]) -> None:
    first = serve()
    names[NAME] = ["127.0.0.1", "127.0.0.2"]
    assert post(first.port).status == 200
    assert names[NAME] == ["127.0.0.2"]  # it was looked up once


def test_nor_does_one_that_means_this_machine_after_it_was_checked(
    serve: Serve, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(allowed=False)
    monkeypatch.setattr("devices.addresses.USUAL", frozenset((server.port,)))
    names["rebound.test"] = ["2000::1", "127.0.0.1"]  # the first is public, and nobody's
    with shorter(monkeypatch, 0.3), pytest.raises(outgoing.Unanswered):
        post(server.port, "rebound.test")
    assert (names["rebound.test"], server.heard) == (["127.0.0.1"], [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status: int, serve: Serve) -> None:
    inner = serve()
    there = f"http://{NAME}:{inner.port}/inner"
    server = serve(f"HTTP/1.1 {status} Moved\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode())
    assert post(server.port) == (status, b"")
    assert inner.heard == []


def forever(part: bytes, head: bytes = b"", pause_s: float = 0.0) -> Callable[[Any], None]:
    def answer(line: Any) -> None:
        line.sendall(head)
        while True:
            line.sendall(part)
            time.sleep(pause_s)

    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    ],
)
def test_of_an_endless_answer_only_the_beginning_is_read(head: bytes, serve: Serve) -> None:
    answer = post(serve(forever(b"x" * 65536, head)).port)
    assert (answer.status, len(answer.body)) == (200, outgoing.MOST)


@pytest.mark.parametrize(
    ("part", "head"),
    [
        (b"x", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"x", b"HTTP/1.1 200 OK\r\nX-Slow: "),
        (b"H", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b""),
    ],
)
def test_a_slow_answer_is_given_up(part: bytes, head: bytes, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(forever(part, head, pause_s=0.01))
    with shorter(monkeypatch, 0.3), pytest.raises(outgoing.Unanswered, match=r"within 0\.3 s"):
        post(server.port)


def test_so_is_silence(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = threading.Event()
    server = serve(lambda _line: quiet.wait(5))
    with shorter(monkeypatch, 0.3), pytest.raises(outgoing.Unanswered, match=r"within 0\.3 s"):
        post(server.port)
    quiet.set()


def test_and_a_slow_name(names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    known = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: known.wait(5))
    with shorter(monkeypatch, 0.2), pytest.raises(outgoing.Unanswered, match=r"within 0\.2 s"):
        outgoing.check("https://slow.test/")
    known.set()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
    ],
)
def test_what_is_no_answer_is_said_to_be_none(answer: bytes, serve: Serve) -> None:
    with pytest.raises(outgoing.Unanswered, match=f"{NAME}:.* did not answer: "):
        post(serve(answer).port)


def test_nobody_there_is_no_answer_and_a_name_of_nobody_neither(settings: Any) -> None:
    settings.HUB_OUTGOING = ((NAME, 1),)
    with pytest.raises(outgoing.Unanswered, match="refused"):
        post(1)
    with pytest.raises(outgoing.Unanswered):
        outgoing.check("https://no-such-name.invalid/")


def test_a_header_holds_one_line(serve: Serve) -> None:
    with pytest.raises(ValueError, match="header"):
        outgoing.post(f"http://{NAME}:{serve().port}/", b"", {"X-Name": "a\r\nX-Other: b"})


def authority(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate that vouches for itself, for a server of this name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    signed = made.sign(key, hashes.SHA256())
    path, secret = folder / "certificate.pem", folder / "key.pem"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return path, context


def test_a_certificate_has_to_be_trusted_and_of_that_name(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, context = authority(tmp_path, NAME)
    server = serve(context=context)
    with pytest.raises(outgoing.Unanswered, match="self-signed certificate"):
        post(server.port, scheme="https")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert post(server.port, scheme="https") == (200, b"well")
    with pytest.raises(outgoing.Unanswered, match=r"certificate is not valid for 'other\.test'"):
        post(server.port, "other.test", "https")
    assert len(server.heard) == 1
