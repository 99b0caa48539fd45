"""Share links: whoever has one sees its devices live, nothing else, for as long as it and its maker's rights last."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from devices import commands, registry, tokens
from devices.history import repairs
from devices.models import AuditEntry, Device, Fleet, Membership, Token
from tests.django.conftest import NOW, make_user, refuse
from tests.django.live import Live, by_cookie, publish, run, signed_in

pytest_plugins = ("tests.django.live_fixtures",)

URL = "/api/v1/shares/"
ENDED = "Nothing is shared here"
DAY = timedelta(days=1)


@pytest.fixture
def valve(greenhouse: Fleet) -> Device:
    return registry.create("valve", greenhouse, "Valve")[0]


@pytest.fixture
def secret(alice: User, pump: Device) -> str:
    return tokens.share(alice, [pump], "For the plumber", DAY)[1]


def browser(user: User | None = None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def bearer(secret: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Token {secret}"})


def data_of(html: str) -> Any:
    found = re.search(r'<script id="page" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


# --- what it shows


def test_a_link_lists_its_devices_and_shows_each(alice: User, pump: Device, valve: Device, say: Any) -> None:
    say(pump, temperature=21.5)
    secret = tokens.share(alice, [pump, valve], "", DAY)[1]
    listed = browser().get(f"/share/{secret}/").content.decode()
    assert f'href="/share/{secret}/pump-1/"' in listed
    assert f'href="/share/{secret}/valve/"' in listed
    shown = browser().get(f"/share/{secret}/pump-1/").content.decode()
    assert "21.5" in shown
    assert "All shared devices" in shown
    assert data_of(shown)["token"] == secret
    assert browser().get(f"/share/{secret}/valve/state.json").json()["key"] == "valve"


@pytest.mark.usefixtures("valve", "kettle")
def test_nobody_s_name_nor_anything_that_is_not_shared_is_on_the_pages(
    alice: User, bob: User, pump: Device, secret: str, say: Any
) -> None:
    say(pump)
    commands.issue(pump, "relay", "on", user=bob, now=NOW)
    repairs.mark(pump, repairs.Range(None, NOW, NOW + 1), "it was painted", alice, NOW)
    refuse("pump-1", b'{"hush":', detail="is cut")
    pages = [browser().get(f"/share/{secret}/{path}").content.decode() for path in ("", "pump-1/", "pump-1/state.json")]
    for hidden in ("alice", "bob", "valve", "kettle", "hush", "painted", "relay", "csrf", "mosquitto_pub", "/admin/"):
        assert [hidden in page for page in pages] == [False] * 3, hidden
    assert "For the plumber" not in pages[0]


@pytest.mark.parametrize("path", ["valve/", "kettle/", "none/", "valve/state.json", "pump-1%00/"])
def test_another_device_is_not_there(path: str, secret: str, valve: Device, kettle: Device) -> None:
    answer = browser().get(f"/share/{secret}/{path}")
    assert (answer.status_code, ENDED in answer.content.decode()) == (404, True)


def _expired() -> None:
    Token.objects.update(expiry=timezone.now() - timedelta(seconds=1))


def _revoked() -> None:
    Token.objects.all().delete()


def _its_maker_left() -> None:
    Membership.objects.all().delete()


def _its_maker_is_deactivated() -> None:
    User.objects.update(is_active=False)


def _its_device_is_hidden_from_its_maker() -> None:
    Device.objects.update(fleet=Fleet.objects.create(slug="elsewhere", name="Elsewhere"))


WAYS = [_expired, _revoked, _its_maker_left, _its_maker_is_deactivated, _its_device_is_hidden_from_its_maker]


@pytest.mark.parametrize("spoil", WAYS)
@pytest.mark.parametrize("path", ["", "pump-1/", "pump-1/state.json"])
def test_what_is_over_answers_like_what_never_was(spoil: Any, path: str, secret: str) -> None:
    assert browser().get(f"/share/{secret}/{path}").status_code == 200
    spoil()
    over, never = (browser().get(f"/share/{one}/{path}") for one in (secret, "never"))
    assert (over.status_code, ENDED in over.content.decode()) == (404, True)
    changing = rb"<time datetime=.*?</time>"
    assert re.sub(changing, b"", over.content) == re.sub(changing, b"", never.content)


def test_a_token_that_is_no_link_opens_no_page(alice: User, pump: Device) -> None:
    secret = tokens.make(alice, "laptop")[1]
    assert browser().get(f"/share/{secret}/").status_code == 404
    assert browser().get(f"/share/{secret}/pump-1/").status_code == 404


def test_a_session_gets_no_more_by_it_and_stays_what_it_is(root: User, secret: str, valve: Device) -> None:
    page = browser(root)
    page.post(f"/tokens/{tokens.make(root, 'old')[0].token_key}/revoke/")  # a message waits for them now
    shown = page.get(f"/share/{secret}/pump-1/")
    assert "The token is revoked" not in shown.content.decode()
    assert "root" not in shown.content.decode()
    assert "sessionid" not in shown.cookies
    assert page.get(f"/share/{secret}/valve/").status_code == 404
    assert "The token is revoked" in page.get("/").content.decode()


@pytest.mark.parametrize("path", ["", "pump-1/", "pump-1/state.json", "none/"])
def test_the_address_is_kept_and_passed_on_by_nobody(path: str, secret: str) -> None:
    answer = browser().get(f"/share/{secret}/{path}")
    assert answer["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer["Cache-Control"]
    assert answer["X-Robots-Tag"] == "noindex"


def test_looking_is_all_that_the_pages_take(secret: str) -> None:
    for path in ("", "pump-1/", "pump-1/state.json"):
        assert browser().post(f"/share/{secret}/{path}").status_code == 405


# --- REST and the live socket


def test_over_rest_a_link_reads_readings(secret: str, pump: Device, say: Any) -> None:
    say(pump, 3)
    client = bearer(secret)
    for path in ("", "frames/", f"series/?metric=temperature&from={NOW}&to={NOW + 5000}", "export/"):
        assert client.get(f"/api/v1/devices/pump-1/{path}").status_code == 200
    assert [row["key"] for row in client.get("/api/v1/devices/").json()["results"]] == ["pump-1"]


@pytest.mark.parametrize(
    "path", ["devices/pump-1/commands/", "devices/pump-1/repairs/", "devices/pump-1/events/", "rejects/", "fleets/"]
)
def test_over_rest_a_link_reads_nothing_else(path: str, secret: str) -> None:
    assert bearer(secret).get(f"/api/v1/{path}").status_code == 403


def test_over_rest_a_link_changes_nothing(secret: str, alice: User) -> None:
    client = bearer(secret)
    asked = {"devices": ["pump-1"]}
    assert client.post(URL, asked).status_code == 403
    assert client.delete(f"{URL}{Token.objects.get().token_key}/").status_code == 404
    assert client.delete("/api/v1/devices/pump-1/").status_code == 403
    assert client.post("/api/v1/devices/pump-1/rotate/").status_code == 403


@pytest.mark.django_db(transaction=True)
async def test_the_live_socket_tells_a_link_of_readings_and_of_no_commands(
    hub: Any, bob: User, pump: Device, secret: str
) -> None:
    await run(commands.issue, pump, "relay", "on", user=bob, now=NOW)
    async with Live() as live, signed_in(bob) as member:
        await live.say("hello", token=secret)
        assert (await live.until("welcome"))["user"] == "For the plumber"
        for one in (live, member):
            await one.sub("pump-1")
            await one.until("live")
        await member.say("cmd", id="c1", device="pump-1", name="relay", args="off")
        await member.until("cmd_state", lambda message: message["args"] is False)
        await publish("pump-1")
        assert await live.until_row(1) == [1]
        await live.say("cmd", id="c2", device="pump-1", name="relay", args="on")
        assert (await live.until("err"))["code"] == "forbidden"
        assert not [message for message in live.heard if message["type"] == "cmd_state"]


@pytest.mark.django_db(transaction=True)
async def test_a_page_that_says_hello_is_not_who_its_browser_is(
    hub: Any, root: User, kettle: Device, secret: str
) -> None:
    live = Live(await run(by_cookie, root, origin="http://testserver", host="testserver"))
    live.wire.scope["query_string"] = b"hello"
    async with live:
        await live.say("hello", token=secret)
        assert (await live.until("welcome"))["user"] == "For the plumber"
        await live.sub("kettle")
        assert (await live.until("err"))["code"] == "device_unknown"


@pytest.mark.django_db(transaction=True)
async def test_a_revoked_link_closes_what_it_opened(hub: Any, alice: User, pump: Device, secret: str) -> None:
    async with Live() as live:
        await live.say("hello", token=secret)
        await live.until("welcome")
        await run(_revoked)
        assert await live.code() == 4401


# --- for managers


def test_over_rest_a_link_is_made_listed_and_revoked(alice: User, pump: Device, valve: Device, api: Any) -> None:
    client = api(alice)
    made = client.post(URL, {"devices": ["pump-1", "valve"], "name": "Open day", "expires_in_s": 3600})
    assert made.status_code == 201
    path = made.json()["url"].removeprefix("http://testserver")
    assert browser().get(path).status_code == 200
    (row,) = client.get(URL).json()["results"]
    assert (row["name"], row["by"], row["devices"]) == ("Open day", "alice", ["pump-1", "valve"])
    assert row["used_at"]
    assert set(row) == {"id", "name", "by", "devices", "created_at", "expires_at", "used_at"}
    assert client.delete(f"{URL}{row['id']}/").status_code == 204
    assert browser().get(path).status_code == 404
    assert client.delete(f"{URL}{row['id']}/").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"devices": []}, 400),
        ({"devices": ["pump-1"], "expires_in_s": 32 * 86_400}, 400),
        ({"devices": ["pump-1"], "access": "manage"}, 400),
        ({"devices": ["pump-1", "kettle"]}, 404),
        ({}, 400),
    ],
)
def test_what_cannot_be_shared_is_refused(
    asked: dict[str, Any], status: int, alice: User, pump: Device, kettle: Device, api: Any
) -> None:
    assert api(alice).post(URL, asked).status_code == status
    assert not Token.objects.filter(link=True).exists()


def test_who_does_not_manage_shares_nothing(bob: User, pump: Device, api: Any) -> None:
    assert api(bob).post(URL, {"devices": ["pump-1"]}).status_code == 403
    page = browser(bob).post("/shares/", {"devices": "pump-1", "lasts": "24"})
    assert "Select a valid choice" in page.content.decode()
    assert not Token.objects.filter(link=True).exists()


@pytest.mark.usefixtures("valve")
def test_managers_see_and_revoke_what_others_share_of_their_fleet_and_nobody_else_does(
    bob: User, charlie: User, secret: str, greenhouse: Fleet, api: Any
) -> None:
    erin = make_user("erin", "manager", greenhouse)
    link = Token.objects.get(link=True).token_key
    for stranger in (bob, charlie):
        assert api(stranger).get(URL).json()["results"] == []
        assert api(stranger).delete(f"{URL}{link}/").status_code == 404
    assert [row["by"] for row in api(erin).get(URL, {"fleet": "greenhouse"}).json()["results"]] == ["alice"]
    assert [row["by"] for row in api(erin).get(URL, {"device": "pump-1"}).json()["results"]] == ["alice"]
    assert api(erin).get(URL, {"device": "valve"}).json()["results"] == []
    assert api(erin).delete(f"{URL}{link}/").status_code == 204
    assert browser().get(f"/share/{secret}/").status_code == 404


def test_a_link_over_two_fleets_names_to_each_manager_what_they_see(
    alice: User, charlie: User, brewery: Fleet, pump: Device, kettle: Device, api: Any
) -> None:
    Membership.objects.create(fleet=brewery, user=alice, role="manager")
    tokens.share(alice, [pump, kettle], "", DAY)
    assert [row["devices"] for row in api(charlie).get(URL).json()["results"]] == [["kettle"]]
    noted = AuditEntry.objects.filter(action="link.made").values_list("fleet_name", "detail__devices")
    assert dict(noted) == {"Greenhouse": ["pump-1"], "Brewery": ["kettle"]}


def test_a_narrow_token_sees_and_ends_no_links_but_those_of_its_devices(
    alice: User, pump: Device, valve: Device, secret: str
) -> None:
    client = bearer(tokens.make(alice, "valves", devices=[valve])[1])
    assert client.get(URL).json()["results"] == []
    assert client.delete(f"{URL}{Token.objects.get(link=True).token_key}/").status_code == 404
    assert client.post(URL, {"devices": ["valve"]}).status_code == 201


@pytest.mark.parametrize("path", ["/devices/pump-1/", "/fleets/greenhouse/"])
def test_on_the_pages_a_link_is_made_shown_once_and_revoked(path: str, alice: User, pump: Device) -> None:
    page = browser(alice)
    asked = {"devices": "pump-1", "name": "Open day", "lasts": "24", "next": f"{path}#shares"}
    made = page.post("/shares/", asked).content.decode()
    found = re.search(r"http://testserver(/share/\w+/)", made)
    assert found
    assert browser().get(found[1]).status_code == 200
    listed = page.get(path).content.decode()
    assert "Open day" in listed
    assert "last used" in listed
    assert found[1] not in listed
    link = Token.objects.get(link=True).token_key
    assert page.post(f"/shares/{link}/revoke/", {"next": f"{path}#shares"})["Location"] == f"{path}#shares"
    assert browser().get(found[1]).status_code == 404


def test_a_viewer_is_not_offered_to_share(vera: User, pump: Device, secret: str) -> None:
    shown = browser(vera).get("/devices/pump-1/").content.decode()
    assert "Share links" not in shown
    assert "For the plumber" not in shown
