"""The pages about people: a fleet's managers decide who is what; everybody has an account, tokens, and a password."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from devices import members, tokens
from devices.models import AuditEntry, Device, DeviceRole, Fleet, Membership, Token
from tests.django.conftest import PASSWORD

FLEET = "/fleets/greenhouse/"
NEW = "a long enough one"


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text_of(client: Client, url: str, status: int = 200) -> str:
    answer = client.get(url)
    assert answer.status_code == status
    return answer.content.decode()


def roles() -> dict[str, str]:
    return dict(Membership.objects.values_list("user__username", "role"))


# --- a fleet


def test_a_manager_sees_who_is_in_the_fleet_and_what_it_keeps(alice: User, bob: User, greenhouse: Fleet) -> None:
    greenhouse.keep_raw = 30
    greenhouse.save()
    page = text_of(browser(alice), FLEET)
    assert re.search(r'<th scope="row">bob</th>', page)
    assert "<option selected>operator</option>" in page
    assert "30 days" in page
    assert 'href="/audit/?fleet=greenhouse"' in page


@pytest.mark.parametrize(("who", "status"), [("bob", 403), ("vera", 403), ("charlie", 404)])
def test_who_does_not_manage_it_neither_sees_nor_does_it(
    who: str, status: int, bob: User, vera: User, charlie: User
) -> None:
    page = browser(User.objects.get(username=who))
    asked = {"user": who, "role": "manager"}
    answers = [page.get(FLEET), page.post(f"{FLEET}members/", asked), page.post(f"{FLEET}members/dismiss/", asked)]
    assert [answer.status_code for answer in answers] == [status] * 3
    assert roles().get("bob") == "operator"


def test_a_manager_adds_changes_and_dismisses(alice: User, bob: User, dora: User) -> None:
    page = browser(alice)
    page.post(f"{FLEET}members/", {"user": "dora", "role": "viewer"})
    page.post(f"{FLEET}members/", {"user": "bob", "role": "manager"})
    assert roles() == {"alice": "manager", "bob": "manager", "dora": "viewer"}
    page.post(f"{FLEET}members/dismiss/", {"user": "dora"})
    assert page.post(f"{FLEET}members/dismiss/", {"user": "alice"})["Location"] == "/"
    assert roles() == {"bob": "manager"}


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        ("members/", {"user": "alice", "role": "viewer"}, "would be left without a manager"),
        ("members/dismiss/", {"user": "alice"}, "would be left without a manager"),
        ("members/", {"user": "nobody", "role": "viewer"}, "There is nobody called"),
        ("members/dismiss/", {"user": "nobody"}, "is no member"),
    ],
)
def test_what_cannot_be_is_said_on_the_page(path: str, asked: dict[str, str], said: str, alice: User) -> None:
    page = browser(alice)
    assert said in page.post(f"{FLEET}{path}", asked, follow=True).content.decode()
    assert roles() == {"alice": "manager"}


def test_a_role_that_is_none_is_refused_in_the_form(alice: User, bob: User) -> None:
    answer = browser(alice).post(f"{FLEET}members/", {"user": "bob", "role": "king"})
    assert "Select a valid choice" in answer.content.decode()
    assert roles()["bob"] == "operator"


def test_whoever_manages_a_fleet_is_led_to_its_people(alice: User, vera: User) -> None:
    assert f'href="{FLEET}"' in text_of(browser(alice), "/")
    assert f'href="{FLEET}"' not in text_of(browser(vera), "/")


# --- making fleets


def test_an_administrator_makes_a_fleet_with_its_first_manager(root: User, dora: User) -> None:
    page = browser(root)
    answer = page.post("/fleets/", {"name": "Orchard", "slug": "orchard", "manager": "dora"})
    assert answer["Location"] == "/fleets/orchard/"
    assert roles() == {"dora": "manager"}
    assert AuditEntry.objects.filter(action="fleet.made", by="root", fleet_name="Orchard").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"slug": "Or chard"}, "lower case letters"),
        ({"slug": "greenhouse"}, "exists already"),
        ({"slug": "orchard", "manager": "nobody"}, "There is nobody called"),
    ],
)
def test_a_fleet_that_cannot_be_made_is_refused_where_it_is_asked_for(
    asked: dict[str, str], said: str, root: User, greenhouse: Fleet
) -> None:
    answer = browser(root).post("/fleets/", {"name": "Orchard", **asked})
    assert said in answer.content.decode()
    assert Fleet.objects.count() == 1


def test_nobody_else_makes_fleets(alice: User, api: Any) -> None:
    assert browser(alice).get("/fleets/").status_code == 403
    assert browser(alice).post("/fleets/", {"name": "O", "slug": "o"}).status_code == 403
    assert api(alice).post("/api/v1/fleets/", {"slug": "o"}).status_code == 403
    assert Fleet.objects.count() == 1


def test_over_rest_an_administrator_makes_a_fleet(root: User, dora: User, api: Any) -> None:
    answer = api(root).post("/api/v1/fleets/", {"slug": "orchard", "name": "Orchard", "manager": "dora"})
    assert (answer.status_code, answer.json()["slug"], answer.json()["devices"]) == (201, "orchard", 0)
    assert api(dora).get("/api/v1/fleets/orchard/").json()["role"] == "manager"
    taken = api(root).post("/api/v1/fleets/", {"slug": "orchard"})
    assert (taken.status_code, taken.json()["code"]) == (409, "slug_taken")


def test_a_fleet_without_members_takes_any_first_member(root: User, dora: User, vera: User) -> None:
    fleet = members.make_fleet("orchard")
    members.admit(fleet, "vera", "viewer")
    members.admit(fleet, "dora", "manager")
    assert fleet.memberships.count() == 2


# --- exceptions

ROLES = "/api/v1/devices/pump-1/roles/"


def test_over_rest_a_role_for_one_device_is_given_listed_and_ended(
    alice: User, vera: User, pump: Device, api: Any
) -> None:
    client = api(alice)
    assert client.post(ROLES, {"user": "vera", "role": "none"}).json() == {"user": "vera", "role": "none"}
    assert api(vera).get("/api/v1/devices/pump-1/").status_code == 404
    assert client.get(ROLES).json()["results"] == [{"user": "vera", "role": "none"}]
    assert client.delete(f"{ROLES}vera/").status_code == 204
    assert api(vera).get("/api/v1/devices/pump-1/").status_code == 200
    assert client.delete(f"{ROLES}vera/").status_code == 404


@pytest.mark.parametrize(("who", "status"), [("bob", 403), ("vera", 403), ("charlie", 404)])
@pytest.mark.usefixtures("pump", "bob", "vera", "charlie")
def test_only_its_managers_decide_who_is_what_for_a_device(who: str, status: int, api: Any) -> None:
    user = User.objects.get(username=who)
    client, page, asked = api(user), browser(user), {"user": who, "role": "manager"}
    answers = [client.get(ROLES), client.post(ROLES, asked), client.delete(f"{ROLES}{who}/")]
    answers += [page.post("/devices/pump-1/roles/", asked), page.post("/devices/pump-1/roles/end/", asked)]
    assert [answer.status_code for answer in answers] == [status] * 5
    assert not DeviceRole.objects.exists()


def test_nobody_hides_a_device_from_those_who_manage_its_fleet(alice: User, dora: User, pump: Device, api: Any) -> None:
    members.except_for(pump, "dora", "manager")
    refused = api(dora).post(ROLES, {"user": "alice", "role": "none"})
    assert (refused.status_code, refused.json()["code"]) == (409, "manages_fleet")
    assert api(alice).get(ROLES).status_code == 200


def test_on_the_page_a_role_is_given_shown_and_ended(alice: User, vera: User, pump: Device) -> None:
    page = browser(alice)
    done = page.post("/devices/pump-1/roles/", {"user": "vera", "role": "operator"})
    assert done["Location"] == "/devices/pump-1/#roles"
    assert "vera is operator of Pump now." in text_of(page, "/devices/pump-1/")
    assert 'operator of <a href="/devices/pump-1/#roles">pump-1</a>' in text_of(page, FLEET)
    page.post("/devices/pump-1/roles/end/", {"user": "vera"})
    assert not DeviceRole.objects.exists()
    assert "Roles for this device" not in text_of(browser(vera), "/devices/pump-1/")


@pytest.mark.parametrize("asked", [{"user": "nobody", "role": "viewer"}, {"user": "vera", "role": "king"}, {}])
def test_a_role_that_cannot_be_given_is_refused(asked: dict[str, str], alice: User, vera: User, pump: Device) -> None:
    page = browser(alice)
    answer = page.post("/devices/pump-1/roles/", asked, follow=True)
    assert 'data-level="warning"' in answer.content.decode()
    assert not DeviceRole.objects.exists()


# --- an account


def test_an_account_shows_one_s_fleets_and_roles(bob: User, brewery: Fleet) -> None:
    page = text_of(browser(bob), "/account/")
    assert "Greenhouse" in page
    assert "operator" in page
    assert "Brewery" not in page
    assert f'href="{FLEET}"' not in page
    assert 'href="/audit/"' not in page


def test_an_account_leads_managers_to_people_and_audit(alice: User) -> None:
    page = text_of(browser(alice), "/account/")
    assert f'href="{FLEET}"' in page
    assert 'href="/audit/"' in page


def test_who_sees_some_devices_of_a_fleet_is_told_so(dora: User, pump: Device) -> None:
    members.except_for(pump, "dora", "viewer")
    assert "some of its devices" in text_of(browser(dora), "/account/")


# --- tokens

ASKED = {"name": "Grafana", "access": "read", "days": "90", "password": PASSWORD}


def bearer(page: str) -> APIClient:
    found = re.search(r'id="token">(\w+)<', page)
    assert found
    return APIClient(headers={"Authorization": f"Token {found[1]}"})


def test_a_token_is_made_on_the_page_and_shown_once(alice: User, pump: Device) -> None:
    page = browser(alice)
    client = bearer(page.post("/tokens/", ASKED).content.decode())
    assert client.get("/api/v1/devices/pump-1/").status_code == 200
    assert client.patch("/api/v1/devices/pump-1/", {"name": "x"}).status_code == 403
    listed = text_of(page, "/tokens/")
    assert "Grafana" in listed
    assert "last used" in listed
    assert 'id="token"' not in listed


@pytest.mark.parametrize(
    ("narrowed", "seen"), [({"devices": "pump-1"}, ["pump-1"]), ({"fleets": "brewery"}, ["kettle"]), ({}, None)]
)
def test_a_token_is_narrowed_to_what_was_chosen(
    narrowed: dict[str, str], seen: list[str] | None, root: User, pump: Device, kettle: Device
) -> None:
    client = bearer(browser(root).post("/tokens/", ASKED | narrowed).content.decode())
    found = [row["key"] for row in client.get("/api/v1/devices/").json()["results"]]
    assert found == (seen or ["kettle", "pump-1"])


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"password": ""}, {"access": "all"}, {"devices": "kettle"}])
def test_a_token_takes_the_password_and_what_one_may_see(wrong: dict[str, str], alice: User, kettle: Device) -> None:
    answer = browser(alice).post("/tokens/", ASKED | wrong)
    assert 'class="fault"' in answer.content.decode()
    assert not Token.objects.exists()


def test_guessing_the_password_at_an_open_page_locks_it_out(alice: User, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    page = browser(alice)
    for _ in range(2):
        page.post("/tokens/", ASKED | {"password": "guess"})
    assert page.post("/tokens/", ASKED).status_code == 429
    assert not Token.objects.exists()


def test_guessing_the_old_password_at_an_open_page_locks_it_out_too(alice: User, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    page = browser(alice)
    new = {"new_password1": "a long new one 7", "new_password2": "a long new one 7"}
    for _ in range(2):
        page.post("/account/password/", new | {"old_password": "guess"})
    assert page.post("/account/password/", new | {"old_password": PASSWORD}).status_code == 429
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_a_token_is_revoked_and_nobody_revokes_another_s(alice: User, bob: User, pump: Device) -> None:
    made, secret = tokens.make(alice, "laptop")
    client = APIClient(headers={"Authorization": f"Token {secret}"})
    browser(bob).post(f"/tokens/{made.token_key}/revoke/")
    assert client.get("/api/v1/devices/").status_code == 200
    browser(alice).post(f"/tokens/{made.token_key}/revoke/")
    assert client.get("/api/v1/devices/").status_code == 401


def test_a_token_by_itself_opens_no_page(alice: User) -> None:
    secret = tokens.make(alice, "laptop")[1]
    answer = Client(headers={"Authorization": f"Token {secret}"}).post("/tokens/", ASKED)
    assert answer["Location"] == "/sign-in/?next=/tokens/"


# --- the password


def test_a_new_password_ends_all_other_sessions_and_not_one_s_own(alice: User) -> None:
    here, there = browser(alice), browser(alice)
    asked = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert here.post("/account/password/", asked)["Location"] == "/account/"
    assert "all your other sessions are ended" in text_of(here, "/account/")
    assert there.get("/account/").status_code == 302
    assert AuditEntry.objects.filter(action="password.changed", by="alice").exists()
    alice.refresh_from_db()
    assert alice.check_password(NEW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"old_password": "wrong"},
        {"new_password1": "short", "new_password2": "short"},
        {"new_password1": "1234567890123", "new_password2": "1234567890123"},
        {"new_password2": "another one there"},
    ],
)
def test_a_password_is_changed_by_its_rules(wrong: dict[str, str], alice: User) -> None:
    asked = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    answer = browser(alice).post("/account/password/", asked | wrong)
    assert 'class="fault"' in answer.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_the_rules_are_shown_before_they_are_broken(alice: User) -> None:
    assert "at least 10 characters" in text_of(browser(alice), "/account/password/")


@pytest.mark.parametrize("url", ["/account/", "/account/password/", "/tokens/", "/audit/", "/fleets/", FLEET])
def test_whoever_is_not_signed_in_is_asked_to(url: str, greenhouse: Fleet) -> None:
    assert Client().get(url)["Location"] == f"/sign-in/?next={url}"
