"""Invitations: a link makes one person a member, once, while it holds and while its maker may make members."""

import logging
import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from devices import invitations, members
from devices.errors import Refusal
from devices.models import AuditEntry, Fleet, Invitation, Membership
from tests.django.conftest import PASSWORD, make_user

URL = "/api/v1/fleets/greenhouse/invitations/"
NEW = {"username": "carol", "password1": "a long enough one", "password2": "a long enough one"}
GONE = "This link leads nowhere"


@pytest.fixture
def code(alice: User, greenhouse: Fleet) -> str:
    return invitations.make(alice, greenhouse, "operator", "Carol")[1]


def browser(user: User | None = None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def role_of(username: str) -> str | None:
    return Membership.objects.filter(user__username=username).values_list("role", flat=True).first()


def said(actions: str) -> list[tuple[str, str, str]]:
    rows = AuditEntry.objects.filter(action__startswith=actions).order_by("pk")
    return list(rows.values_list("by", "action", "target"))


def test_who_is_signed_in_accepts_with_one_click(dora: User, code: str) -> None:
    page = browser(dora)
    shown = page.get(f"/invitation/{code}/").content.decode()
    assert "alice invites you" in shown
    assert "You are signed in as <b>dora</b>" in shown
    assert page.post(f"/invitation/{code}/").status_code == 302
    assert role_of("dora") == "operator"


def test_looking_at_an_invitation_takes_nothing(dora: User, code: str) -> None:
    browser(dora).get(f"/invitation/{code}/")
    assert role_of("dora") is None
    assert invitations.find(code)


def test_who_has_no_account_makes_one_and_is_signed_in_as_it(code: str) -> None:
    page = browser()
    assert 'name="password2"' in page.get(f"/invitation/{code}/").content.decode()
    assert page.post(f"/invitation/{code}/", NEW).status_code == 302
    assert role_of("carol") == "operator"
    assert "operator of Greenhouse now" in page.get("/").content.decode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"password2": "another one there"},
        {"password1": "short", "password2": "short"},
        {"password1": "1234567890123", "password2": "1234567890123"},
        {"username": "alice"},
    ],
)
def test_an_account_is_made_by_the_rules_for_accounts(wrong: dict[str, str], code: str) -> None:
    answer = browser().post(f"/invitation/{code}/", NEW | wrong)
    assert (answer.status_code, 'class="fault"' in answer.content.decode()) == (200, True)
    assert invitations.find(code)
    assert not User.objects.filter(username="carol").exists()


def test_who_has_an_account_signs_in_and_comes_back(dora: User, code: str) -> None:
    page = browser()
    found = re.search(r'href="(/sign-in/\?next=[^"]+)"', page.get(f"/invitation/{code}/").content.decode())
    assert found
    asked = page.get(found[1])
    back = asked.context["next"]
    answer = page.post("/sign-in/", {"username": "dora", "password": PASSWORD, "next": back})
    assert answer["Location"] == f"/invitation/{code}/"


def _used(code: str) -> None:
    invitations.accept(make_user("erin"), code)


def _expired(_: str) -> None:
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def _revoked(_: str) -> None:
    invitation = Invitation.objects.get()
    invitations.revoke(invitation.fleet, invitation.pk)


def _of_one_who_manages_no_more(_: str) -> None:
    members.admit(Fleet.objects.get(), make_user("erin").username, "manager")
    members.admit(Fleet.objects.get(), "alice", "operator")


def _of_one_who_is_deactivated(_: str) -> None:
    User.objects.filter(username="alice").update(is_active=False)


@pytest.mark.parametrize("spoil", [_used, _expired, _revoked, _of_one_who_manages_no_more, _of_one_who_is_deactivated])
@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_good_no_more_answers_like_what_never_was(spoil: Any, method: str, dora: User, code: str) -> None:
    page = browser(dora)
    spoil(code)
    answer, never = (getattr(page, method)(f"/invitation/{one}/") for one in (code, "never"))
    assert (answer.status_code, GONE in answer.content.decode()) == (404, True)
    changing = rb'name="csrfmiddlewaretoken" value="[^"]+"|<time datetime=.*?</time>'
    assert re.sub(changing, b"", answer.content) == re.sub(changing, b"", never.content)
    assert role_of("dora") is None


@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_good_no_more_makes_no_account(method: str, code: str) -> None:
    _revoked(code)
    assert getattr(browser(), method)(f"/invitation/{code}/", NEW).status_code == 404
    assert not User.objects.filter(username="carol").exists()


@pytest.mark.parametrize(("role", "left"), [("operator", "operator"), ("manager", "manager"), ("viewer", "operator")])
def test_an_invitation_raises_a_role_and_never_lowers_it(role: str, left: str, dora: User, code: str) -> None:
    members.admit(Fleet.objects.get(), "dora", role)
    browser(dora).post(f"/invitation/{code}/")
    assert role_of("dora") == left
    # Who tries the link that they made themselves does not use it up.
    assert Invitation.objects.filter(used_at=None).exists() == (role != "viewer")


@pytest.mark.django_db(transaction=True)
def test_of_two_who_come_at_once_one_gets_the_place(alice: User, greenhouse: Fleet) -> None:
    code = invitations.make(alice, greenhouse, "viewer")[1]
    start, refused = threading.Barrier(4), []

    def come(user: User) -> None:
        start.wait()
        try:
            invitations.accept(user, code)
        except Refusal as refusal:
            refused.append(refusal.code)
        finally:
            connection.close()

    crowd = [threading.Thread(target=come, args=[make_user(f"guest-{n}")]) for n in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert refused == ["offer_unknown"] * 3
    assert Membership.objects.filter(role="viewer").count() == 1


# --- for managers


def test_over_rest_an_invitation_is_made_listed_and_revoked(alice: User, dora: User, api: Any) -> None:
    client = api(alice)
    made = client.post(URL, {"role": "viewer", "name": "Dora", "expires_in_s": 3600})
    assert made.status_code == 201
    path = made.json()["url"].removeprefix("http://testserver")
    assert browser(dora).get(path).status_code == 200
    (listed,) = client.get(URL).json()["results"]
    assert (listed["role"], listed["name"], listed["by"], "url" in listed) == ("viewer", "Dora", "alice", False)
    assert client.delete(f"{URL}{listed['id']}/").status_code == 204
    assert client.delete(f"{URL}{listed['id']}/").status_code == 404
    assert browser(dora).get(path).status_code == 404


@pytest.mark.parametrize(("who", "status"), [("bob", 403), ("vera", 403), ("charlie", 404)])
def test_only_managers_of_the_fleet_invite(who: str, status: int, alice: User, code: str, api: Any) -> None:
    fleet = Fleet.objects.get(slug="greenhouse")
    user = make_user(who, {"bob": "operator", "vera": "viewer"}.get(who, ""), fleet if status == 403 else None)
    client = api(user)
    pk = Invitation.objects.get().pk
    answers = [client.get(URL), client.post(URL, {}), client.delete(f"{URL}{pk}/")]
    page = browser(user)
    answers += [page.post(f"/fleets/greenhouse/invitations/{pk}/revoke/"), page.post("/fleets/greenhouse/invitations/")]
    assert {answer.status_code for answer in answers} == {status}


def test_a_manager_revokes_nothing_of_another_fleet(code: str, charlie: User, brewery: Fleet, api: Any) -> None:
    pk = Invitation.objects.get().pk
    assert api(charlie).delete(f"/api/v1/fleets/brewery/invitations/{pk}/").status_code == 404
    assert invitations.find(code)


@pytest.mark.parametrize("asked", [{"role": "king"}, {"expires_in_s": 1}, {"expires_in_s": 32 * 86_400}, {"code": "x"}])
def test_what_cannot_be_offered_is_refused(asked: dict[str, Any], alice: User, api: Any) -> None:
    assert (api(alice).post(URL, asked).status_code, Invitation.objects.count()) == (400, 0)


def test_on_the_page_the_link_is_shown_once(alice: User, dora: User) -> None:
    page = browser(alice)
    made = page.post("/fleets/greenhouse/invitations/", {"role": "operator", "name": "Carol", "days": "7"})
    found = re.search(r"http://testserver(/invitation/[\w-]+/)", made.content.decode())
    assert found
    assert browser(dora).get(found[1]).status_code == 200
    listed = page.get("/fleets/greenhouse/").content.decode()
    assert "Carol" in listed
    assert found[1] not in listed
    page.post(f"/fleets/greenhouse/invitations/{Invitation.objects.get().pk}/revoke/")
    assert browser(dora).get(found[1]).status_code == 404


def test_no_more_than_so_many_are_open(alice: User, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "OPEN", 1)
    with pytest.raises(Refusal, match="revoke some first"):
        invitations.make(alice, Fleet.objects.get(), "viewer")
    _expired(code)
    assert invitations.make(alice, Fleet.objects.get(), "viewer")


# --- what is left of the code


def test_no_code_is_in_the_database_the_audit_or_the_log(
    alice: User, dora: User, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    caplog.set_level(logging.DEBUG)
    invitations.accept(dora, code)
    browser().get(f"/invitation/{code}/")
    kept = [str(list(model.objects.values())) for model in (Invitation, AuditEntry)]
    assert code not in "".join(kept)
    assert [record for record in caplog.records if "/invitation/" in record.getMessage()]


def test_the_address_reaches_no_other_server_cache_or_search(code: str) -> None:
    for one in (code, "never"):
        answer = browser().get(f"/invitation/{one}/")
        assert answer["Referrer-Policy"] == "strict-origin"
        assert "no-store" in answer["Cache-Control"]
        assert answer["X-Robots-Tag"] == "noindex"


def test_the_audit_names_who_invited_who_came_and_who_revoked(alice: User, dora: User, api: Any) -> None:
    client = api(alice)
    path = client.post(URL, {"name": "Dora"}).json()["url"].removeprefix("http://testserver")
    browser(dora).post(path)
    second = client.post(URL, {"name": "Erin"}).json()
    client.delete(f"{URL}{second['id']}/")
    first = Invitation.objects.get().pk
    assert said("invitation.") == [
        ("alice", "invitation.made", f"Dora ({first})"),
        ("dora", "invitation.accepted", f"Dora ({first})"),
        ("alice", "invitation.made", f"Erin ({second['id']})"),
        ("alice", "invitation.revoked", f"Erin ({second['id']})"),
    ]


def test_an_account_that_is_made_by_an_invitation_is_noted_as_its_own(code: str) -> None:
    browser().post(f"/invitation/{code}/", NEW)
    assert said("user.made") == [("carol", "user.made", "carol")]
    assert {by for by, _, _ in said("member.admitted")} == {"carol"}
