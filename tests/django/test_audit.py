"""The audit: who did what is written with it, chained so that a change shows, and read by whom it concerns."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from bridge.anchor import Anchor
from devices import audit, entries, members, registry, signins, tokens
from devices.models import AuditEntry, AuditHead, Device, Fleet, Membership
from tests.django.conftest import PASSWORD
from tests.django.test_calls import BODIES, FOR_ADMINISTRATORS, ROUTES, Route, address, there
from tests.services import ROOT

URL = "/api/v1/audit/"

__all__ = ["there"]


def noted(*targets: str) -> None:
    """Have something noted of each, and linked."""
    for target in targets:
        audit.note("device.made", target, {"name": target.upper()})
    audit.link_all()


def newest() -> AuditEntry:
    found = AuditEntry.objects.order_by("-pk").first()
    assert found
    return found


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    call_command("audit", *options)
    return capsys.readouterr().out


# --- the chain


def test_what_nobody_touched_holds(db: None) -> None:
    noted("a", "b", "c")
    head = audit.verify()
    assert (head.seq, head.digest) == (3, newest().digest)


def test_an_empty_audit_holds(db: None) -> None:
    assert audit.verify().seq == 0


@pytest.mark.parametrize(
    "change",
    [
        {"by": "somebody else"},
        {"action": "device.removed"},
        {"target": "z"},
        {"at": 1},
        {"detail": {"name": "Z"}},
        {"via": "session"},
        {"user": 7},
        {"fleet": 7},
        {"digest": "0" * 64},
    ],
)
def test_an_entry_that_was_changed_is_named(change: dict[str, Any], db: None) -> None:
    noted("a", "b", "c")
    AuditEntry.objects.filter(seq=2).update(**change)
    with pytest.raises(audit.Broken, match="Entry 2 is not as it was written"):
        audit.verify()


def test_an_entry_that_was_taken_out_is_named(db: None) -> None:
    noted("a", "b", "c")
    AuditEntry.objects.filter(seq=2).delete()
    with pytest.raises(audit.Broken, match="Entry 2 is missing"):
        audit.verify()


@pytest.mark.parametrize("first", [1, 3])
def test_an_end_that_was_cut_off_shows(first: int, db: None) -> None:
    noted("a", "b", "c")
    AuditEntry.objects.filter(seq__gte=first).delete()
    with pytest.raises(audit.Broken, match=f"ends at entry {first - 1}, and went on to 3"):
        audit.verify()


def test_two_entries_that_changed_places_show(db: None) -> None:
    noted("a", "b")
    AuditEntry.objects.filter(seq=1).update(seq=9)
    AuditEntry.objects.filter(seq=2).update(seq=1)
    AuditEntry.objects.filter(seq=9).update(seq=2)
    with pytest.raises(audit.Broken, match="Entry 1 is not as it was written"):
        audit.verify()


def test_an_entry_that_was_put_behind_the_end_shows(db: None) -> None:
    noted("a")
    AuditEntry.objects.create(at=1, by="x", action="device.made", target="b", seq=2, digest="0" * 64)
    with pytest.raises(audit.Broken, match="entry 2 stands behind it"):
        audit.verify()


def test_a_chain_that_was_made_anew_without_the_key_has_no_seal_that_fits(db: None) -> None:
    noted("a", "b", "c")
    AuditEntry.objects.filter(seq=2).update(by="somebody else")
    before = ""
    for row in AuditEntry.objects.order_by("seq"):
        before = audit.digest(row, before)
        AuditEntry.objects.filter(pk=row.pk).update(digest=before)
    AuditHead.objects.update(digest=before)
    with pytest.raises(audit.Broken, match="The seal does not fit"):
        audit.verify()


def test_under_another_key_the_seal_does_not_fit(db: None, settings: Any) -> None:
    noted("a")
    settings.SECRET_KEY = "another one, as long as they are"
    with pytest.raises(audit.Broken, match="The seal does not fit"):
        audit.verify()


@pytest.mark.django_db(transaction=True)
def test_two_who_link_at_once_make_one_chain() -> None:
    count, start = 40, threading.Barrier(4)

    def work(writes: bool) -> None:
        start.wait()
        for number in range(count):
            if writes:
                audit.note("device.made", f"d-{number}")
            else:
                audit.link()
        connection.close()

    crowd = [threading.Thread(target=work, args=[index % 2 == 0]) for index in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert audit.verify().seq == 2 * count


def test_what_does_not_happen_is_not_noted(greenhouse: Fleet) -> None:
    with transaction.atomic():
        registry.create("pump-9", greenhouse)
        transaction.set_rollback(True)
    assert not AuditEntry.objects.filter(target="pump-9").exists()


def test_the_bridge_links_and_writes_once_an_hour_to_the_log_how_far_it_is(
    db: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bridge.anchor")
    anchor = Anchor()
    audit.note("device.made", "a")
    anchor.drop()
    audit.note("device.made", "b")
    anchor.drop()
    assert newest().seq == 2
    first = AuditEntry.objects.get(seq=1)
    assert [record.getMessage() for record in caplog.records] == [f"the audit goes to entry 1, digest {first.digest}"]


# --- the command


def test_the_command_tells_what_was_done_last(pump: Device, alice: User, capsys: pytest.CaptureFixture[str]) -> None:
    with audit.acting(audit.person(alice, "session")):
        registry.rotate(pump)
    (*_, last) = printed(capsys).splitlines()
    assert last.endswith("alice gave the device pump-1 a new secret [Greenhouse] (session)")


def test_the_command_verifies_and_says_how_far_it_goes(pump: Device, capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "--verify")
    assert said == f"All 1 entries are as they were written. Digest: {newest().digest}\n"
    AuditEntry.objects.update(by="nobody")
    with pytest.raises(CommandError, match="Entry 1 is not as it was written"):
        call_command("audit", "--verify")


def holds(lines: list[str]) -> bool:
    """Check an export with the program of docs/people.md, which knows nothing of the hub."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "people.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found
    command = [sys.executable, "-I", "-c", found[1]]
    return subprocess.run(command, input="\n".join(lines), text=True, check=False, capture_output=True).returncode == 0


def test_an_export_can_be_checked_without_the_hub(pump: Device, capsys: pytest.CaptureFixture[str]) -> None:
    audit.note("device.changed", "pümp", {"name": ["", "Pümp\n"], "rate": [None, 0.1], "big": [1, 1e16]})
    lines = printed(capsys, "--export").splitlines()
    assert len(lines) == 2
    assert holds(lines)
    assert not holds([lines[0], lines[1].replace("rate", "gate")])
    assert not holds([lines[1].replace('"seq": 2', '"seq": 1')])
    assert not holds([lines[0].replace(json.loads(lines[0])["digest"], "0" * 64), lines[1]])


# --- reading


def test_managers_read_what_was_done_in_their_fleets_and_administrators_all(
    alice: User, charlie: User, root: User, pump: Device, kettle: Device, api: Any
) -> None:
    def read(user: User) -> set[str]:
        return {row["target"] for row in api(user).get(URL).json()["results"]}

    assert read(alice) == {"pump-1"}
    assert read(charlie) == {"kettle"}
    assert read(root) >= {"pump-1", "kettle"}


def test_who_manages_nothing_reads_nothing(bob: User, vera: User, dora: User, pump: Device, api: Any) -> None:
    for user in (bob, vera, dora):
        assert api(user).get(URL).json()["results"] == []
        assert api(user).get(URL, {"fleet": "greenhouse"}).status_code in (403, 404)
    assert api(None).get(URL).status_code == 401


def test_an_entry_says_who_did_what_to_whom_when_and_by_what(alice: User, bob: User, api: Any) -> None:
    token, secret = tokens.make(alice, "laptop")
    client = Client(headers={"Authorization": f"Token {secret}"})
    asked = {"user": "bob", "role": "viewer"}
    client.post("/api/v1/fleets/greenhouse/members/", asked, content_type="application/json")
    (row,) = api(alice).get(URL, {"action": "member"}).json()["results"]
    assert (row["by"], row["words"], row["fleet"]) == ("alice", "made bob viewer", "Greenhouse")
    assert row["via"] == "token laptop"
    assert row["at"] > 1_700_000_000_000
    assert token.name == "laptop"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"action": "device.made"}, ["b", "a"]),
        ({"action": "device"}, ["b", "a"]),
        ({"action": "dev"}, []),
        ({"by": "alice"}, ["b"]),
        ({"since": 2_000}, ["b"]),
        ({"until": 2_000}, ["a"]),
        ({"since": 1_000, "until": 2_001}, ["b", "a"]),
    ],
)
def test_entries_are_sifted(asked: dict[str, Any], found: list[str], root: User, alice: User, api: Any) -> None:
    client = api(root)
    AuditEntry.objects.all().delete()
    noted("a")
    with audit.acting(audit.person(alice)):
        noted("b")
    for target, at in (("a", 1_000), ("b", 2_000)):
        AuditEntry.objects.filter(target=target).update(at=at)
    assert [row["target"] for row in client.get(URL, asked).json()["results"]] == found


def test_pages_go_on_where_the_one_before_ended(root: User, api: Any) -> None:
    client = api(root)
    noted(*"abcde")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = client.get(URL, {"limit": 2, "action": "device", **cursor}).json()
        seen += [row["target"] for row in page["results"]]
        cursor = {"cursor": page["next"]}
    assert "".join(seen) == "edcba"


@async_to_sync
async def body_of(answer: Any) -> str:
    return b"".join([part async for part in answer.streaming_content]).decode()


@pytest.mark.django_db(transaction=True)
def test_over_rest_it_is_exported_whole_and_in_the_order_of_the_chain(
    root: User, alice: User, pump: Device, kettle: Device, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.api.entries.PART", 2)
    audit.note("device.made", "=cmd()", {"a": 1})
    client = api(root)
    audit.link_all()
    lines = body_of(client.get(URL, {"format": "ndjson"})).splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(
        range(1, AuditEntry.objects.exclude(seq=None).count() + 1)
    )
    assert holds(lines)
    own = body_of(api(alice).get(URL, {"format": "ndjson"})).splitlines()
    assert [json.loads(line)["target"] for line in own] == ["pump-1"]
    assert holds(own)
    table = body_of(api(root).get(URL, {"format": "csv"}))
    assert table.startswith("seq,at,user,by,via,fleet,fleet_name,action,target,detail,before,digest\r\n")
    assert '"\'=cmd()"' in table


# --- what is noted


# A preview changes nothing.
@pytest.mark.parametrize("route", [route for route in ROUTES if route.name != "preview-job"], ids=str)
def test_whatever_rest_changes_leaves_an_entry_that_names_who_did_it(
    route: Route, there: dict[str, str], alice: User, root: User, api: Any
) -> None:
    user = root if route.name in FOR_ADMINISTRATORS else alice
    client = api(user)
    before = newest().pk
    path = address(route, there)
    answer = getattr(client, route.method)(f"/api/v1/{path}", BODIES.get(route.name))
    assert answer.status_code < 300, answer.content
    left = AuditEntry.objects.filter(pk__gt=before)
    assert {row.by for row in left} == {user.username}
    assert {row.action for row in left} <= set(entries.WORDS)


def test_no_entry_says_a_password_or_a_secret(alice: User, api: Any, pump: Device) -> None:
    secret = tokens.make(alice, "laptop")[1]
    link = tokens.share(alice, [pump], "", tokens.LASTS)[1]
    rotated = registry.rotate(pump)
    told = str(list(AuditEntry.objects.values()))
    assert not [one for one in (secret, link, rotated) if one in told]


# --- the admin


@pytest.fixture
def admin(root: User) -> Client:
    client = Client()
    client.force_login(root)
    AuditEntry.objects.all().delete()
    return client


def said() -> list[tuple[str, str, str, Any]]:
    rows = AuditEntry.objects.order_by("pk")
    return [(row.by, row.action, row.target, row.detail) for row in rows]


def test_what_the_admin_does_to_people_is_noted_by_fields_and_without_values(admin: Client, dora: User) -> None:
    new = {"username": "erin", "password1": "hush hush hush", "password2": "hush hush hush", "usable_password": "true"}
    assert admin.post(reverse("admin:auth_user_add"), new).status_code == 302
    changed = {"username": "dora", "email": "dora@example.org", "is_active": "on", "date_joined_0": "2026-01-01"}
    changed |= {"date_joined_1": "00:00:00", "memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    assert admin.post(reverse("admin:auth_user_change", args=[dora.pk]), changed).status_code == 302
    password = {
        "password1": "hush hush hush",
        "password2": "hush hush hush",
        "usable_password": "true",
        "set-password": "",
    }
    assert admin.post(reverse("admin:auth_user_password_change", args=[dora.pk]), password).status_code == 302
    assert admin.post(reverse("admin:auth_user_delete", args=[dora.pk]), {"post": "yes"}).status_code == 302
    assert [(by, action, target) for by, action, target, _ in said()] == [
        ("root", "user.made", "erin"),
        ("root", "user.changed", "dora"),
        ("root", "user.changed", "dora"),
        ("root", "user.removed", "dora"),
    ]
    assert "Email address" in said()[1][3]["fields"]
    assert "hush" not in str(said())
    assert "example.org" not in str(said())


def test_what_the_admin_does_to_members_is_noted_for_the_fleet(
    admin: Client, greenhouse: Fleet, bob: User, dora: User
) -> None:
    bobs = Membership.objects.get(user=bob)
    form = {
        "name": "Greenhouse",
        "slug": "greenhouse",
        "memberships-TOTAL_FORMS": "2",
        "memberships-INITIAL_FORMS": "1",
    }
    form |= {"memberships-0-id": str(bobs.pk), "memberships-0-fleet": str(greenhouse.pk)}
    form |= {"memberships-0-user": str(bob.pk), "memberships-0-role": "viewer"}
    form |= {
        "memberships-1-fleet": str(greenhouse.pk),
        "memberships-1-user": str(dora.pk),
        "memberships-1-role": "manager",
    }
    assert admin.post(reverse("admin:devices_fleet_change", args=[greenhouse.pk]), form).status_code == 302
    assert said() == [
        ("root", "member.admitted", "dora", {"role": "manager"}),
        ("root", "member.changed", "bob", {"role": "viewer"}),
    ]
    assert set(AuditEntry.objects.values_list("fleet", flat=True)) == {greenhouse.pk}


def test_several_who_are_deleted_at_once_are_each_noted(admin: Client, bob: User, dora: User) -> None:
    asked = {"action": "delete_selected", "_selected_action": [bob.pk, dora.pk], "post": "yes"}
    admin.post(reverse("admin:auth_user_changelist"), asked)
    assert {(action, target) for _, action, target, _ in said()} == {("user.removed", "bob"), ("user.removed", "dora")}


# --- signing in


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """Nobody was refused before."""
    signins._noted.clear()


def sign_in(name: str, password: str = PASSWORD) -> None:
    Client().post("/sign-in/", {"username": name, "password": password})


def test_who_signs_in_is_noted_with_where_from(alice: User) -> None:
    sign_in("alice")
    assert said() == [("alice", "session.begun", "alice", {"address": "127.0.0.1"})]


def test_who_is_refused_is_noted_once_a_minute_for_each_name(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alice", "alice", "mallory", "alice"):
        sign_in(name, "wrong")
    assert [(action, target) for _, action, target, _ in said()] == [
        ("session.refused", "alice"),
        ("session.refused", "mallory"),
    ]
    monkeypatch.setattr(signins, "REST_S", 0.0)
    sign_in("alice", "wrong")
    assert len(said()) == 3


def test_names_that_are_drawn_do_not_fill_the_audit(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signins, "MOST", 3)
    for number in range(6):
        sign_in(f"drawn-{number}", "wrong")
    assert len(said()) == 3


def test_who_is_locked_out_is_noted(alice: User, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    for _ in range(3):
        sign_in("alice", "wrong")
    assert ("nobody", "session.locked", "alice", {"address": "127.0.0.1"}) in said()


def test_a_name_that_no_database_takes_is_refused_like_any_other(db: None) -> None:
    sign_in("a\0b" * 100, "wrong")
    assert len(said()) <= 1


def test_making_a_token_begins_no_session(alice: User) -> None:
    Client().post("/api/v1/tokens/", {"username": "alice", "password": PASSWORD}, content_type="application/json")
    assert [action for _, action, _, _ in said()] == ["token.made"]


# --- words


Do = Callable[[Device], Any]


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda pump: registry.change(pump, {"name": "Big"}), "changed the device pump-1: name from Pump to Big"),
        (lambda pump: registry.change(pump, {"rate": 5}), "changed the device pump-1: rate from nothing to 5"),
        (lambda pump: members.except_for(pump, "dora", "none"), "set the role of dora for pump-1 to none"),
        (lambda pump: members.admit(pump.fleet, "dora", "viewer"), "made dora viewer"),
    ],
)
def test_people_read_it_in_words(do: Do, said: str, pump: Device, dora: User) -> None:
    do(pump)
    assert entries.words(newest()) == said


@pytest.mark.parametrize(
    ("action", "said"), [("odd.thing_done", "odd thing done {role}"), ("member.admitted", "made {role} …")]
)
def test_what_has_no_words_or_not_all_that_they_name_is_told_as_far_as_it_goes(
    action: str, said: str, db: None
) -> None:
    audit.note(action, "{role}")
    assert entries.words(newest()) == said
