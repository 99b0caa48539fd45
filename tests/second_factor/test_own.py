"""Turning one's own second factor on and off, what is kept of it, and how it is taken from whoever has lost it."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from devices import invitations, second_factor
from devices.models import AuditEntry, Fleet
from tests.django.conftest import PASSWORD
from tests.second_factor.conftest import Phone, is_in, knock

PAGE, OFF = "/second-factor/", "/second-factor/off/"


def noted() -> list[tuple[str, str, str, str]]:
    rows = AuditEntry.objects.exclude(action="session.begun").order_by("pk")
    return list(rows.values_list("action", "target", "by", "via"))


def everything_kept() -> str:
    """All rows of the tables that have to do with it."""
    rows = [list(model.objects.values()) for model in (Authenticator, Session, AuditEntry)]
    return json.dumps([rows, [one.get_decoded() for one in Session.objects.all()]], default=str)


def test_a_person_turns_it_on_with_a_code_and_sees_the_recovery_codes_once(alice: User) -> None:
    client, elsewhere = knock(), knock()
    page = client.get(PAGE)
    assert "<svg" in page.content.decode()
    phone = Phone(page.context["secret"].replace(" ", ""))
    assert client.get(PAGE).context["secret"] == page.context["secret"]
    assert "This code is wrong" in client.post(PAGE, {"code": phone.wrong()}).content.decode()
    codes = client.post(PAGE, {"code": phone.code()}).context["codes"]
    assert not any(code in client.get(PAGE).content.decode() for code in codes)
    assert (is_in(client), is_in(elsewhere)) == (True, True)
    assert noted() == [("second_factor.set_up", "alice", "alice", "session")]
    assert not is_in(knock())


def test_the_page_is_linked_and_only_for_whoever_is_signed_in(alice: User) -> None:
    assert f'href="{PAGE}"' in knock().get("/account/").content.decode()
    assert Client().get(PAGE)["Location"] == f"/sign-in/?next={PAGE}"


def test_the_code_that_turned_it_on_does_not_sign_in(alice: User) -> None:
    client = knock()
    phone = Phone(client.get(PAGE).context["secret"].replace(" ", ""))
    client.post(PAGE, {"code": phone.code()})
    assert knock().post("/sign-in/code/", {"code": phone.code()}).status_code == 200


def test_an_open_session_alone_does_not_turn_it_off(phone: Phone, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    assert "This code is wrong" in client.post(OFF, {"code": phone.wrong()}).content.decode()
    assert client.get(OFF).status_code == 405
    assert second_factor.has(alice)
    assert client.post(OFF, {"code": phone.code()})["Location"] == PAGE
    assert not second_factor.has(alice)
    assert is_in(client)
    assert noted()[-1] == ("second_factor.turned_off", "alice", "alice", "session")


def test_a_second_one_is_refused(phone: Phone, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    client.post(PAGE, {"code": phone.code()})
    assert noted() == [("second_factor.set_up", "alice", "the hub", "")]


def test_what_is_kept_gives_no_code_away(phone: Phone, alice: User, bob: User) -> None:
    client = knock("bob")
    offered = client.get(PAGE).context["secret"].replace(" ", "")
    kept = everything_kept()
    assert "totp" in kept
    assert not [secret for secret in (phone.secret, offered, *phone.paper) if secret in kept]


@pytest.mark.parametrize("url", ["/account/password/", "/admin/password_change/"])
def test_a_new_password_takes_the_code(url: str, phone: Phone, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    new = {"old_password": PASSWORD, "new_password1": "quite another one", "new_password2": "quite another one"}
    for code in ("", phone.wrong()):
        assert client.post(url, {**new, "code": code}).status_code == 200
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert client.post(url, {**new, "code": phone.code()})["Location"] == "/account/"
    alice.refresh_from_db()
    assert alice.check_password("quite another one")


def test_a_mistyped_new_password_costs_no_code(phone: Phone, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    new = {"old_password": PASSWORD, "new_password1": "quite another one", "new_password2": "something else"}
    client.post("/account/password/", {**new, "code": phone.code()})
    second_factor.check(alice, phone.code())


# --- lost


def test_the_command_takes_it_away_and_says_what_it_did(phone: Phone, alice: User) -> None:
    said = StringIO()
    call_command("second_factor", reset="alice", stdout=said)
    assert said.getvalue() == "alice signs in with the password alone now.\n"
    assert is_in(knock())
    assert noted()[-1] == ("second_factor.turned_off", "alice", "the hub", "manage.py second_factor")


@pytest.mark.parametrize(("name", "said"), [("alice", "has no second factor"), ("zoe", "nobody called 'zoe'")])
def test_the_command_names_what_it_cannot_do(name: str, said: str, alice: User) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("second_factor", reset=name)


def choose(actor: User, *people: User) -> str:
    client = Client()
    client.force_login(actor)
    asked = {"action": "reset_second_factor", "_selected_action": [one.pk for one in people]}
    return client.post(reverse("admin:auth_user_changelist"), asked, follow=True).content.decode()


def test_a_superuser_takes_it_away_in_the_admin(phone: Phone, alice: User, bob: User, root: User) -> None:
    assert "Taken away from: alice." in choose(root, alice, bob)
    assert not second_factor.has(alice)
    assert noted()[-1] == ("second_factor.turned_off", "alice", "root", "session")


def test_other_staff_does_not(phone: Phone, alice: User, bob: User, permissions_of_staff: Callable[..., User]) -> None:
    choose(permissions_of_staff(bob, "view_user", "change_user"), alice)
    assert second_factor.has(alice)


@pytest.fixture
def permissions_of_staff() -> Callable[..., User]:
    def given(user: User, *names: str) -> User:
        user.is_staff = True
        user.save()
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        return user

    return given


def test_the_admin_shows_no_table_of_it(phone: Phone, root: User) -> None:
    client = Client()
    client.force_login(root)
    page = client.get("/admin/").content.decode()
    assert "/admin/auth/user/" in page
    assert not [path for path in ("/admin/mfa/", "/admin/account/") if path in page]


def test_settings_leave_no_code_that_is_always_good(settings: Any) -> None:
    assert not hasattr(settings, "MFA_TOTP_INSECURE_BYPASS_CODE")


# --- beside other pages


def test_in_a_session_that_a_code_began_the_password_alone_makes_a_token(phone: Phone, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    asked = {"name": "Grafana", "access": "read", "days": "1", "password": PASSWORD}
    assert "shown this once" in client.post("/tokens/", asked).content.decode()
    assert "shown this once" not in client.post("/tokens/", asked | {"password": "wrong"}).content.decode()


@pytest.mark.parametrize(("factor", "inside"), [("optional", True), ("required", False)])
def test_who_comes_by_an_invitation_is_let_in_as_the_hub_asks(
    factor: str, inside: bool, alice: User, settings: Any
) -> None:
    settings.SECOND_FACTOR = factor
    fleet = Fleet.objects.get(memberships__user=alice)
    code = invitations.make(alice, fleet, "viewer")[1]
    client = Client()
    asked = {"username": "carol", "password1": "a long enough one", "password2": "a long enough one"}
    assert client.post(f"/invitation/{code}/", asked)["Location"] == "/"
    assert (client.get("/").status_code == 200) == inside
    assert fleet.memberships.filter(user__username="carol").exists()
