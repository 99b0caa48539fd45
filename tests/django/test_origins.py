"""From which pages something may be done with a visitor's cookie: by socket, and by POST. One table for both."""

from typing import Any, Final, NamedTuple

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIRequest
from django.test import Client

from dashboard import origins
from devices.models import Device
from tests.django.live import Live, by_cookie, run, token

pytest_plugins = ("tests.django.live_fixtures",)

HOST: Final = "hub.example.org"
HOSTS: Final = (HOST, "localhost", "[::1]")
LISTED: Final = ("https://hub.example.org", "https://Ops.example.org:8443")


class Door(NamedTuple):
    """Under which address the hub is asked, and what is set."""

    own: str = f"http://{HOST}"
    listed: tuple[str, ...] = ()
    hosts: tuple[str, ...] = HOSTS


PLAIN: Final = Door()
PORT: Final = Door("http://localhost:8000")
SIX: Final = Door("http://[::1]:8000")
ANY_NAME: Final = Door(hosts=("*",))
SET: Final = Door(f"https://{HOST}", LISTED)
SET_BUT_PLAIN: Final = Door(f"http://{HOST}", LISTED)

# What a browser says of the page, at which door, and whether a page of that origin is one of ours.
TABLE: Final = [
    # one's own page
    ("http://hub.example.org", PLAIN, True),
    ("http://hub.example.org:80", PLAIN, True),
    ("http://hub.example.org", Door(f"http://{HOST}:80"), True),
    ("https://hub.example.org", Door(f"https://{HOST}:443"), True),
    ("http://localhost:8000", PORT, True),
    ("http://[::1]:8000", SIX, True),
    ("http://HUB.example.org", PLAIN, True),
    # another scheme, another port
    ("https://hub.example.org", PLAIN, False),
    ("http://hub.example.org", Door(f"https://{HOST}"), False),
    ("http://hub.example.org:8000", PLAIN, False),
    ("http://hub.example.org:443", PLAIN, False),
    ("http://hub.example.org", Door(f"http://{HOST}:8000"), False),
    ("http://localhost", PORT, False),
    ("http://127.0.0.1:8000", PORT, False),
    ("http://[::1]", SIX, False),
    ("http://[::2]:8000", SIX, False),
    ("http://::1:8000", SIX, False),
    # another host, and tricks that end, begin or look like ours
    ("http://evil.example", PLAIN, False),
    ("http://hub.example.org.evil.example", PLAIN, False),
    ("http://evilhub.example.org", PLAIN, False),
    ("http://evil.example.hub.example.org", PLAIN, False),
    ("http://hub.example.org@evil.example", PLAIN, False),
    ("http://evil.example@hub.example.org", PLAIN, False),
    ("http://user:word@hub.example.org", PLAIN, False),
    ("http://hub.example.org/", PLAIN, False),
    ("http://hub.example.org#", PLAIN, False),
    ("http://evil.example#hub.example.org", PLAIN, False),
    ("http://evil.example?http://hub.example.org", PLAIN, False),
    ("http://hub.example.org\\.evil.example", PLAIN, False),
    ("http://h\xfcb.example.org", PLAIN, False),
    ("http://xn--hb-xka.example.org", PLAIN, False),
    (" http://hub.example.org", PLAIN, False),
    ("http://hub.example.org, http://evil.example", PLAIN, False),
    ("http://evil.example, http://hub.example.org", PLAIN, False),
    # no page at all
    ("null", PLAIN, False),
    ("file://", PLAIN, False),
    ("hub.example.org", PLAIN, False),
    # a page under a name that its owner lets point here: the Host header agrees, and the name is not ours
    ("http://rebound.example", Door("http://rebound.example"), False),
    # every name is said to be ours: that of another page is still another
    ("http://hub.example.org", ANY_NAME, True),
    ("http://evil.example", ANY_NAME, False),
    ("null", ANY_NAME, False),
    # HUB_ORIGINS
    ("https://hub.example.org", SET, True),
    ("https://hub.example.org:443", SET, True),
    ("https://ops.example.org:8443", SET, True),
    ("https://HUB.EXAMPLE.ORG", SET, True),
    ("https://ops.example.org", SET, False),
    ("http://hub.example.org", SET, False),
    ("https://evil.example", SET, False),
    ("https://hub.example.org.evil.example", SET, False),
    ("null", SET, False),
    ("https://hub.example.org", SET_BUT_PLAIN, True),
    ("http://hub.example.org", SET_BUT_PLAIN, False),
]
# What Django reads otherwise, and why that is well. A POST has its secret besides.
LAXER: Final = [
    ("http://hub.example.org", SET_BUT_PLAIN),  # its own page, whatever is listed; over TLS there is no such page
]
STRICTER: Final = [
    # Browsers write neither capitals nor the usual port.
    ("http://HUB.example.org", PLAIN),
    ("http://hub.example.org:80", PLAIN),
    ("http://hub.example.org", Door(f"http://{HOST}:80")),
    ("https://hub.example.org", Door(f"https://{HOST}:443")),
    ("https://HUB.EXAMPLE.ORG", SET),
    ("https://hub.example.org:443", SET),
    ("https://ops.example.org:8443", SET),
]


@pytest.fixture
def door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Have the hub stand behind this door."""
    monkeypatch.setattr(settings, "HUB_ORIGINS", request.param.listed)
    monkeypatch.setattr(settings, "CSRF_TRUSTED_ORIGINS", list(request.param.listed))
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", list(request.param.hosts))
    door: Door = request.param
    return door


@pytest.mark.parametrize(("origin", "door", "fits"), TABLE)
def test_which_pages_are_ours(origin: str, door: Door, fits: bool) -> None:
    assert origins.allowed(origin, door.own, door.listed, door.hosts) == fits


@pytest.mark.parametrize("origin", ["http://\u212aub.example.org", "http://hub.example.\uff4frg"])
def test_what_only_looks_like_our_name_is_not_ours(origin: str) -> None:
    assert not origins.allowed(origin, "http://kub.example.org", (), ["kub.example.org", HOST])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("given", "door", "code"),
    [
        (["http://hub.example.org"], PLAIN, 0),
        (["http://localhost:8000"], PORT, 0),
        (["https://hub.example.org"], Door(f"https://{HOST}"), 0),
        (["https://hub.example.org"], SET_BUT_PLAIN, 0),
        (["http://hub.example.org"], SET_BUT_PLAIN, 4403),
        (["http://evil.example"], PLAIN, 4403),
        (["null"], PLAIN, 4403),
        (["http://h\xfcb.example.org"], PLAIN, 4403),
        # whichever of several is looked at, it is not from a browser
        (["http://hub.example.org", "http://evil.example"], PLAIN, 4403),
        (["http://evil.example", "http://hub.example.org"], PLAIN, 4403),
        (["http://hub.example.org", "http://hub.example.org"], PLAIN, 4403),
        ([], PLAIN, 4403),
        ([""], PLAIN, 4403),
        ([], SET, 4403),
    ],
    indirect=["door"],
)
async def test_a_cookie_opens_a_socket_on_our_own_pages_alone(
    given: list[str], door: Door, code: int, alice: User
) -> None:
    scheme, _, host = door.own.partition("://")
    cookie = [header for header in await run(by_cookie, alice) if header[0] == b"cookie"]
    named = [(b"host", host.encode()), *((b"origin", origin.encode("latin-1")) for origin in given)]
    async with Live([*cookie, *named], scheme=scheme.replace("http", "ws")) as live:
        if code:
            assert await live.code() == code
            assert live.heard == []
        else:
            assert (await live.hear())["user"] == "alice"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hub")
async def test_a_cookie_without_a_page_is_no_hindrance_to_who_has_a_token(alice: User) -> None:
    cookie = [header for header in await run(by_cookie, alice) if header[0] == b"cookie"]
    headers = [*cookie, (b"host", b"testserver"), (b"authorization", f"Token {await run(token, alice)}".encode())]
    async with Live(headers) as live:
        assert (await live.hear())["user"] == "alice"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hub")
async def test_a_foreign_page_gets_nowhere_with_a_token_either(alice: User, pump: Device) -> None:
    async with Live([(b"host", b"localhost"), (b"origin", b"http://evil.org")]) as live:
        await live.say("hello", token=await run(token, alice))
        await live.sub("pump-1")
        assert await live.code() == 4403
        assert live.heard == []


# --- what is sent with a cookie


@pytest.mark.parametrize(
    ("origin", "door", "fits"),
    [
        (origin, door, (fits and (origin, door) not in STRICTER) or (origin, door) in LAXER)
        for origin, door, fits in TABLE
        if door.own != "http://rebound.example"
    ],
    indirect=["door"],
)
def test_a_post_with_a_cookie_is_taken_from_our_own_pages_alone(
    origin: str, door: Door, fits: bool, alice: User
) -> None:
    answers = [
        post(alice, path, door, HTTP_ORIGIN=origin) for path in ("/api/v1/fleets/greenhouse/", "/rejects/replay/")
    ]
    assert answers == ([200, 302] if fits else [403, 403])


def post(user: User, path: str, door: Door, **headers: Any) -> int:
    """Send something with the cookie and its secret, as a script of ours does."""
    scheme, _, host = door.own.partition("://")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    browser.cookies["csrftoken"] = secret = "s" * 32
    given = {"HTTP_HOST": host, "HTTP_X_CSRFTOKEN": secret, "wsgi.url_scheme": scheme, **headers}
    method, kind = ("PATCH", "application/json") if path.startswith("/api/") else ("POST", "text/plain")
    return browser.generic(method, path, "{}", kind, **given).status_code


@pytest.mark.parametrize("door", [PLAIN, SET], indirect=True)
def test_a_post_without_a_page_needs_what_only_a_page_of_ours_knows(door: Door, alice: User) -> None:
    path = "/api/v1/fleets/greenhouse/"
    fits = {"HTTP_REFERER": f"{door.own}/devices/pump-1/"}
    assert post(alice, path, door, **fits) == 200
    assert post(alice, path, door, **fits, HTTP_X_CSRFTOKEN="t" * 32) == 403
    if door.own.startswith("https"):
        assert post(alice, path, door) == 403


def test_of_several_origins_a_post_is_told_all() -> None:
    headers = [(b"origin", b"http://evil.example"), (b"origin", b"http://hub.example.org")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    assert ASGIRequest(scope, None).META["HTTP_ORIGIN"] == "http://evil.example,http://hub.example.org"
