"""What another machine asks in plain text is refused, at the server's entrance, unless it was allowed."""

import json
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.core.handlers.asgi import ASGIHandler
from pytest_django import Settings

from hub.asgi import application
from hub.plain import Application, private
from tests.django.live import PATIENCE_S

HERE = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.",
    "127.0.0.1",
    "127.3.2.1:80",
    "[::1]",
    "[::1]:8000",
    "hub.localhost",
]
ELSEWHERE = ["hub.example.org", "192.0.2.7:8000", "[2001:db8::1]", "localhost.example.org", "127.0.0.1.example.org", ""]
EXEMPT = ["/healthz", "/metrics"]


@pytest.fixture(autouse=True)
def as_shipped(settings: Settings) -> None:
    settings.HUB_PLAIN = ()
    settings.ALLOWED_HOSTS = ["*"]


def written(host: str, headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), text.encode()) for name, text in {"host": host, **headers}.items()]


async def ask(
    path: str, host: str, *, scheme: str = "http", entrance: Application | None = None, **headers: str
) -> tuple[int, dict[bytes, bytes], str]:
    asked = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": scheme, "path": path}
    given = {"query_string": b"", "headers": written(host, headers), "client": ("192.0.2.9", 9)}
    answer = ApplicationCommunicator(entrance or application, asked | given)
    await answer.send_input({"type": "http.request", "body": b"", "more_body": False})
    start = await answer.receive_output(PATIENCE_S)
    body = await answer.receive_output(PATIENCE_S)
    await answer.wait(PATIENCE_S)
    named = {name.lower(): text for name, text in start["headers"]}
    return start["status"], named, body["body"].decode(errors="replace")


async def socket(host: str, *, scheme: str = "ws", **headers: str) -> int:
    """Open a socket and say nonsense; the code that it is closed with: 4400 is said by who was let in."""
    wire = WebsocketCommunicator(application, "/ws/v1/live/", written(host, headers))
    wire.scope["scheme"] = scheme
    accepted, _ = await wire.connect(PATIENCE_S)
    assert accepted
    await wire.send_to(text_data="nonsense")
    closed: dict[str, Any] = await wire.receive_output(PATIENCE_S)
    await wire.disconnect(timeout=PATIENCE_S)
    return int(closed["code"])


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_another_machine_is_told_what_to_do_instead(host: str) -> None:
    status, headers, said = await ask("/sign-in/", host)
    assert (status, headers[b"content-type"]) == (403, b"text/plain; charset=utf-8")
    assert "HUB_ORIGINS=https://" in said
    assert "HUB_PLAIN=http" in said


async def test_a_program_is_told_so_as_the_api_says_things() -> None:
    status, headers, said = await ask("/api/v1/devices/", "hub.example.org", authorization="Token x")
    assert (status, headers[b"content-type"]) == (403, b"application/json")
    assert json.loads(said)["code"] == "plain"


@pytest.mark.django_db
@pytest.mark.parametrize("host", HERE)
async def test_this_machine_itself_is_served(host: str) -> None:
    assert (await ask("/sign-in/", host))[0] == 200


@pytest.mark.django_db
async def test_what_came_encrypted_is_served() -> None:
    assert (await ask("/sign-in/", "hub.example.org", scheme="https"))[0] == 200


async def test_nobody_is_believed_to_come_over_tls_without_a_proxy_that_was_named() -> None:
    assert (await ask("/sign-in/", "hub.example.org", x_forwarded_proto="https"))[0] == 403
    assert await socket("hub.example.org", x_forwarded_proto="https") == 4403


@pytest.mark.parametrize("path", EXEMPT)
async def test_the_machines_own_questions_are_answered(path: str) -> None:
    assert (await ask(path, "192.0.2.7:8000"))[0] == 200


@pytest.mark.django_db
async def test_what_was_allowed_is_served(settings: Settings) -> None:
    settings.HUB_PLAIN = ("http",)
    assert (await ask("/sign-in/", "hub.example.org"))[0] == 200
    assert await socket("hub.example.org") == 4400


async def test_that_mqtt_may_be_plain_is_no_word_about_http(settings: Settings) -> None:
    settings.HUB_PLAIN = ("mqtt",)
    assert (await ask("/sign-in/", "hub.example.org"))[0] == 403


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_a_plain_socket_of_another_machine_is_closed(host: str) -> None:
    assert await socket(host) == 4403


@pytest.mark.parametrize(("host", "scheme"), [("localhost:8000", "ws"), ("hub.example.org", "wss")])
async def test_a_socket_of_this_machine_or_over_tls_is_let_in(host: str, scheme: str) -> None:
    assert await socket(host, scheme=scheme) == 4400


@pytest.fixture
def behind_a_proxy(settings: Settings) -> None:
    """As settings.py makes it of HUB_ORIGINS=https://hub.example.org."""
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


@pytest.mark.django_db
@pytest.mark.usefixtures("behind_a_proxy")
async def test_behind_a_proxy_what_is_plain_is_redirected_and_sockets_are_closed() -> None:
    as_told = private(ASGIHandler())  # Django reads these settings when it starts
    status, headers, _ = await ask("/sign-in/", "hub.example.org", entrance=as_told)
    assert (status, headers[b"location"]) == (301, b"https://hub.example.org/sign-in/")
    through = await ask("/sign-in/", "hub.example.org", entrance=as_told, x_forwarded_proto="https")
    assert through[0] == 200
    assert await socket("hub.example.org") == 4403
    assert await socket("hub.example.org", x_forwarded_proto="http") == 4403
    assert await socket("hub.example.org", x_forwarded_proto="https") == 4400
