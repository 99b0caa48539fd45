"""How much one may ask: requests, passwords, sockets. Who has to wait is told how long, and no neighbour waits."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, RequestFactory
from django.urls import reverse
from rest_framework.test import APIClient

from dashboard import protocol
from dashboard.fanout import Fanout
from devices import address, quota
from devices.models import Device
from devices.quota import Bucket
from tests.django.conftest import PASSWORD
from tests.django.live import PATIENCE_S, Live, by_token, publish, run, settle, signed_in
from tests.django.test_sse import Stream

pytest_plugins = ("tests.django.live_fixtures",)

DEVICES: Final = "/api/v1/devices/"


# --- the bucket


def test_a_burst_is_taken_and_one_more_is_told_when() -> None:
    bucket = Bucket(50, 200, 100.0)
    assert not any(bucket.take(100.0) for _ in range(200))
    assert bucket.take(100.0) == pytest.approx(0.02)
    assert bucket.take(100.01) == pytest.approx(0.01)
    assert not bucket.take(100.021)
    assert bucket.take(100.021)


def test_a_long_pause_saves_up_no_more_than_a_burst() -> None:
    bucket = Bucket(50, 200, 0.0)
    assert sum(not bucket.take(1e6) for _ in range(400)) == 200


def test_who_has_asked_for_nothing_for_long_is_forgotten(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "MANY", 3)
    settings.HUB_API_RATE, settings.HUB_API_BURST = 1, 2
    now = 0.0
    requests = quota.Requests(lambda: now)
    for name in "abc":
        requests.take(("address", name))
    now = 0.5
    assert not requests.take(("address", "c"))
    assert requests.take(("address", "c"))
    now = 1.0  # the others are as if they had never asked
    requests.take(("address", "d"))
    assert len(requests._buckets) == 2
    assert not requests.take(("address", "c"))
    assert requests.take(("address", "c"))
    for number in range(10):
        requests.take(("address", number))
    assert len(requests._buckets) == 3


# --- requests


@pytest.fixture
def few(settings: Any) -> None:
    """Two at once, and one in 50 s."""
    settings.HUB_API_RATE, settings.HUB_API_BURST = 0.02, 2


def refusal(answer: Any) -> dict[str, Any]:
    """Return what is said, which is the same in the header."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (429, "too_many_requests")
    assert answer["Retry-After"] == str(body["retry_after_s"])
    assert f"{body['retry_after_s']} s" in body["message"]
    return body


@pytest.mark.usefixtures("few")
def test_who_asks_too_often_is_told_when_to_come_back_and_the_neighbour_is_served(
    alice: User, charlie: User, api: Any
) -> None:
    client, neighbour = api(alice), api(charlie)
    assert [client.get(DEVICES).status_code for _ in range(2)] == [200, 200]
    for _ in range(5):
        assert 40 < refusal(client.get(DEVICES))["retry_after_s"] <= 50
        assert refusal(client.post(DEVICES, {"key": "x"}))
    assert [neighbour.get(DEVICES).status_code for _ in range(2)] == [200, 200]


@pytest.mark.usefixtures("few")
def test_each_token_and_the_sessions_have_a_share_of_their_own(alice: User, api: Any) -> None:
    page = Client()
    page.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    for client in (api(alice), api(alice), page):
        assert [client.get(DEVICES).status_code for _ in range(3)] == [200, 200, 429]
    other = Client()  # another session of the same user
    other.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    refusal(other.get(DEVICES))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Token wrong"}])
def test_who_is_nobody_is_counted_by_address(headers: dict[str, str], alice: User, api: Any) -> None:
    here, there = (APIClient(headers=headers, REMOTE_ADDR=where) for where in ("203.0.113.7", "203.0.113.8"))
    assert [here.get(DEVICES).status_code for _ in range(3)] == [401, 401, 429]
    assert APIClient(REMOTE_ADDR="203.0.113.7").get("/api/v1/schema/").status_code == 429
    refusal(here.post("/api/v1/tokens/", {"username": "alice", "password": PASSWORD}))
    assert there.get(DEVICES).status_code == 401
    assert api(alice).get(DEVICES).status_code == 200


# --- passwords


@pytest.fixture
def guesses(settings: Any) -> int:
    """How many wrong passwords are taken from one address, over all names."""
    settings.HUB_GUESSES = 4
    return 4


def by_page(client: Client, path: str, username: str, password: str) -> Any:
    return client.post(path, {"username": username, "password": password})


def by_program(client: Client, _: str, username: str, password: str) -> Any:
    body = {"username": username, "password": password}
    return client.post("/api/v1/tokens/", body, content_type="application/json")


DOORS: Final = [(by_page, "/sign-in/"), (by_program, ""), (by_page, "/admin/login/")]


@pytest.mark.parametrize(("door", "path"), DOORS, ids=["page", "token", "admin"])
def test_who_guesses_at_many_names_is_locked_out_and_nobody_else_is(
    door: Any, path: str, alice: User, root: User, guesses: int
) -> None:
    spray, office = Client(REMOTE_ADDR="203.0.113.7"), Client(REMOTE_ADDR="203.0.113.8")
    for number in range(guesses):
        assert door(spray, path, f"name-{number}", "password1").status_code in (200, 401)
    locked = door(spray, path, "root", PASSWORD)
    assert locked.status_code == 429
    assert 890 < int(locked["Retry-After"]) <= 900
    assert locked["Retry-After"] in locked.content.decode()
    assert not [name for name in locked.headers if name.startswith("Access-Control")]
    for other, where in DOORS:
        assert other(spray, where, "root", PASSWORD).status_code == 429
    assert door(office, path, "root", PASSWORD).status_code in (201, 302)


def test_the_page_of_one_who_is_locked_out_says_nothing_to_other_origins(alice: User, guesses: int) -> None:
    client = Client(HTTP_X_REQUESTED_WITH="XMLHttpRequest")
    for number in range(guesses + 1):
        answer = by_page(client, "/sign-in/", f"name-{number}", "password1")
    assert answer.status_code == 429
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


def test_under_asgi_one_who_is_locked_out_is_told_the_same(alice: User, guesses: int) -> None:
    async def sign_in(number: int) -> Any:
        given = {"username": f"name-{number}", "password": "password1"}
        return await AsyncClient().post(reverse("sign-in"), given)

    answers = [async_to_sync(sign_in)(number) for number in range(guesses + 1)]
    assert [answer.status_code for answer in answers] == [200] * guesses + [429]
    assert int(answers[-1]["Retry-After"]) > 890


# --- the address


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "found"),
    [
        (0, "203.0.113.7", "", "203.0.113.7"),
        (0, "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        (1, "10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (1, "10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (1, "10.0.0.1", "6.6.6.6,198.51.100.1 ", "198.51.100.1"),
        (2, "10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        # past the proxy, or by fewer of them than there are
        (1, "203.0.113.7", "", "203.0.113.7"),
        (2, "10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # no address at all
        (1, "10.0.0.1", "unknown", "10.0.0.1"),
        (1, "10.0.0.1", "6.6.6.6, <script>", "10.0.0.1"),
        (0, "", "", "0.0.0.0"),
        # one home has one network
        (0, "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::"),
        (0, "2001:db8:1:2:ffff::1", "", "2001:db8:1:2::"),
        (0, "::ffff:203.0.113.7", "", "203.0.113.7"),
        (0, "fe80::1%eth0", "", "fe80::"),
    ],
)
def test_the_address_is_what_our_own_proxies_say(
    proxies: int, peer: str, forwarded: str, found: str, settings: Any
) -> None:
    settings.HUB_PROXIES = proxies
    given = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert address.of(RequestFactory().get("/", REMOTE_ADDR=peer, **given)) == found
    headers = [(b"x-forwarded-for", part.encode()) for part in forwarded.split(",") if part]
    assert address.of_socket(headers, [peer, 9] if peer else None) == found


def test_passwords_are_counted_by_that_address(alice: User, guesses: int, settings: Any) -> None:
    settings.HUB_PROXIES = 1

    def guess(claimed: str, real: str) -> int:
        client = Client(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=f"{claimed}, {real}")
        status: int = by_program(client, "", "nobody", "password1").status_code
        return status

    assert [guess(f"6.6.6.{number}", "198.51.100.1") for number in range(guesses + 1)] == [401] * guesses + [429]
    assert guess("198.51.100.1", "198.51.100.2") == 401


# --- on the socket, and beside it


@pytest.fixture
def one_place(settings: Any) -> Iterator[None]:
    """Each user, and each address, may hold one socket, stream or long poll."""
    settings.HUB_CONNECTIONS = 1
    yield
    assert not quota.places._held  # whatever was held was given back


live = pytest.mark.django_db(transaction=True)


@live
async def test_calls_count_as_requests(hub: Fanout, alice: User, pump: Device, settings: Any) -> None:
    settings.HUB_API_RATE, settings.HUB_API_BURST = 0.02, 2
    async with signed_in(alice) as socket:
        for _ in range(3):
            await socket.say("call", id="k", method="PATCH", path="devices/pump-1/", body={"name": "x"})
        answers = [await socket.until("answer") for _ in range(3)]
        assert [answer["status"] for answer in answers] == [200, 200, 429]
        assert answers[2]["body"]["code"] == "too_many_requests"
        assert 40 < answers[2]["body"]["retry_after_s"] <= 50
        await socket.words()


@live
async def test_one_who_floods_a_socket_is_closed_and_the_neighbour_misses_nothing(
    hub: Fanout, alice: User, bob: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BURST", 10)
    async with signed_in(bob) as neighbour:
        await neighbour.sub("pump-1")
        await neighbour.until("live")
        async with signed_in(alice) as flood:
            for _ in range(100):
                await flood.say("ping")
            await publish("pump-1", 3)
            assert await flood.code() == 4429
        told = flood.heard[-1]
        assert (told["code"], told["retry"], told["retry_after_s"]) == ("too_many_requests", True, 1)
        assert await neighbour.until_row(3) == [1, 2, 3]
        await neighbour.words()


@live
@pytest.mark.usefixtures("one_place")
async def test_one_socket_more_than_a_user_may_have_is_told_to_wait(hub: Fanout, alice: User, bob: User) -> None:
    async with signed_in(alice, client=("203.0.113.1", 9)), signed_in(bob, client=("203.0.113.2", 9)):
        more = Live(await run(by_token, alice))
        more.wire.scope["client"] = ("203.0.113.3", 9)
        async with more:
            assert await more.code() == 4429
        assert [one["type"] for one in more.heard] == ["err"]
        assert (more.heard[0]["retry"], more.heard[0]["retry_after_s"]) == (True, 10)
    async with signed_in(alice):
        pass


@live
@pytest.mark.usefixtures("one_place")
async def test_who_opens_sockets_and_says_nothing_takes_no_place_of_others(hub: Fanout, alice: User) -> None:
    silent, more = Live(), Live()
    for one in (silent, more):
        one.wire.scope["client"] = ("203.0.113.1", 9)
    async with silent:
        async with more:
            assert await more.code() == 4429
            assert more.heard[0]["retry_after_s"] == 10
        async with signed_in(alice, client=("203.0.113.2", 9)):
            pass


@live
@pytest.mark.usefixtures("one_place")
async def test_streams_and_long_polls_count_as_sockets(hub: Fanout, alice: User, bob: User, pump: Device) -> None:
    headers = await run(by_token, alice)
    sent = {"headers": {"authorization": headers[0][1].decode()}, "REMOTE_ADDR": "203.0.113.9"}
    async with Stream("device=pump-1", headers) as stream:
        await stream.until("live")
        for path in ("stream?device=pump-1", "devices/pump-1/frames/?wait=20"):
            refusal(await AsyncClient().get(f"/api/v1/{path}", **sent))
        assert (await AsyncClient().get("/api/v1/devices/pump-1/frames/", **sent)).status_code == 200
        async with signed_in(bob, client=("203.0.113.2", 9)):
            pass
    waiting = asyncio.create_task(AsyncClient().get("/api/v1/devices/pump-1/frames/?wait=20", **sent))
    async with asyncio.timeout(PATIENCE_S):
        while not quota.places._held:
            await settle()
    refusal(await AsyncClient().get("/api/v1/stream?device=pump-1", **sent))
    await publish("pump-1")
    assert (await waiting).status_code == 200
