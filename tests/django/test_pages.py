"""The pages: who sees what, who may do what, and that no text of a device ever becomes markup."""

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from devices import commands, registry
from devices.history import repairs
from devices.models import Device, Event, Fleet, Head, Metric, Repair
from tests.django.conftest import refuse

PASSWORD = "correct horse battery"
Say = Callable[..., None]
HOSTILE = "</script><img src=x onerror=alert(1)>"


def browser(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def text_of(client: Client, url: str, status: int = 200) -> str:
    answer = client.get(url)
    assert answer.status_code == status, answer.status_code
    return answer.content.decode()


def data_of(html: str) -> Any:
    found = re.search(r'<script id="page" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


# --- the door


@pytest.mark.parametrize("url", ["/", "/add/", "/devices/pump-1/", "/devices/none/", "/devices/pump-1/state.json"])
def test_whoever_is_not_signed_in_is_asked_to_and_learns_nothing(url: str, pump: Device) -> None:
    answer = Client().get(url)
    assert answer.status_code == 302
    assert answer["Location"] == f"/sign-in/?next={url}"


def test_signing_in_leads_to_where_one_was_going(alice: User) -> None:
    form = {"username": "alice", "password": PASSWORD, "next": "/add/"}
    answer = Client().post("/sign-in/", form)
    assert (answer.status_code, answer["Location"]) == (302, "/add/")


def test_signing_in_does_not_lead_to_other_sites(alice: User) -> None:
    answer = Client().post("/sign-in/", {"username": "alice", "password": PASSWORD, "next": "https://evil.example/"})
    assert answer["Location"] == "/"


def test_a_wrong_password_says_so_and_many_lock_the_door_for_a_while(alice: User, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    client = Client()
    wrong = {"username": "alice", "password": "no"}
    assert "Please enter a correct username" in client.post("/sign-in/", wrong).content.decode()
    client.post("/sign-in/", wrong)
    locked = client.post("/sign-in/", wrong)
    assert locked.status_code == 429
    assert "Locked for a while" in locked.content.decode()
    assert 890 < int(locked["Retry-After"]) <= 900
    assert f"{locked['Retry-After']} seconds" in locked.content.decode()


def test_signing_out_takes_a_post(alice: User) -> None:
    client = browser(alice)
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert client.get("/").status_code == 302


# --- the fleet


def test_alice_sees_her_pump_before_any_script_runs(alice: User, pump: Device, say: Say) -> None:
    say(pump, temperature=21.456, relay=True)
    html = text_of(browser(alice), "/")
    assert "Pump" in html
    assert "21.46" in html
    assert "°C" in html
    assert "online" in html


def test_charlie_sees_nothing_of_alices(charlie: User, pump: Device, kettle: Device) -> None:
    html = text_of(browser(charlie), "/")
    assert "kettle" in html
    assert "pump-1" not in html
    assert data_of(html)["devices"].keys() == {"kettle"}
    assert [fleet["slug"] for fleet in data_of(html)["fleets"]] == ["brewery"]


def test_an_empty_fleet_teaches_how_to_fill_it(alice: User) -> None:
    html = text_of(browser(alice), "/")
    assert "No devices yet" in html
    assert 'href="/add/"' in html


def test_a_user_of_no_fleet_is_told_whom_to_ask(db: None) -> None:
    assert "You are in no fleet yet" in text_of(browser(User.objects.create_user("dora")), "/")


def test_a_viewer_is_not_offered_what_a_manager_does(vera: User, pump: Device) -> None:
    assert 'href="/add/"' not in text_of(browser(vera), "/")


def test_the_fleet_page_asks_the_database_as_often_for_many_devices_as_for_one(
    alice: User, greenhouse: Fleet, pump: Device, say: Say, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        say(registry.create(f"d-{number}", greenhouse)[0], 3)
    client = browser(alice)
    with django_assert_max_num_queries(10):
        text_of(client, "/")


def test_small_lines_are_of_the_first_number_that_is_no_place(alice: User, pump: Device, say: Say) -> None:
    say(pump, 3, lat=50.1, lon=8.6, speed=37.5, mode="auto")
    sparks = data_of(text_of(browser(alice), "/"))["sparks"]
    assert [value for _, value in sparks["pump-1"]] == [37.5, 37.5, 37.5]


# --- a device


@pytest.mark.parametrize("url", ["/devices/pump-1/", "/devices/pump-1/state.json"])
def test_alices_pump_answers_charlie_like_one_that_does_not_exist(url: str, charlie: User, pump: Device) -> None:
    client = browser(charlie)
    there = client.get(url)
    not_there = client.get(url.replace("pump-1", "pump-2"))
    changing = rb'name="csrfmiddlewaretoken" value="[^"]+"|<time datetime=.*?</time>'
    bare = [re.sub(changing, b"", answer.content) for answer in (there, not_there)]
    assert (there.status_code, not_there.status_code) == (404, 404)
    assert bare[0] == bare[1]
    assert b"pump" not in there.content


def test_the_device_page_shows_readings_frames_orders_rejects_and_how_to_connect(
    alice: User, pump: Device, say: Say, settings: Any
) -> None:
    settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT = "hub.example.org", 1884
    say(pump, 2, temperature=21.5)
    commands.issue(pump, "relay", True, user=alice, now=1_790_000_000_000)
    refuse("pump-1", b"{", detail="cut off")
    html = text_of(browser(alice), "/devices/pump-1/")
    for expected in ("21.5", "°C", "relay", "queued", "not_json", "cut off", "hub.example.org", "1884", "hub/pump-1"):
        assert expected in html, expected
    assert "&lt;secret&gt;" in html


@pytest.mark.parametrize("own", [True, False])
def test_over_tls_every_snippet_says_whom_to_trust(
    alice: User, pump: Device, settings: Any, tmp_path: Path, own: bool
) -> None:
    settings.MQTT_PUBLIC_TLS, settings.MQTT_CA = True, tmp_path / "ca.crt" if own else None
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n")
    html = unescape(text_of(browser(alice), "/devices/pump-1/"))
    expected = ["ours", "--cafile ca.crt", 'ca_certs="ca.crt"', 'tls_set("ca.crt")']
    assert [each in html for each in expected] == [own] * 4
    assert all(each in html for each in ("WiFiClientSecure net", "net.setCACert(CA)", "ssl=trust", "CERT_REQUIRED"))
    assert "setInsecure" not in html
    settings.MQTT_PUBLIC_TLS = False
    plain = unescape(text_of(browser(alice), "/devices/pump-1/"))
    assert not [each for each in ("Secure", "CACert", "ssl=", "tls_", "--cafile") if each in plain]


def test_what_the_page_gives_its_script_is_in_the_shapes_of_the_live_protocol(
    alice: User, pump: Device, say: Say
) -> None:
    say(pump, 2, temperature=21.5)
    page = data_of(text_of(browser(alice), "/devices/pump-1/"))
    assert page["values"] == {"temperature": 21.5}
    assert (page["seq"], page["presence"]) == (2, "online")
    assert page["metrics"] == [{"name": "temperature", "unit": "°C", "class": "temperature", "type": "number"}]
    assert page["commands"]["relay"] == {"type": "bool"}
    assert browser(alice).get("/devices/pump-1/state.json").json().keys() == page.keys()


@pytest.mark.parametrize(
    ("who", "command", "manage"), [("alice", True, True), ("bob", True, False), ("vera", False, False)]
)
def test_each_role_is_offered_what_it_may_do(
    who: str, command: bool, manage: bool, pump: Device, request: pytest.FixtureRequest
) -> None:
    html = text_of(browser(request.getfixturevalue(who)), "/devices/pump-1/")
    assert data_of(html)["may_command"] is command
    assert ("Commands take the role operator" in html) is not command
    assert ("/devices/pump-1/secret/" in html) is manage


def test_no_text_of_a_device_becomes_markup(alice: User, pump: Device, say: Say) -> None:
    say(pump, **{HOSTILE: HOSTILE})
    Metric.objects.update(unit=HOSTILE)
    pump.name = pump.model = HOSTILE
    pump.commands = {"say": {"type": "enum", "options": [HOSTILE]}}
    pump.save()
    commands.issue(pump, "say", HOSTILE, user=alice, now=1_790_000_000_000)
    refuse("pump-1", HOSTILE.encode(), "bad_value", topic=HOSTILE, detail=HOSTILE)
    repairs.mark(pump, repairs.Range(frozenset((HOSTILE,)), 1_790_000_000_000, 1_790_000_000_001), HOSTILE, alice, 0)
    for url in ("/", "/devices/pump-1/"):
        html = text_of(browser(alice), url)
        assert "<img" not in html
        assert "alert(1)" in html


def test_pages_hold_no_inline_script_or_style(alice: User, pump: Device, say: Say) -> None:
    say(pump)
    for url in ("/", "/add/", "/devices/pump-1/", "/devices/none/"):
        html = browser(alice).get(url).content.decode()
        assert not re.search(r"<style|\sstyle=|\son\w+=", html), url
        assert all("src=" in tag or "application/json" in tag for tag in re.findall(r"<script[^>]*>", html)), url


def test_a_child_connects_as_its_gateway(alice: User, pump: Device, greenhouse: Fleet) -> None:
    registry.create("leaf", greenhouse, gateway=pump)
    html = text_of(browser(alice), "/devices/leaf/")
    assert "hub/pump-1/sub/leaf" in html
    assert "/devices/leaf/secret/" not in html


def test_the_device_page_tells_what_happened_and_how_the_devices_numbering_stands(
    alice: User, pump: Device, say: Say
) -> None:
    Event.objects.create(device=pump, at=1_790_000_000_000, kind="presence", state="offline", because="it said so")
    Head.objects.filter(pk=pump.pk).update(missing=7, numbering={"boots": [[3, 1, 12, 5, [[1, 5]]]]})
    html = text_of(browser(alice), "/devices/pump-1/")
    for expected in ("What happened", "2026-09-21 14:13:20 UTC", "it said so", "boot 3", "up to 12", "7 missing"):
        assert expected in html, expected
    assert "7 frames missing" in text_of(browser(alice), "/")


# --- repairs

MARKED = {"start": "2026-09-21T14:13:20", "end": "2026-09-21T14:13:21.500", "metric": "temperature", "reason": "dust"}


def test_alice_marks_readings_as_bad_and_takes_them_for_good_again_without_a_script(
    alice: User, pump: Device, say: Say
) -> None:
    say(pump, 3)
    client = browser(alice)
    answer = client.post("/devices/pump-1/repairs/", MARKED)
    assert (answer.status_code, answer["Location"]) == (302, "/devices/pump-1/#repairs")
    repair = Repair.objects.get()
    assert (repair.metrics, repair.start, repair.end) == (["temperature"], 1_790_000_000_000, 1_790_000_001_500)
    html = text_of(client, "/devices/pump-1/")
    assert "dust" in html
    assert f"/devices/pump-1/repairs/{repair.pk}/undo/" in html
    assert client.post(f"/devices/pump-1/repairs/{repair.pk}/undo/").status_code == 302
    html = text_of(client, "/devices/pump-1/")
    assert "undone by alice" in html
    assert "/undo/" not in html
    again = client.post(f"/devices/pump-1/repairs/{repair.pk}/undo/")
    assert again.status_code == 409
    assert "undone before" in again.content.decode()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"end": "2026-09-21T14:13:20"}, "end after it begins"),
        ({"start": "now"}, "Enter a valid date/time."),
        ({"reason": ""}, "This field is required."),
        ({"metric": "temprature"}, "Select a valid choice."),
        ({"start": "0001-01-01T00:00:00"}, "must begin in 2020 or later"),
    ],
)
def test_what_is_wrong_with_a_repair_is_said_beside_it(
    wrong: dict[str, str], said: str, alice: User, pump: Device, say: Say
) -> None:
    say(pump)
    html = browser(alice).post("/devices/pump-1/repairs/", MARKED | wrong).content.decode()
    assert said in html
    assert 'class="marking" open' in html
    assert not Repair.objects.exists()


def test_only_managers_are_offered_repairs_and_may_do_them(bob: User, charlie: User, pump: Device, say: Say) -> None:
    say(pump)
    assert "Mark readings as bad" not in text_of(browser(bob), "/devices/pump-1/")
    assert browser(bob).post("/devices/pump-1/repairs/", MARKED).status_code == 403
    assert browser(charlie).post("/devices/pump-1/repairs/", MARKED).status_code == 404
    assert not Repair.objects.exists()


# --- adding one


def test_alice_adds_a_device_and_sees_its_secret_once(alice: User, greenhouse: Fleet) -> None:
    client = browser(alice)
    answer = client.post("/add/", {"key": "new-1", "name": "New", "fleet": "greenhouse"})
    html = answer.content.decode()
    secret = registry.credentials()[0].secret
    assert html.count(secret) > 3
    assert "no-store" in answer["Cache-Control"]
    assert "Waiting for" in html
    assert secret not in text_of(client, "/devices/new-1/")


@pytest.mark.parametrize("key", ["", "Bad Key", "-x", "a" * 64, "../x", "pump-1"])
def test_a_key_that_cannot_be_is_explained(key: str, alice: User, pump: Device) -> None:
    answer = browser(alice).post("/add/", {"key": key, "fleet": "greenhouse"})
    assert answer.status_code == 200
    assert 'class="fault"' in answer.content.decode()
    assert Device.objects.count() == 1


def test_nobody_adds_a_device_to_anothers_fleet(charlie: User, greenhouse: Fleet) -> None:
    answer = browser(charlie).post("/add/", {"key": "spy", "fleet": "greenhouse"})
    assert 'class="fault"' in answer.content.decode()
    assert not Device.objects.exists()


def test_an_operator_may_not_add(bob: User) -> None:
    assert "takes the role manager" in text_of(browser(bob), "/add/", 403)


def test_a_new_secret_replaces_the_old_and_is_shown_once(alice: User, pump: Device) -> None:
    old = registry.credentials()[0].secret
    answer = browser(alice).post("/devices/pump-1/secret/")
    new = registry.credentials()[0].secret
    assert new != old
    assert new in answer.content.decode()


def test_a_new_secret_takes_a_manager_and_a_post(bob: User, alice: User, charlie: User, pump: Device) -> None:
    before = registry.credentials()
    assert browser(bob).post("/devices/pump-1/secret/").status_code == 403
    assert browser(charlie).post("/devices/pump-1/secret/").status_code == 404
    assert browser(alice).get("/devices/pump-1/secret/").status_code == 405
    assert registry.credentials() == before


def test_a_form_without_its_token_is_refused_with_a_way_out(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    answer = client.post("/add/", {"key": "x"})
    assert answer.status_code == 403
    assert "This form has expired" in answer.content.decode()
