"""Whatever is withdrawn, however, and with whatever layer: within 1 s the subscription ends or the socket closes."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from channels.layers import channel_layers
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session as Visit
from django.db import OperationalError, connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from rest_framework.test import APIClient

from dashboard import fanout, permits, reads, truth
from dashboard.fanout import Fanout
from dashboard.feeds import Feed
from dashboard.permits import Pass, Permits
from dashboard.protocol import Close
from dashboard.truth import NOTHING, Scene, Truth
from devices import commands, registry, tokens
from devices.models import Device, DeviceRole, Fleet, Membership, Role, Token
from tests.django.conftest import make_user
from tests.django.live import PATIENCE_S, Live, by_cookie, by_token, run, signed_in, store

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = pytest.mark.django_db(transaction=True)

# The promise. Measured from the commit on; it takes half of it when nobody disturbs.
WITHIN_S = 1.0


class Mute:
    """A channel layer that takes everything and delivers nothing."""

    async def new_channel(self, prefix: str = "") -> str:
        return prefix

    async def send(self, *_: object) -> None:
        pass

    group_add = group_discard = group_send = send

    async def receive(self, _: str) -> None:
        await asyncio.Event().wait()


class Away(Mute):
    """A channel layer that cannot be reached."""

    async def send(self, *_: object) -> None:
        raise ConnectionRefusedError

    group_add = group_discard = group_send = send

    async def receive(self, _: str) -> None:
        raise ConnectionRefusedError


LAYERS: dict[str, type[Mute] | None] = {"there": None, "away": Away, "mute": Mute}


@pytest.fixture(params=["there", "away"])
async def anyhow(request: pytest.FixtureRequest) -> AsyncIterator[Fanout]:
    """This test's own fan-out: on a layer that works, and on one that cannot be reached."""
    channel_layers.backends.clear()
    if layer := LAYERS[request.param]:
        channel_layers.backends["default"] = layer()
    here = fanout.here()
    yield here
    await here.stop()
    channel_layers.backends.clear()


on_every_layer = pytest.mark.parametrize("anyhow", LAYERS, indirect=True)


@pytest.fixture
def rita(db: None) -> User:
    """Sees everything, and watches on."""
    return make_user("rita", is_superuser=True)


# --- the ways


def sql(statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def staff() -> Browser:
    """An administrator at the admin."""
    browser = Browser()
    browser.force_login(
        make_user("admin", is_superuser=True, is_staff=True), "django.contrib.auth.backends.ModelBackend"
    )
    return browser


class Visitor(NamedTuple):
    """Who is to go, and what the door was opened with."""

    user: User
    session_key: str
    token: str

    def page(self) -> Browser:
        browser = Browser()
        browser.cookies[settings.SESSION_COOKIE_NAME] = self.session_key
        return browser

    def api(self) -> APIClient:
        return APIClient(headers={"Authorization": f"Token {self.token}"})

    @property
    def visits(self) -> Any:
        return Visit.objects.filter(pk=self.session_key)

    @property
    def tokens(self) -> Any:
        return Token.objects.filter(user=self.user)


def sign_out(who: Visitor) -> None:
    assert who.page().post("/sign-out/").status_code == 302


def give_the_session_another_key(who: Visitor) -> None:
    """As Django does when somebody changes their own password."""
    SessionStore(who.session_key).cycle_key()


def deactivate_in_the_admin(who: Visitor) -> None:
    browser, url = staff(), f"/admin/auth/user/{who.user.pk}/change/"
    form = {"username": who.user.username, "date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
    for inline in browser.get(url).context["inline_admin_formsets"]:
        managing = inline.formset.management_form
        form |= {managing.add_prefix(name): managing[name].value() for name in managing.fields}
        for each in inline.formset.initial_forms:
            form |= {each.add_prefix(name): each[name].value() for name in each.fields if each[name].value()}
    answer = browser.post(url, form)
    assert answer.status_code == 302
    assert not User.objects.get(pk=who.user.pk).is_active


def deactivate_by_sql(who: Visitor) -> None:
    sql("UPDATE auth_user SET is_active = %s WHERE id = %s", False, who.user.pk)


def delete_the_user(who: Visitor) -> None:
    who.user.delete()


def change_the_password(who: Visitor) -> None:
    who.user.set_password("another horse battery")
    who.user.save()


def delete_the_token_over_rest(who: Visitor) -> None:
    (listed,) = who.api().get("/api/v1/tokens/").json()["results"]
    assert who.api().delete(f"/api/v1/tokens/{listed['id']}/").status_code == 204


def delete_the_token_by_sql(who: Visitor) -> None:
    sql("DELETE FROM devices_token WHERE user_id = %s", who.user.pk)


def let_the_token_expire(who: Visitor) -> None:
    who.tokens.update(expiry=timezone.now())


def delete_the_session(who: Visitor) -> None:
    who.visits.delete()


def let_the_session_expire(who: Visitor) -> None:
    who.visits.update(expire_date=timezone.now())


CLOSING = [
    ("cookie", sign_out),
    ("cookie", give_the_session_another_key),
    ("cookie", deactivate_in_the_admin),
    ("token", deactivate_in_the_admin),
    ("cookie", deactivate_by_sql),
    ("token", deactivate_by_sql),
    ("cookie", delete_the_user),
    ("token", delete_the_user),
    ("cookie", change_the_password),
    ("token", delete_the_token_over_rest),
    ("token", delete_the_token_by_sql),
    ("token", let_the_token_expire),
    ("cookie", delete_the_session),
    ("cookie", let_the_session_expire),
]


def dismiss_over_rest(who: Visitor) -> None:
    manager = make_user("boss", "manager", Fleet.objects.get(slug="greenhouse"))
    client = APIClient(headers={"Authorization": f"Token {Token.objects.create(manager)[1]}"})
    assert client.delete(f"/api/v1/fleets/greenhouse/members/{who.user.username}/").status_code == 204


def dismiss_by_sql(who: Visitor) -> None:
    sql("DELETE FROM devices_membership WHERE user_id = %s", who.user.pk)


def move_the_member(who: Visitor) -> None:
    who.user.memberships.update(fleet=Fleet.objects.get(slug="brewery"))


def move_the_device(_: Visitor) -> None:
    registry.change(Device.objects.get(key="pump-1"), {"fleet": Fleet.objects.get(slug="brewery")})


def move_the_device_by_sql(_: Visitor) -> None:
    sql("UPDATE devices_device SET fleet_id = %s WHERE key = 'pump-1'", Fleet.objects.get(slug="brewery").pk)


def delete_the_device(_: Visitor) -> None:
    registry.remove(Device.objects.get(key="pump-1"))


def delete_the_device_in_a_shell(_: Visitor) -> None:
    Device.objects.filter(key="pump-1").delete()


def give_the_device_another_key(_: Visitor) -> None:
    sql("UPDATE devices_device SET key = 'pump-9' WHERE key = 'pump-1'")


# What ends: the subscription to the device (a), that to its fleet (f).
ENDING = [
    (dismiss_over_rest, {"a", "f"}),
    (dismiss_by_sql, {"a", "f"}),
    (move_the_member, {"a", "f"}),
    (move_the_device, {"a"}),
    (move_the_device_by_sql, {"a"}),
    (delete_the_device, {"a"}),
    (delete_the_device_in_a_shell, {"a"}),
    (give_the_device_another_key, {"a"}),
]


# --- that they show


def arrive(user: User, by: str) -> tuple[Any, Visitor]:
    """Return the headers of this user's socket, and who that is."""
    headers = by_cookie(user) if by == "cookie" else by_token(user)
    value = headers[0][1].decode()
    return headers, Visitor(user, value.partition("=")[2], value.partition(" ")[2])


@asynccontextmanager
async def watching(user: User, by: str = "token") -> AsyncIterator[tuple[Live, Visitor]]:
    """A socket that watches pump-1 and its fleet."""
    headers, visitor = await run(arrive, user, by)
    async with Live(headers) as live:
        await live.until("welcome")
        await live.sub("pump-1", id="a")
        await live.say("sub", id="f", fleet="greenhouse")
        await live.until("fleet")
        yield live, visitor


@asynccontextmanager
async def beside(user: User, hub: Fanout) -> AsyncIterator[Live]:
    """Somebody else, who watches kettle and pump-1: she is to see on as if nothing had happened."""
    async with signed_in(user) as live:
        await live.sub("kettle", id="k")
        await live.sub("pump-1", id="p")
        await live.until("live", lambda message: message["id"] == "p")
        await hub.permits.look_once()
        yield live
        await store("kettle")
        await hub.check_once()
        assert await live.until_row(1, "kettle", "k") == [1]


async def true(look: Callable[[], bool]) -> None:
    """Wait until it is."""
    async with asyncio.timeout(PATIENCE_S):
        while not look():  # noqa: ASYNC110  what it looks at is not ours
            await asyncio.sleep(0.001)


async def ends(live: Live, count: int) -> set[str]:
    """Wait for so many ends; return whose."""
    found = [await live.until("end") for _ in range(count)]
    assert {end["reason"] for end in found} == {"permission_revoked"}
    return {end["id"] for end in found}


# The layer has no part in it; so that it is not in the way either, some are tried with it.
@pytest.mark.parametrize(
    ("anyhow", "by", "withdraw"),
    [*(("away", *way) for way in CLOSING), *(("there", *way) for way in CLOSING[:2])],
    indirect=["anyhow"],
)
@pytest.mark.usefixtures("pump", "kettle")
async def test_who_may_be_here_no_longer_is_shown_the_door(
    anyhow: Fanout, vera: User, rita: User, by: str, withdraw: Callable[[Visitor], None]
) -> None:
    async with watching(vera, by) as (live, visitor), beside(rita, anyhow) as other:
        await run(withdraw, visitor)
        began = time.monotonic()
        assert await live.code() == Close.NOT_AUTHENTICATED
        assert time.monotonic() - began <= WITHIN_S
        await store("pump-1")
        await anyhow.check_once()
        assert await other.until_row(1, sub="p") == [1]
        assert not live.rows
        assert await live.wire.receive_nothing()


@pytest.mark.parametrize(("withdraw", "ended"), ENDING)
@pytest.mark.usefixtures("pump", "kettle")
async def test_what_may_be_seen_no_longer_ends(
    anyhow: Fanout, vera: User, rita: User, withdraw: Callable[[Visitor], None], ended: set[str]
) -> None:
    async with watching(vera) as (live, visitor), beside(rita, anyhow) as other:
        await run(withdraw, visitor)
        began = time.monotonic()
        assert await ends(live, len(ended)) == ended
        assert time.monotonic() - began <= WITHIN_S
        if await run(Device.objects.filter(key="pump-1").exists):
            await store("pump-1")
            await anyhow.check_once()
            assert await other.until_row(1, sub="p") == [1]
        said = await live.words()
        assert not live.rows
        assert {message["id"] for message in said} <= {"f"} - ended
        await live.sub("pump-1", id="a")
        assert (await live.until("err"))["code"] == "device_unknown"


@on_every_layer
async def test_who_is_no_superuser_any_more_is_treated_as_everybody(
    anyhow: Fanout, root: User, rita: User, pump: Device, kettle: Device
) -> None:
    async with watching(root, "cookie") as (live, _), beside(rita, anyhow):
        await run(User.objects.filter(pk=root.pk).update, is_superuser=False)
        began = time.monotonic()
        assert await ends(live, 2) == {"a", "f"}
        assert time.monotonic() - began <= WITHIN_S
        # Nor does the socket remember it.
        await live.sub("kettle", id="k")
        assert (await live.until("err"))["code"] == "device_unknown"


async def test_who_becomes_a_superuser_sees_more_without_coming_anew(
    hub: Fanout, vera: User, kettle: Device, pump: Device
) -> None:
    async with watching(vera) as (live, _):
        await run(User.objects.filter(pk=vera.pk).update, is_superuser=True)
        await hub.permits.look_once()
        await live.sub("kettle", id="k")
        await live.until("live", lambda message: message["id"] == "k")


@on_every_layer
async def test_a_session_or_token_that_runs_out_by_itself_closes_what_it_opened(
    anyhow: Fanout, vera: User, pump: Device
) -> None:
    async with watching(vera, "cookie") as (live, visitor), watching(vera) as (other, _):
        until = timezone.now() + timedelta(seconds=0.7)
        await run(visitor.visits.update, expire_date=until)
        await run(visitor.tokens.update, expiry=until)
        await live.words()
        await other.words()
        assert timezone.now() < until
        for one in (live, other):
            assert await one.code() == Close.NOT_AUTHENTICATED
        assert 0 <= (timezone.now() - until).total_seconds() <= WITHIN_S


@on_every_layer
async def test_a_socket_that_watches_nothing_is_closed_too(anyhow: Fanout, vera: User) -> None:
    async with signed_in(vera) as live:
        await run(deactivate_by_sql, Visitor(vera, "", ""))
        began = time.monotonic()
        assert await live.code() == Close.NOT_AUTHENTICATED
        assert time.monotonic() - began <= WITHIN_S


async def test_a_program_that_said_hello_is_closed_too(anyhow: Fanout, vera: User) -> None:
    headers, visitor = await run(arrive, vera, "token")
    assert headers
    async with Live() as live:
        await live.say("hello", token=visitor.token)
        await live.until("welcome")
        await run(delete_the_token_by_sql, visitor)
        assert await live.code() == Close.NOT_AUTHENTICATED


async def test_a_changed_password_ends_no_tokens(hub: Fanout, vera: User, pump: Device) -> None:
    async with watching(vera) as (live, visitor):
        await run(change_the_password, visitor)
        await hub.permits.look_once()
        assert await live.words() == []


async def test_one_of_two_visits_ends_alone(hub: Fanout, vera: User, pump: Device) -> None:
    async with watching(vera, "cookie") as (live, visitor), watching(vera, "cookie") as (other, _):
        await run(sign_out, visitor)
        assert await live.code() == Close.NOT_AUTHENTICATED
        assert await other.words() == []


@on_every_layer
async def test_who_gave_a_command_hears_no_more_of_it(anyhow: Fanout, bob: User, pump: Device, kettle: Device) -> None:
    async with signed_in(bob) as live:
        await live.say("cmd", id="c", device="pump-1", name="relay", args="on")
        command = (await live.until("ok"))["command"]
        await anyhow.permits.look_once()
        assert anyhow.feeds["pump-1"].subscribers
        await run(bob.memberships.all().delete)
        began = time.monotonic()
        await true(lambda: not anyhow.feeds["pump-1"].subscribers)
        assert time.monotonic() - began <= WITHIN_S
        live.heard.clear()
        await run(commands.cancel, command, reads.now_ms(), "alice")
        await anyhow.check_once()
        assert await live.words() == []


async def test_a_role_that_shrank_counts_at_once_and_ends_nothing(hub: Fanout, bob: User, pump: Device) -> None:
    async with watching(bob) as (live, _):
        await run(bob.memberships.update, role=Role.VIEWER)
        await live.say("cmd", id="c", device="pump-1", name="relay", args="on")
        assert (await live.until("err"))["code"] == "forbidden"
        await hub.permits.look_once()
        assert await live.words() == []


@on_every_layer
async def test_a_device_that_moved_shows_on_both_fleets_pages_in_time(
    anyhow: Fanout, alice: User, charlie: User, rita: User, pump: Device, brewery: Fleet
) -> None:
    async with signed_in(alice) as live, signed_in(charlie) as other, signed_in(rita) as watcher:
        for one, slug in ((live, "greenhouse"), (other, "brewery")):
            await one.say("sub", id="f", fleet=slug)
            await one.until("ok")
        await watcher.sub("pump-1")
        await watcher.until("live")
        await anyhow.permits.look_once()
        await run(move_the_device_by_sql, Visitor(alice, "", ""))
        began = time.monotonic()
        assert await live.until("fleet", lambda message: message["devices"] == {"pump-1": None})
        assert set((await other.until("fleet"))["devices"]) == {"pump-1"}
        assert time.monotonic() - began <= WITHIN_S
        assert await watcher.words() == []


# --- what it takes


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    """The scenes that the database was asked about."""
    found: list[Scene] = []
    ask = truth.ask

    def noted(scene: Scene) -> Truth:
        found.append(scene)
        return ask(scene)

    monkeypatch.setattr(truth, "ask", noted)
    return found


async def test_where_nobody_is_nothing_is_asked(
    hub: Fanout, vera: User, pump: Device, asked: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permits, "TICK_S", 0.001)
    async with watching(vera):
        await true(lambda: bool(asked))
    await hub.permits.look_once()  # lets one that is under way end
    asked.clear()
    await asyncio.sleep(0.05)
    assert not asked


async def test_many_sockets_are_one_look(hub: Fanout, vera: User, alice: User, pump: Device, kettle: Device) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            truth.ask(scene)
        return len(captured)

    async with watching(vera), watching(alice, "cookie"):
        scene = hub.permits._scene()
        few = await run(queries)
        async with watching(vera, "cookie"), watching(alice), watching(vera), watching(alice, "cookie"):
            scene = hub.permits._scene()
            assert len(scene.sessions) == 6
            assert await run(queries) == few == 7


async def test_more_devices_than_a_query_takes_are_asked_for_in_parts(
    hub: Fanout, alice: User, greenhouse: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "CHUNK", 2)
    await run(lambda: [registry.create(f"d{index}", greenhouse) for index in range(5)])
    async with signed_in(alice) as live:
        await live.sub(*(f"d{index}" for index in range(5)))
        await live.until("live")
        await hub.permits.look_once()
        assert await live.words() == []
        await run(lambda: Device.objects.filter(key="d4").delete())
        assert await ends(live, 1) == {"a"}


async def test_slow_reads_hold_no_look_up(hub: Fanout, vera: User, pump: Device) -> None:
    go = threading.Event()
    async with watching(vera) as (live, visitor):
        slow = [asyncio.create_task(reads.run(go.wait)) for _ in range(20)]
        try:
            # Not through `run`, which would have to wait as well.
            await asyncio.to_thread(lambda: (dismiss_by_sql(visitor), connection.close()))
            began = time.monotonic()
            assert await ends(live, 2) == {"a", "f"}
            assert time.monotonic() - began <= WITHIN_S
        finally:
            go.set()
            await asyncio.gather(*slow)


async def test_while_the_database_is_away_everybody_stays(
    hub: Fanout, vera: User, pump: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_: object) -> Truth:
        raise OperationalError("the server closed the connection")

    async with watching(vera) as (live, visitor):
        with monkeypatch.context() as patched:
            patched.setattr(truth, "_ask", away)
            await run(delete_the_token_by_sql, visitor)
            for _ in range(3):
                await hub.permits.next_look()
            with pytest.raises(OperationalError):  # who asks for a look has to know that there was none
                await hub.permits.look_once()
            await live.words()
        said = [record.getMessage() for record in caplog.records if "who may still be here" in record.getMessage()]
        assert len(said) == 1
        assert "the server closed the connection" in said[0]
        assert await live.code() == Close.NOT_AUTHENTICATED


# --- that nobody is wronged


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> "Slow":
    monkeypatch.setattr(permits, "TICK_S", 3600)
    look = Slow(truth.ask)
    monkeypatch.setattr(truth, "ask", look)
    return look


class Slow:
    """Looks whose answers are there, and old before they are used. They come when the test wants them."""

    def __init__(self, ask: Callable[[Scene], Truth]) -> None:
        self.ask = ask
        self.read = threading.Event()
        self.go = threading.Event()

    def __call__(self, scene: Scene) -> Truth:
        found = self.ask(scene)
        self.read.set()
        assert self.go.wait(PATIENCE_S)
        return found

    @asynccontextmanager
    async def looking(self, hub: Fanout) -> AsyncIterator[None]:
        """Between the answers and their use."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hub.permits.look_once())
            try:
                await true(self.read.is_set)
                yield
            finally:
                self.go.set()


async def test_who_comes_during_a_look_is_judged_by_the_next_one(
    hub: Fanout, vera: User, charlie: User, pump: Device, slow: Slow
) -> None:
    nina = await run(make_user, "nina")
    async with watching(vera), signed_in(charlie) as other, AsyncExitStack() as stack:
        async with slow.looking(hub):
            # Charlie becomes a member, and subscribes: what was read does not know of it. Nor of Nina at all.
            for user in (charlie, nina):
                await run(lambda user=user: Membership.objects.create(user=user, fleet=pump.fleet, role="viewer"))
            await other.sub("pump-1", id="a")
            await other.say("sub", id="f", fleet="greenhouse")
            await other.until("fleet")
            new, visitor = await stack.enter_async_context(watching(nina, "cookie"))
        await hub.permits.look_once()
        assert await other.words() == []
        assert await new.words() == []
        await run(charlie.memberships.filter(fleet=pump.fleet).delete)
        await run(sign_out, visitor)
        await hub.permits.look_once()
        assert await ends(other, 2) == {"a", "f"}
        assert await new.code() == Close.NOT_AUTHENTICATED


async def test_a_subscription_under_an_old_ones_id_is_another_one(
    hub: Fanout, vera: User, pump: Device, kettle: Device, slow: Slow
) -> None:
    await run(lambda: Membership.objects.create(user=vera, fleet=kettle.fleet, role="viewer"))
    async with watching(vera) as (live, _):
        await run(vera.memberships.filter(fleet=pump.fleet).delete)
        async with slow.looking(hub):
            for id_ in ("a", "f"):
                await live.say("unsub", id=id_)
            await live.sub("kettle", id="a")
            await live.until("live", lambda message: message["id"] == "a")
        await hub.permits.look_once()
        assert await live.words() == []


async def test_who_moves_along_with_a_device_is_not_cut_off(
    hub: Fanout, vera: User, pump: Device, kettle: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = truth._places

    def moved_in_between(pks: Any) -> Any:
        monkeypatch.setattr(truth, "_places", places)
        Membership.objects.filter(user=vera).update(fleet=kettle.fleet)
        Device.objects.filter(pk=pump.pk).update(fleet=kettle.fleet)
        return places(pks)

    async with watching(vera) as (live, _):
        await live.say("unsub", id="f")
        await hub.permits.look_once()
        monkeypatch.setattr(truth, "_places", moved_in_between)
        await hub.permits.look_once()
        assert truth._places is places
        assert await live.words() == []


@pytest.mark.usefixtures("alice", "charlie", "root", "pump")
def test_a_look_sees_what_everybody_else_sees(bob: User, vera: User, kettle: Device) -> None:
    Membership.objects.create(user=bob, fleet=kettle.fleet, role="viewer")
    User.objects.filter(pk=vera.pk).update(is_active=False)
    pump = Device.objects.get(key="pump-1")
    DeviceRole.objects.create(user=bob, device=pump, role="none")
    dora = User.objects.create_user("dora")
    DeviceRole.objects.create(user=dora, device=pump, role="operator")
    passes = [permits.let_in(user) for user in User.objects.all()]
    narrow: list[dict[str, Any]] = [
        {"access": "read"},
        {"fleets": [kettle.fleet]},
        {"devices": [pump]},
        {"fleets": [pump.fleet], "devices": [kettle]},
        {"fleets": [], "devices": []},
    ]
    secrets = [tokens.make(user, "", **given)[1] for user in User.objects.filter(is_active=True) for given in narrow]
    passes += [each for each in permits.by_tokens(secrets) if each]
    feeds = [Feed(device.key, device.pk) for device in Device.objects.all()]
    sessions: Any = [Guest(each) for each in passes]
    follows: Any = {Guest(each): fleet.pk for each in passes for fleet in Fleet.objects.all()}
    found = truth.ask(Scene(sessions, {}, feeds, follows))
    assert set(found.users) == {user.pk for user in User.objects.filter(is_active=True)} == set(found.fleets)
    seen = 0
    for user in [each.user for each in passes if each.user.pk in found.users]:
        shown = {*feeds} - found.hidden(user, {*feeds}, found.by_fleet(feeds))
        assert {feed.key for feed in shown} == set(registry.visible_to(user).values_list("key", flat=True))
        seen += len(shown)
    assert seen > 20
    for follower, fleet in follows.items():
        user = follower.pass_.user
        may = user.pk in found.users and registry.fleets_of(user).filter(pk=fleet).exists()
        assert (user.pk in found.users and found.shows_fleet(follower, fleet)) == may
        if may and follower in found.parts:
            visible = registry.visible_to(user).filter(fleet=fleet)
            assert found.parts[follower] == set(visible.values_list("key", flat=True))


# --- in any order


class Guest:
    """A session and its only subscriber."""

    def __init__(self, pass_: Pass) -> None:
        self.pass_ = pass_
        self.session = self
        self.feeds: dict[str, Feed] = {}
        self.ended: set[str] = set()
        self.code = 0

    def watching(self) -> list["Guest"]:
        return [self]

    def lost(self, key: str) -> None:
        self.ended.add(key)

    def quit(self, code: int) -> None:
        self.code = code


KEYS = ("p", "q", "r")
FLEETS = (1, 2)
pairs = st.tuples(st.sampled_from((1, 2)), st.sampled_from(FLEETS))
truths = st.builds(
    lambda users, members, places: replace(
        NOTHING,
        users={pk: (superuser, "x") for pk, superuser in users.items()},
        members=members,
        places={pk: (KEYS[pk], fleet) for pk, fleet in places.items()},
    ),
    st.dictionaries(st.sampled_from((1, 2)), st.booleans()),
    st.sets(pairs),
    st.dictionaries(st.sampled_from(range(len(KEYS))), st.sampled_from(FLEETS)),
)
wishes = st.lists(st.tuples(st.sampled_from((1, 2)), st.sets(st.sampled_from(KEYS), min_size=1)), max_size=2)


@trials(max_examples=100, deadline=None)
@given(st.lists(st.tuples(wishes, truths), min_size=1, max_size=8))
def test_after_any_look_everybody_has_exactly_what_they_may_have(looks: list[tuple[Any, Truth]]) -> None:
    asyncio.run(_after_any_look(looks))


async def _after_any_look(looks: list[tuple[Any, Truth]]) -> None:
    sessions: set[Any] = set()
    feeds = {key: Feed(key, pk) for pk, key in enumerate(KEYS)}
    looking = Permits(sessions, feeds, {}, lambda _: None)
    for newcomers, now in looks:
        for user, keys in newcomers:
            guest: Any = Guest(Pass(User(pk=user, password="x"), password="x"))
            guest.feeds = {key: feeds[key] for key in keys}
            sessions.add(guest)
            for key in keys:
                feeds[key].subscribers.add(guest)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(truth, "ask", lambda _, now=now: now)
            await looking.look_once()
        for guest in list(sessions):
            _judge(guest, now)
            if guest.code:
                sessions.discard(guest)
            # Who lost one device goes on with the others: that is an ear.
            guest.feeds = {key: feed for key, feed in guest.feeds.items() if key not in guest.ended} | (
                {} if guest.ended else guest.feeds
            )
            guest.ended.clear()


def _judge(guest: Guest, now: Truth) -> None:
    user = guest.pass_.user.pk
    if user not in now.users:
        assert guest.code == Close.NOT_AUTHENTICATED
        return
    assert not guest.code
    seen = now.fleets[user]
    may = {KEYS[pk] for pk, (_, fleet) in now.places.items() if seen is None or fleet in seen}
    assert guest.ended == guest.feeds.keys() - may
