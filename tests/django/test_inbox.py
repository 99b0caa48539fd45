"""The inbox: who sees which rejects, who may replay and discard them, and that no byte of them becomes markup."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from devices import dump, intake, registry, wire
from devices.models import Device, Frame, Reject
from tests.django.conftest import NOW, refuse

HOSTILE = "</pre></script><img src=x onerror=alert(1)>"
pytestmark = pytest.mark.django_db


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def shown(client: Client, url: str = "/rejects/") -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def marked(html: str) -> list[str]:
    return re.findall(r"<mark>(.*?)</mark>", html)


def came(payload: bytes, key: str = "tank") -> Reject:
    """Keep what a device sent before it was registered."""
    intake.take([wire.Message(topic=f"hub/{key}/telemetry", payload=payload, received_at=NOW)], {}, NOW)
    return Reject.objects.latest("pk")


# --- what is shown


def test_they_are_gathered_by_device_and_reason_with_counts_in_the_menu(vera: User, pump: Device) -> None:
    for payload in (b"a", b"b", b"b"):
        refuse(payload=payload, detail="cut off")
    refuse(reason="not_utf8")
    html = shown(browser(vera))
    assert html.count('class="reject-group"') == 2
    assert "<b>3</b> messages, <b>2</b> kinds" in html
    assert "cut off" in html
    assert '<span class="waiting-count">3</span>' in html


def test_the_menu_counts_as_far_as_there_is_room(vera: User, pump: Device) -> None:
    assert "waiting-count" not in shown(browser(vera), "/")
    for number in range(100):
        refuse(payload=b"%d" % number)
    assert '<span class="waiting-count">99+</span>' in shown(browser(vera), "/")


def test_a_group_shows_each_message_as_text_and_hex_with_the_fault_marked(vera: User, pump: Device) -> None:
    refuse(payload=b'{"a": \xff}', reason="not_utf8", position=6)
    html = shown(browser(vera), "/rejects/?device=pump-1&reason=not_utf8")
    assert marked(html) == ["\\xff", "ff", "."]
    assert "7b 22 61 22 3a 20 " in html
    assert "fault at byte 6" in html


def test_the_same_stands_on_the_devices_page(vera: User, pump: Device) -> None:
    refuse(payload=b'{"a": "\xc3\xa9', position=9, detail="cut off")
    html = shown(browser(vera), "/devices/pump-1/")
    assert marked(html) == ["ends here"]
    assert "/rejects/?device=pump-1" in html


@pytest.mark.parametrize("url", ["/rejects/", "/rejects/?device=pump-1", "/devices/pump-1/"])
@pytest.mark.parametrize("position", [None, 0, 12])
def test_no_byte_of_a_device_becomes_markup(url: str, position: int | None, alice: User, pump: Device) -> None:
    refuse(payload=HOSTILE.encode(), topic=f"hub/pump-1/{HOSTILE}", detail=HOSTILE, position=position)
    html = shown(browser(alice), url)
    assert "<img" not in html
    assert "alert(1)" in html
    assert not re.search(r"<style|\sstyle=|\son\w+=", re.sub(r"&lt;img src=x onerror=", "", html))


def test_a_hostile_key_and_name_of_the_user_are_text_too(root: User) -> None:
    refuse(key="<img src=x>", topic="t")
    root.username = "<img src=x>"
    root.save()
    client = browser(root)
    for url in ("/rejects/", "/rejects/?device=<img src=x>", "/rejects/?reason=<img src=x>"):
        assert "<img" not in shown(client, url)


def test_a_payload_of_the_largest_size_makes_a_page_of_bounded_size(vera: User, pump: Device) -> None:
    for number in range(15):
        refuse(payload=b"%02d" % number + b"\xff" * 65_000, reason="not_utf8", position=64_000)
    html = shown(browser(vera), "/rejects/?device=pump-1")
    assert len(html) < 15 * 20 * dump.SHOWN


def test_an_empty_inbox_says_what_it_is_for(vera: User) -> None:
    assert "Nothing was rejected" in shown(browser(vera))


@pytest.mark.parametrize("ask", ["device=%00", "reason=nonsense", "device=none", "reason=%00&device=x"])
def test_what_cannot_be_is_an_empty_inbox(ask: str, vera: User, pump: Device) -> None:
    refuse()
    assert "Nothing was rejected here" in shown(browser(vera), f"/rejects/?{ask}")


# --- who sees it


def test_charlie_sees_nothing_of_alices(charlie: User, pump: Device) -> None:
    refuse()
    refuse(key="stranger")
    for url in ("/rejects/", "/rejects/?device=pump-1", "/rejects/?device=stranger"):
        html = shown(browser(charlie), url)
        assert "not_json" not in html
        assert "waiting-count" not in html


def test_strangers_are_for_administrators(root: User, alice: User) -> None:
    refuse(key="stranger")
    refuse(key="", topic="nonsense")
    assert "Nothing was rejected" in shown(browser(alice))
    html = shown(browser(root))
    assert "is not registered" in html
    assert "no device named" in html
    assert "nonsense" in shown(browser(root), "/rejects/?device=&reason=not_json")


def test_whoever_is_not_signed_in_is_asked_to(db: None) -> None:
    for url in ("/rejects/", "/rejects/replay/", "/rejects/discard/"):
        assert Client().post(url)["Location"] == f"/sign-in/?next={url}"


# --- what is done with it


def test_one_click_replays_and_says_what_became_of_it(bob: User, greenhouse: Any) -> None:
    row = came(b'{"level": 7}')
    registry.create("tank", greenhouse)
    client = browser(bob)
    answer = client.post("/rejects/replay/", {"id": row.pk, "next": "/devices/tank/#rejects"}, follow=True)
    assert answer.redirect_chain == [("/devices/tank/#rejects", 302)]
    assert "Stored: 1 frame." in answer.content.decode()
    assert Frame.objects.count() == 1
    again = client.post("/rejects/replay/", {"id": row.pk}, follow=True).content.decode()
    assert 'data-level="warning"' in again
    assert "it was replayed" in again


def test_one_click_replays_a_whole_group(bob: User, greenhouse: Any) -> None:
    for level in range(3):
        came(b'{"level": %d}' % level)
    came(b"{")
    registry.create("tank", greenhouse)
    chosen = {"device": "tank", "reason": "device_unknown"}
    answer = browser(bob).post("/rejects/replay/", chosen, follow=True)
    assert "Replayed 3: 3 frames stored" in answer.content.decode()
    assert Reject.objects.get().reason == "not_json"


def test_a_manager_discards_one_or_a_group_but_never_everything_by_mistake(alice: User, pump: Device) -> None:
    for payload in (b"1", b"2", b"3"):
        refuse(payload=payload)
    client = browser(alice)
    client.post("/rejects/discard/", {"id": Reject.objects.earliest("pk").pk})
    assert Reject.objects.count() == 2
    assert "Nothing was discarded" in client.post("/rejects/discard/", follow=True).content.decode()
    assert Reject.objects.count() == 2
    answer = client.post("/rejects/discard/", {"device": "pump-1", "reason": "not_json"}, follow=True)
    assert "Discarded 2." in answer.content.decode()


@pytest.mark.parametrize(
    ("who", "replay", "discard"), [("vera", False, False), ("bob", True, False), ("alice", True, True)]
)
@pytest.mark.parametrize("url", ["/rejects/", "/rejects/?device=pump-1", "/devices/pump-1/"])
def test_each_role_is_offered_and_may_do_the_same(
    url: str, who: str, replay: bool, discard: bool, pump: Device, request: pytest.FixtureRequest
) -> None:
    refuse()
    client = browser(request.getfixturevalue(who))
    html = shown(client, url)
    assert ('action="/rejects/replay/"' in html) is replay
    assert ('action="/rejects/discard/"' in html) is discard
    pk = Reject.objects.get().pk
    for chosen in ({"id": pk}, {"device": "pump-1"}):
        assert (client.post("/rejects/replay/", chosen).status_code == 302) is replay
    assert (client.post("/rejects/discard/", {"id": pk}).status_code == 302) is discard
    assert Reject.objects.exists() is not discard


def test_charlie_replays_and_discards_nothing_of_alices(charlie: User, pump: Device, kettle: Device) -> None:
    refuse()
    client = browser(charlie)
    pk = Reject.objects.get().pk
    for what in ("replay", "discard"):
        url = f"/rejects/{what}/"
        assert client.post(url, {"device": "pump-1"}).status_code == 404
        there = client.post(url, {"id": pk}, follow=True).content.decode()
        not_there = client.post(url, {"id": 10**6}, follow=True).content.decode()
        bare = [re.sub(r"csrf\S+ value=\S+|\d+", "", html) for html in (there, not_there)]
        assert bare[0] == bare[1]
    assert Reject.objects.get().count == 1


def test_after_it_one_is_not_led_to_other_sites(bob: User, pump: Device) -> None:
    refuse()
    for target in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        answer = browser(bob).post("/rejects/replay/", {"device": "pump-1", "next": target})
        assert answer["Location"] == "/rejects/"


def test_it_takes_a_post_and_the_forms_token(bob: User, pump: Device) -> None:
    assert browser(bob).get("/rejects/replay/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(bob)
    assert strict.post("/rejects/replay/", {"device": "pump-1"}).status_code == 403


def test_the_inbox_asks_the_database_as_often_for_many_as_for_one(
    root: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        refuse(key=f"d-{number}")
        refuse(key="d-0", payload=b"%d" % number)
    client = browser(root)
    for url in ("/rejects/", "/rejects/?device=d-0"):
        with django_assert_max_num_queries(6):
            shown(client, url)
