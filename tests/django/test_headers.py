"""What every answer tells a browser to allow: on every address, in every kind of answer, in both of Django's worlds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from devices import commands
from devices.history import repairs
from devices.history.repairs import Range
from devices.models import Device, Reject
from tests.django.conftest import NOW, refuse
from tests.routes import filled, routes

POLICY: Final = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
}
OTHERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


# Where the address itself is a secret, less of it is passed on.
REFERRERS: Final = {"share": "no-referrer", "invitation": "strict-origin"}


def lacks(answer: Any, address: str = "/") -> list[str]:
    """What this answer does not tell."""
    told = answer.headers
    policy = set(told.get("Content-Security-Policy", "").split("; "))
    wrong = [f"the policy {sorted(policy ^ POLICY)}"] if policy != POLICY else []
    others = {**OTHERS, "Referrer-Policy": REFERRERS.get(address.split("/")[1], "same-origin")}
    wrong += [name for name, value in others.items() if told.get(name) != value]
    return wrong + ([] if "camera=()" in told.get("Permissions-Policy", "") else ["Permissions-Policy"])


@pytest.fixture
def anybody(client: Client) -> Client:
    """Nobody who is signed in; what a view raises becomes an answer."""
    client.raise_request_exception = False
    return client


@pytest.fixture
def addresses(pump: Device, root: User) -> list[str]:
    command, _ = commands.issue(pump, "relay", "on", user=root, now=1)
    refuse()
    repair = repairs.mark(pump, Range(None, NOW, NOW + 1), "why", root, NOW)
    one = {"key": pump.key, "slug": pump.fleet.slug, "username": root.username, "id": root.pk, "token": "x"}
    two = {"cid": command.pk, "repair": repair.pk, "pk": Reject.objects.get().pk, "code": 1, "url": "no/such/page"}
    of_admin = {"content_type_id": 1, "object_id": 1, "app_label": "devices"}
    two |= {"file": 1, "signature": "x"}
    links = {"code": 1, "invitation/<str:code>": "x", "invitation": 1, "share": "x", "secret": "x"} | {
        "job": "x",
        "schedule": 1,
    }
    samples = one | two | links | of_admin | {"admin/devices/command/<path:object_id>": command.pk}
    return [filled(route, samples) for route in routes()]


def test_every_address_says_what_a_browser_may_do_there(anybody: Client, addresses: list[str], root: User) -> None:
    found = {address: lacks(anybody.get(address), address) for address in addresses}
    anybody.force_login(root)
    for method in (anybody.get, anybody.options, anybody.post):
        found |= {f"{method.__name__} {address}": lacks(method(address), address) for address in addresses}
    assert {address: wrong for address, wrong in found.items() if wrong} == {}


def broken(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a fault of ours")


class Broken:
    """Addresses of which one does not work."""

    urlpatterns = [path("", broken)]


def as_a_stranger(_client: Client) -> Any:
    return Client(raise_request_exception=False).get("/", headers={"host": "evil.example"})


def without_a_token(_client: Client) -> Any:
    return Client(enforce_csrf_checks=True).post("/sign-in/")


ERRORS: Final[list[tuple[int, Callable[[Client], Any]]]] = [
    (400, as_a_stranger),
    (400, lambda client: client.post("/api/v1/tokens/", "{", content_type="application/json")),
    (401, lambda client: client.get("/api/v1/devices/")),
    (403, without_a_token),
    (404, lambda client: client.get("/nowhere")),
    (404, lambda client: client.get("/static/nowhere.js")),
    (405, lambda client: client.post("/healthz")),
    (200, lambda client: client.get(staticfiles_storage.url("dashboard/hub.css"))),
    (200, lambda client: client.get("/sign-in/")),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("status", "ask"), ERRORS)
def test_whatever_the_answer_is(status: int, ask: Callable[[Client], Any], anybody: Client) -> None:
    answer = ask(anybody)
    assert (answer.status_code, lacks(answer)) == (status, [])


def test_a_fault_of_ours_as_well(anybody: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = Broken
    answer = anybody.get("/")
    assert (answer.status_code, lacks(answer)) == (500, [])


async def test_under_asgi_too(async_client: AsyncClient) -> None:
    page, file = (
        await async_client.get("/sign-in/"),
        await async_client.get(staticfiles_storage.url("dashboard/hub.css")),
    )
    assert (lacks(page), lacks(file)) == ([], [])


def test_no_cache_keeps_what_was_made_for_somebody(anybody: Client, addresses: list[str], root: User) -> None:
    anybody.force_login(root)
    kept = [one for one in addresses if "no-store" not in anybody.get(one).headers["Cache-Control"]]
    assert kept == []
    assert "max-age" in anybody.get(staticfiles_storage.url("dashboard/hub.css")).headers["Cache-Control"]


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "http:///evil.example"],
)
def test_nobody_is_sent_to_another_place_after_what_they_did(target: str, client: Client, alice: User) -> None:
    asked = {"username": "alice", "password": "correct horse battery", "next": target}
    assert client.post("/sign-in/", asked).headers["Location"] == "/"
    assert client.post("/rejects/replay/", {"next": target}).headers["Location"] == "/rejects/"
    assert client.post("/sign-out/", {"next": target}).headers["Location"] == "/sign-in/"
