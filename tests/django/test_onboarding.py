"""The pages by which many devices come: claim codes, tables, and publishers that nobody has registered."""

import csv
import html
import io
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from devices import claims, intake, registry, sealing, wire
from devices.models import ClaimCode, Device, Fleet, Frame, Reject
from tests.django.conftest import NOW

HOSTILE = "</script><img src=x onerror=alert(1)>"


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def data_of(shown: str) -> Any:
    found = re.search(r'<script id="page" type="application/json">(.*?)</script>', shown)
    assert found
    return json.loads(found[1])


def sent(client: Client, table: str, **how: Any) -> Any:
    file = SimpleUploadedFile("devices.csv", table.encode(), content_type="text/csv")
    return client.post("/add/table/", {"file": file, "fleet": "greenhouse", **how})


def publish(key: str, payload: bytes = b'{"level": 7}') -> None:
    intake.take([wire.Message(topic=f"hub/{key}/telemetry", payload=payload, received_at=NOW)], {}, NOW)


# --- claim codes


def test_a_code_is_shown_once_as_text_and_as_a_picture_of_its_address(alice: User, greenhouse: Fleet) -> None:
    client = browser(alice)
    answer = client.post("/add/code/", {"fleet": "greenhouse", "lasts": "900", "key": ""})
    shown = answer.content.decode()
    code = re.search(r'id="code">([0-9A-Z-]{19})<', shown)
    assert code
    assert f"http://testserver/api/v1/claim/#{code[1]}" in shown
    assert 'src="data:image/svg+xml' in shown
    assert "no-store" in answer["Cache-Control"]
    assert 890_000 < data_of(shown)["left_ms"] <= 900_000
    assert client.get(data_of(shown)["state"]).json()["state"] == "open"
    assert code[1] not in client.get("/add/code/").content.decode()
    assert claims.claim(code[1], "pump-7")[0].fleet == greenhouse
    assert client.get(data_of(shown)["state"]).json()["device"] == "pump-7"


def test_pictures_of_codes_need_no_style_and_no_script(alice: User, greenhouse: Fleet) -> None:
    shown = browser(alice).post("/add/code/", {"fleet": "greenhouse", "lasts": "900"}).content.decode()
    picture = re.search(r'<img class="qr" src="(.*?)"', shown)
    assert picture
    drawn = unquote(html.unescape(picture[1]))
    assert "<path" in drawn
    assert "style" not in drawn + shown.replace("stylesheet", "")


def test_open_codes_are_listed_and_revoked(alice: User, greenhouse: Fleet, charlie: User, brewery: Fleet) -> None:
    client, made = browser(alice), claims.make(alice, greenhouse, key="pump-9")[0]
    claims.make(charlie, brewery, key="kettle-9")
    revoked_by = "/add/code/greenhouse/revoke/", {"code": made.pk}
    shown = client.get("/add/code/").content.decode()
    assert "pump-9" in shown
    assert "kettle-9" not in shown
    revoked = client.post(*revoked_by, follow=True).content.decode()
    assert "The code was revoked" in revoked
    assert "is gone" in client.post(*revoked_by, follow=True).content.decode()


@pytest.mark.parametrize("wrong", [{"key": "Bad Key"}, {"key": "kettle"}, {"lasts": "5"}, {"fleet": "brewery"}])
def test_what_is_wrong_with_a_code_is_said_beside_it(
    wrong: dict[str, str], alice: User, greenhouse: Fleet, kettle: Device
) -> None:
    answer = browser(alice).post("/add/code/", {"fleet": "greenhouse", "lasts": "900", "key": "", **wrong})
    assert 'class="fault"' in answer.content.decode()
    assert not ClaimCode.objects.exists()


# --- tables


def test_a_table_becomes_devices_and_a_file_of_their_credentials(alice: User, pump: Device) -> None:
    answer = sent(browser(alice), "key,name\nnew-1,=1+1\nBad,\npump-1,\n")
    shown = answer.content.decode()
    secret = sealing.unseal(Device.objects.get(key="new-1").secret_box)
    assert "no-store" in answer["Cache-Control"]
    assert "<b>1</b> created, <b>1</b> exists, <b>1</b> invalid" in shown
    assert f"<code>{secret}</code>" in shown
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(data_of(shown)["report"]))}
    assert (rows["new-1"]["secret"], rows["new-1"]["username"]) == (secret, "new-1")
    assert (rows["Bad"]["line"], rows["Bad"]["result"], rows["Bad"]["secret"]) == ("3", "invalid", "")


def test_only_looking_at_a_table_makes_nothing(alice: User, greenhouse: Fleet) -> None:
    shown = sent(browser(alice), "key\nnew-1\n", dry_run="1").content.decode()
    assert "What would become of the table" in shown
    assert "<b>1</b> creatable" in shown
    assert not Device.objects.exists()


def test_what_is_no_table_is_said_beside_it(alice: User, greenhouse: Fleet) -> None:
    client = browser(alice)
    assert (
        "must name the columns" in sent(client, "").content.decode() or "is empty" in sent(client, "").content.decode()
    )
    assert "a column &#x27;colour&#x27;" in sent(client, "key,colour\n").content.decode()
    assert 'class="fault"' in client.post("/add/table/", {"fleet": "greenhouse"}).content.decode()
    assert 'class="fault"' in sent(client, "key\nspy\n", fleet="brewery").content.decode()


def test_no_cell_of_a_table_becomes_markup(alice: User, greenhouse: Fleet) -> None:
    shown = sent(browser(alice), f"key,name\n{HOSTILE},{HOSTILE}\n").content.decode()
    assert "<img src=x" not in shown
    assert shown.count("</script>") == sent(browser(alice), "key\nx\n", dry_run="1").content.decode().count("</script>")


def test_a_long_report_shows_first_what_needs_a_look(alice: User, greenhouse: Fleet) -> None:
    table = "key\n" + "".join(f"d-{number}\n" for number in range(600)) + "Bad\n"
    shown = sent(browser(alice), table, dry_run="1").content.decode()
    assert shown.index("Bad") < shown.index("d-0")
    assert "And 101 more, which the file has." in shown
    assert len(data_of(shown)["report"].splitlines()) == 602


@pytest.mark.parametrize("url", ["/add/code/", "/add/table/"])
def test_many_devices_are_a_managers_business(url: str, bob: User) -> None:
    assert browser(bob).get(url).status_code == 403
    assert browser(bob).post(url, {"fleet": "greenhouse"}).status_code == 403


def test_nobody_revokes_anothers_code(charlie: User, bob: User, alice: User, greenhouse: Fleet) -> None:
    made = claims.make(alice, greenhouse)[0]
    for user, status in ((bob, 403), (charlie, 404)):
        assert browser(user).post("/add/code/greenhouse/revoke/", {"code": made.pk}).status_code == status
    assert browser(alice).get("/add/code/greenhouse/revoke/").status_code == 405
    for wrong in ("x", "-1", "9" * 19, "9" * 5000):
        assert browser(alice).post("/add/code/greenhouse/revoke/", {"code": wrong}).status_code == 302
        assert browser(alice).post("/rejects/replay/", {"id": wrong}).status_code == 302
    assert ClaimCode.objects.exists()


# --- publishers that nobody knows


def test_a_publisher_is_claimed_by_a_click_and_its_readings_are_there(root: User, greenhouse: Fleet) -> None:
    publish("tank")
    client = browser(root)
    shown = client.get("/unclaimed/").content.decode()
    assert "hub/tank/telemetry" in shown
    assert "{&quot;level&quot;: 7}" in shown
    answer = client.post("/unclaimed/tank/claim/", {"fleet": "greenhouse", "name": "Tank", "replay": "1"})
    told = answer.content.decode()
    assert sealing.unseal(Device.objects.get().secret_box) in told
    assert "tank is registered. Replayed 1: 1 frames stored" in told
    assert (Device.objects.get().name, Frame.objects.count()) == ("Tank", 1)
    assert "Nobody unknown" in client.get("/unclaimed/").content.decode()


def test_where_accounts_are_not_ours_the_devices_page_follows(root: User, greenhouse: Fleet, settings: Any) -> None:
    settings.MQTT, settings.BROKER_ACCOUNTS = object(), "none"
    publish("tank")
    client = browser(root)
    assert "goes on with the login that it has" in client.get("/unclaimed/").content.decode()
    answer = client.post("/unclaimed/tank/claim/", {"fleet": "greenhouse"})
    assert answer["Location"] == "/devices/tank/"
    assert Reject.objects.filter(key="tank").exists()


@pytest.mark.parametrize(
    ("key", "fleet", "said"),
    [
        ("nobody", "greenhouse", "Nobody unregistered"),
        ("tank", "nowhere", "Say in which fleet"),
        ("tank", "", "Say in"),
    ],
)
def test_what_cannot_be_claimed_is_said(key: str, fleet: str, said: str, root: User, greenhouse: Fleet) -> None:
    publish("tank")
    answer = browser(root).post(f"/unclaimed/{key}/claim/", {"fleet": fleet}, follow=True)
    assert said in answer.content.decode()
    assert not Device.objects.exists()


def test_no_byte_of_a_stranger_becomes_markup(root: User, greenhouse: Fleet) -> None:
    publish("tank", json.dumps({"a": HOSTILE}).encode())
    shown = browser(root).get("/unclaimed/").content.decode()
    assert "onerror" in shown
    assert "<img src=x" not in shown


def test_strangers_are_for_administrators(alice: User, greenhouse: Fleet) -> None:
    publish("tank")
    assert browser(alice).get("/unclaimed/").status_code == 403
    assert browser(alice).post("/unclaimed/tank/claim/", {"fleet": "greenhouse"}).status_code == 403
    assert "/unclaimed/" not in browser(alice).get("/add/").content.decode()
    assert not registry.visible_to(alice).exists()
