"""The REST API over the socket: whatever it can change, a call changes too, with the same answer to each."""

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.urls import URLPattern
from django.utils import timezone
from rest_framework.test import APIClient

from dashboard import calls, permits, protocol
from dashboard.protocol import Call
from devices import commands, invitations, jobs, members, offers, registry, schedules, tokens
from devices.errors import Refusal
from devices.history import repairs
from devices.models import ClaimCode, Device, Reject, Role, Token
from devices.urls import urlpatterns
from tests.django.conftest import NOW, PASSWORD, refuse
from tests.django.live import PATIENCE_S, publish, signed_in
from tests.django.updates import add

pytest_plugins = ("tests.django.live_fixtures",)

SCOPE: dict[str, Any] = {
    "type": "websocket",
    "headers": [(b"host", b"testserver"), (b"accept", b"text/html"), (b"cookie", b"sessionid=x")],
    "client": ("127.0.0.1", 50_000),
    "server": ("testserver", 80),
}

# A body that fits, by the route's name; every route is called without one, and with one that fits none, as well.
BODIES: dict[str, Any] = {
    "tokens": {"username": "alice", "password": PASSWORD, "name": "laptop"},
    "devices": {"key": "pump-2", "name": "Second"},
    "device": {"name": "Renamed", "rate": 5},
    "repairs": {"from": NOW, "to": NOW + 1000, "reason": "it was painted"},
    "settings": {"desired": {"interval_s": 30}},
    "commands": {"name": "relay", "args": "on", "key": "k"},
    "jobs": {"fleet": "greenhouse", "name": "relay", "args": "on"},
    "preview-job": {"fleet": "greenhouse", "name": "relay", "args": "on"},
    "schedules": {"fleet": "greenhouse", "name": "relay", "args": "on", "cron": "0 6 * * *"},
    "schedule": {"enabled": False},
    "device-roles": {"user": "vera", "role": "manager"},
    "fleets": {"slug": "orchard", "name": "Orchard"},
    "fleet": {"keep_raw": 30},
    "members": {"user": "charlie", "role": "viewer"},
    "replays": {"reason": "not_json"},
    "invitations": {"role": "operator", "name": "Dora"},
    "shares": {"devices": ["pump-1"], "name": "Open day"},
    "claims": {"lasts_s": 60},
    "claim-unclaimed": {"fleet": "greenhouse"},
    "claim": {"code": "0000-0000-0000-0000", "key": "pump-2"},
}
QUERIES: dict[str, str] = {"rejects": "?device=pump-1"}
# They take a file, which no call carries.
FILES = ("bulk", "firmwares")
UNSAFE = ("post", "put", "patch", "delete")
# What differs from one time to the next: secrets, numbers that are drawn, instants.
DICE = frozenset(("token", "secret", "id", "at", "undone_at", "created_at", "changed_at", "expires_at", "since", "url"))
CAST = ("vera", "bob", "alice", "charlie")
FOR_ADMINISTRATORS = ("claim-unclaimed", "fleets")


class Route(NamedTuple):
    """One thing that the API can change."""

    method: str
    name: str
    path: str

    def __str__(self) -> str:
        """Name the case."""
        return f"{self.method} {self.path}"


def found() -> Iterator[Route]:
    """All that devices.urls has, each with each method that is not for reading."""
    for pattern in urlpatterns:
        if isinstance(pattern, URLPattern) and pattern.name:
            view: Any = pattern.callback.view_class  # type: ignore[attr-defined]  # all are classes
            for method in UNSAFE:
                if hasattr(view, method) and pattern.name not in FILES:
                    yield Route(method, pattern.name, str(pattern.pattern))


ROUTES = tuple(found())


def test_there_is_something_to_compare() -> None:
    assert {"post devices/", "patch devices/<str:key>/", "delete rejects/<int:pk>/"} <= {str(one) for one in ROUTES}


@pytest.fixture
def there(pump: Device, kettle: Device, alice: User, bob: User, vera: User, charlie: User) -> dict[str, str]:
    """Something at every address; return what stands for each part of an address."""
    refuse()
    refuse("tank", b"{}", "device_unknown")
    command, _ = commands.issue(pump, "relay", "on", user=bob, now=NOW)
    asked = jobs.Asked(fleet=pump.fleet, name="relay", args="on")
    job, stopped = (jobs.start(asked, bob, NOW)[0] for _ in range(2))
    jobs.stop(stopped, bob, NOW)
    schedule = schedules.make(asked, bob, NOW, cron="0 6 * * *")
    repair = repairs.mark(pump, repairs.Range(None, NOW, NOW + 1), "why", alice, NOW)
    members.except_for(pump, "vera", "viewer")
    mine = Token.objects.create(alice)[0]
    link = tokens.share(alice, [pump], "", timedelta(days=1))[0]
    digest, soon = offers.digest(BODIES["claim"]["code"]), timezone.now() + timedelta(hours=1)
    claim = ClaimCode.objects.create(digest=digest, fleet=pump.fleet, made_by=alice, expires_at=soon)
    return {
        "<str:key>": "pump-1",
        "<int:repair>": str(repair.pk),
        "<slug:job>/resume/": f"{stopped.pk}/resume/",
        "<slug:job>": job.pk,
        "<int:schedule>": str(schedule.pk),
        "<int:file>": str(add(pump.fleet).pk),
        "<slug:cid>": command.pk,
        "<slug:slug>": "greenhouse",
        "<str:username>": "vera",
        "<int:pk>": str(Reject.objects.get(key="pump-1").pk),
        "<slug:token>": mine.token_key,
        "<slug:share>": link.token_key,
        "<int:invitation>": str(invitations.make(alice, pump.fleet, Role.VIEWER)[0].pk),
        "<int:code>": str(claim.pk),
    }


def address(route: Route, there: dict[str, str]) -> str:
    path = route.path
    for part, value in there.items():
        path = path.replace(part, value)
    path = path.replace("unclaimed/pump-1/", "unclaimed/tank/")
    assert "<" not in path, f"say in `there` what stands for {path}"
    return path + QUERIES.get(route.name, "")


def masked(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: "?" if name in DICE or is_code(value) else masked(value) for name, value in body.items()}
    return [masked(one) for one in body] if isinstance(body, list) else body


def is_code(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 19 and value.count("-") == 3


def by_rest(user: User, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user)[1]}")
    given = {} if body is None else {"data": body, "content_type": "application/json"}
    answer = client.generic(method.upper(), f"/api/v1/{path}", **given)  # type: ignore[arg-type]
    return answer.status_code, masked(json.loads(answer.content or b"null"))


def by_call(user: User, method: str, path: str, body: bytes | None, token: Token | None = None) -> tuple[int, Any]:
    message = Call(id="k", method=method.upper(), path=path, body=msgspec.Raw(body or b""))  # type: ignore[arg-type]
    who: Any = SimpleNamespace(pass_=permits.let_in(user, token=token))
    answer = calls.call(who, message, SCOPE)
    return answer.status, masked(json.loads(bytes(answer.body)))


def undone(do: Any, *args: Any) -> Any:
    """Return what it returns, and have it not happened."""
    point = transaction.savepoint()
    try:
        return do(*args)
    finally:
        transaction.savepoint_rollback(point)


@pytest.mark.parametrize(
    ("route", "who"),
    [*itertools.product(ROUTES, CAST), *((route, "root") for route in ROUTES if route.name in FOR_ADMINISTRATORS)],
    ids=str,
)
def test_a_call_is_answered_as_rest_answers(
    route: Route, who: str, there: dict[str, str], request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(who)
    path = address(route, there)
    fits = BODIES.get(route.name)
    statuses = []
    for body in (
        None if fits is None else json.dumps(fits).encode(),
        None,
        b'{"wrong":1}',
        b"null",
        b'[1,{"a":1,"a":2}]',
    ):
        rest = undone(by_rest, user, route.method, path, body)
        assert undone(by_call, user, route.method, path, body) == rest
        statuses.append(rest[0])
    # What is compared is no row of mistakes: somebody of the cast may do it.
    assert who != ("root" if route.name in FOR_ADMINISTRATORS else "alice") or statuses[0] < 300, statuses


@pytest.mark.parametrize(
    "path", ["nowhere/", "devices", "/devices/", "devices/%00/", "devices/p%C3%BCmp/", "../../admin/"]
)
@pytest.mark.parametrize("method", UNSAFE)
def test_what_is_no_address_is_answered_as_rest_answers(method: str, path: str, alice: User) -> None:
    assert by_call(alice, method, path, None) == by_rest(alice, method, path, None)


@pytest.mark.parametrize("body", [b'{"name":1e999}', b'{"name":"a","name":"b"}', b'{"name":"\\u0000"}'])
def test_what_is_no_good_json_is_refused_in_the_same_words(body: bytes, alice: User, pump: Device) -> None:
    there = by_rest(alice, "patch", "devices/pump-1/", body)
    assert there[0] == 400
    assert by_call(alice, "patch", "devices/pump-1/", body) == there
    message = protocol.parse(f'{{"type":"call","id":"k","method":"PATCH","path":"x","body":{body.decode()}}}')
    assert isinstance(message, Call)
    assert bytes(message.body) == body


def test_what_streams_or_waits_is_no_call(alice: User, pump: Device) -> None:
    with pytest.raises(Refusal, match="cannot be called over the socket") as refused:
        by_call(alice, "post", "devices/pump-1/frames/", None)
    assert refused.value.code == "bad_message"


def test_who_is_no_more_is_answered_like_nobody(alice: User, pump: Device) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    status, body = by_call(alice, "patch", "devices/pump-1/", b"{}")
    assert (status, body["code"]) == (401, "not_authenticated")


def test_a_token_that_was_deleted_or_has_expired_opens_nothing(alice: User, pump: Device) -> None:
    asked = (alice, "patch", "devices/pump-1/", b"{}")
    token = Token.objects.create(alice)[0]
    assert by_call(*asked, token)[0] == 200
    Token.objects.update(expiry=timezone.now())
    assert by_call(*asked, token)[0] == 401
    Token.objects.all().delete()
    assert by_call(*asked, token)[0] == 401


def test_a_changed_password_ends_what_the_old_one_opened(alice: User, pump: Device) -> None:
    before = User.objects.get(pk=alice.pk)
    alice.set_password("another horse")
    alice.save()
    assert by_call(before, "patch", "devices/pump-1/", b"{}")[0] == 401


def test_who_became_more_or_less_may_do_more_or_less(root: User, pump: Device) -> None:
    User.objects.filter(pk=root.pk).update(is_superuser=False)
    assert by_call(root, "patch", "devices/pump-1/", b"{}")[0] == 404


def test_passwords_are_not_guessed_past_the_lock(alice: User, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    wrong = b'{"username":"alice","password":"wrong"}'
    assert [by_call(alice, "post", "tokens/", wrong)[0] for _ in range(3)] == [401, 429, 429]
    assert by_rest(alice, "post", "tokens/", wrong)[0] == 429


@pytest.mark.parametrize(("scheme", "begin"), [("ws", "http://"), ("wss", "https://")])
def test_an_address_that_is_told_is_one_for_http(scheme: str, begin: str, alice: User) -> None:
    message = Call(id="k", method="POST", path="fleets/greenhouse/claims/", body=msgspec.Raw(b"{}"))
    who: Any = SimpleNamespace(pass_=permits.let_in(alice))
    told = json.loads(bytes(calls.call(who, message, {**SCOPE, "scheme": scheme}).body))["url"]
    assert told.startswith(f"{begin}testserver/api/v1/claim/#")


# --- on the socket


class Held(threading.Event):
    """Set: changes go on. `reached`: one waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hub")
class TestSocket:
    """A socket serves its calls one after the other, beside all else."""

    async def test_a_call_changes_what_rest_would_change(self, alice: User, pump: Device) -> None:
        async with signed_in(alice) as live:
            await live.say("call", id="k", method="PATCH", path="devices/pump-1/", body={"name": "Pump one"})
            answer = await live.until("answer")
            assert (answer["id"], answer["status"], answer["body"]["name"]) == ("k", 200, "Pump one")
            await live.say("call", id="k", method="DELETE", path="devices/pump-1/")
            assert await live.until("answer") == {"type": "answer", "id": "k", "status": 204, "body": None}
        assert not await Device.objects.filter(key="pump-1").aexists()

    async def test_a_refusal_is_an_answer_and_what_is_no_call_is_an_error(self, vera: User, pump: Device) -> None:
        async with signed_in(vera) as live:
            await live.say("call", id="k", method="DELETE", path="devices/pump-1/")
            answer = await live.until("answer")
            assert (answer["status"], answer["body"]["code"]) == (403, "forbidden")
            await live.say("call", id="k", method="GET", path="devices/pump-1/")
            assert (await live.until("err"))["code"] == "bad_message"
            await live.say("call", id="k", method="POST", path="devices/pump-1/frames/")
            assert (await live.until("err"))["code"] == "bad_message"

    async def test_answers_come_in_the_order_of_the_calls(self, alice: User, pump: Device) -> None:
        async with signed_in(alice) as live:
            for index in range(10):
                await live.say(
                    "call", id=f"k{index}", method="PATCH", path="devices/pump-1/", body={"name": f"{index}"}
                )
            answers = [await live.until("answer") for _ in range(10)]
            assert [answer["id"] for answer in answers] == [f"k{index}" for index in range(10)]
            assert [answer["body"]["name"] for answer in answers] == [f"{index}" for index in range(10)]

    async def test_a_call_that_takes_long_holds_up_nothing_else(self, alice: User, pump: Device, held: Held) -> None:
        async with signed_in(alice) as live:
            await live.say("call", id="k", method="PATCH", path="devices/pump-1/", body={"name": "late"})
            await live.sub("pump-1")
            await live.until("live")
            await publish("pump-1", 3)
            assert await live.until_row(3) == [1, 2, 3]
            assert not [one for one in await live.words() if one["type"] == "answer"]
            held.set()
            assert (await live.until("answer"))["body"]["name"] == "late"

    async def test_more_calls_than_may_wait_are_refused_one_by_one(self, alice: User, pump: Device, held: Held) -> None:
        async with signed_in(alice) as live:
            for index in range(calls.WAITING + 2):
                await live.say("call", id=f"k{index}", method="PATCH", path="devices/pump-1/", body={})
                if index == 0:  # it is being served when the others come
                    assert await asyncio.to_thread(held.reached.wait, PATIENCE_S)
            refused = await live.until("err")
            assert (refused["id"], refused["code"], refused["retry"]) == (f"k{calls.WAITING + 1}", "too_many", True)
            held.set()
            answers = [await live.until("answer") for _ in range(calls.WAITING + 1)]
            assert {answer["status"] for answer in answers} == {200}

    async def test_without_the_database_it_says_so_and_goes_on(
        self, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: Any) -> None:
            raise OperationalError("no connection")

        async with signed_in(alice) as live:
            with monkeypatch.context() as patched:
                patched.setattr(registry, "change", away)
                await live.say("call", id="k", method="PATCH", path="devices/pump-1/", body={"name": "x"})
                error = await live.until("err")
                assert (error["id"], error["code"], error["retry"]) == ("k", "unavailable", True)
            await live.say("call", id="k", method="PATCH", path="devices/pump-1/", body={"name": "x"})
            assert (await live.until("answer"))["status"] == 200

    async def test_a_host_that_is_not_ours_is_told_so_and_costs_no_socket(self, alice: User) -> None:
        async with signed_in(alice) as live:  # which comes without any
            await live.say("call", id="k", method="POST", path="fleets/greenhouse/claims/", body={})
            error = await live.until("err")
            assert (error["id"], error["code"]) == ("k", "bad_message")
            assert "ALLOWED_HOSTS" in error["message"]
            await live.words()

    async def test_a_fault_of_ours_closes_the_socket_as_any_other(
        self, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry, "change", None)
        async with signed_in(alice) as live:
            await live.say("call", id="k", method="PATCH", path="devices/pump-1/", body={"name": "x"})
            assert await live.code() == protocol.Close.ERROR

    async def test_what_waits_when_the_socket_goes_is_not_done(self, alice: User, pump: Device, held: Held) -> None:
        async with signed_in(alice) as live:
            for name in ("first", "second"):
                await live.say("call", id=name, method="PATCH", path="devices/pump-1/", body={"name": name})
            await live.words()
            assert await asyncio.to_thread(held.reached.wait, PATIENCE_S)
        held.set()
        async with signed_in(alice) as live:  # behind it in the line of both threads
            for index in range(3):
                await live.say("call", id=f"k{index}", method="POST", path="devices/pump-1/rotate/")
            for _ in range(3):
                await live.until("answer")
        assert (await Device.objects.aget(key="pump-1")).name == "first"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Hold up every change of a device until this is set."""
    go, change = Held(), registry.change

    def waiting(*args: Any) -> None:
        go.reached.set()
        assert go.wait(PATIENCE_S)
        change(*args)

    monkeypatch.setattr(registry, "change", waiting)
    yield go
    go.set()
