"""The audit's page: managers read of their fleets, administrators all; sifted, and page by page."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dashboard import entries
from devices import audit, members, registry
from devices.models import AuditEntry, Device, Fleet

HOSTILE = "<script>alert(1)</script>"


def read(user: User, query: str = "") -> str:
    client = Client()
    client.force_login(user)
    answer = client.get(f"/audit/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_manager_reads_in_words_what_was_done_in_their_fleet(
    alice: User, dora: User, pump: Device, kettle: Device
) -> None:
    with audit.acting(audit.person(alice, "session")):
        members.admit(pump.fleet, "dora", "viewer")
    page = read(alice)
    assert re.search(r"<b>alice</b> made dora viewer<span class=\"muted\"> · Greenhouse · by session", page)
    assert "pump-1" in page
    assert "kettle" not in page


def test_an_administrator_reads_all_of_it(root: User, pump: Device, kettle: Device) -> None:
    assert {"pump-1", "kettle"} <= set(re.findall(r"[\w-]+", read(root)))


@pytest.mark.parametrize("name", ["bob", "vera", "dora"])
def test_who_manages_nothing_is_told_whom_to_ask(name: str, bob: User, vera: User, dora: User) -> None:
    client = Client()
    client.force_login(User.objects.get(username=name))
    answer = client.get("/audit/")
    assert (answer.status_code, "ask one" in answer.content.decode()) == (403, True)


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ("?by=alice", False),
        ("?by=the hub", True),
        ("?action=device", True),
        ("?action=member", False),
        ("?fleet=greenhouse", True),
        ("?fleet=brewery", False),
        ("?since=2020-01-01T00:00:00", True),
        ("?until=2020-01-01T00:00:00", False),
        ("?action=no such thing", False),
        ("?since=never", False),
        ("?before=0", False),
        ("?before=x", True),
    ],
)
def test_it_is_sifted(query: str, there: bool, alice: User, pump: Device, brewery: Fleet) -> None:
    assert ("registered the device pump-1" in read(alice, query)) == there


def test_it_goes_on_where_the_page_before_ended(
    alice: User, greenhouse: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "SHOWN", 2)
    AuditEntry.objects.all().delete()
    for target in "abcde":
        audit.note("device.made", f"dev-{target}", fleet=greenhouse)
    seen, query = [], "?action=device"
    while query:
        page = read(alice, query)
        seen += re.findall(r"dev-(\w)", page)
        found = re.search(r'href="(\?[^"]+)">Older', page)
        query = found[1].replace("&amp;", "&") if found else ""
    assert "".join(seen) == "edcba"


def test_what_devices_and_people_are_called_is_no_markup(alice: User, greenhouse: Fleet) -> None:
    audit.note("token.made", HOSTILE, {}, fleet=greenhouse)
    assert HOSTILE not in read(alice)


def test_it_asks_the_database_as_often_for_many_entries_as_for_one(
    alice: User, greenhouse: Fleet, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        registry.create(f"d-{number}", greenhouse)
    client = Client()
    client.force_login(alice)
    with django_assert_max_num_queries(9):
        client.get("/audit/")
