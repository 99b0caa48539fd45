"""tokens/: made from a password, told once, listed without themselves, revoked."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from devices.models import Token

URL = "/api/v1/tokens/"
PASSWORD = "correct horse battery"


@pytest.fixture
def tries(settings: Any) -> int:
    """How often one may be wrong, made small: each try costs what it costs."""
    settings.AXES_FAILURE_LIMIT = 3
    return 3


def ask(username: str = "alice", password: str = PASSWORD, **more: Any) -> Any:
    return APIClient().post(URL, {"username": username, "password": password, **more})


def test_a_password_gives_a_token_that_opens_the_api(alice: User) -> None:
    answer = ask(name="grafana")
    assert answer.status_code == 201
    assert answer.json()["expires_at"] > 1_700_000_000_000
    client = APIClient(headers={"Authorization": f"Token {answer.json()['token']}"})
    assert client.get("/api/v1/devices/").status_code == 200


def test_the_list_names_tokens_and_does_not_tell_them(alice: User, bob: User, api: Any) -> None:
    token = ask(name="grafana").json()["token"]
    ask("bob")
    listed = api(alice).get(URL)
    assert [row["name"] for row in listed.json()["results"]] == ["", "grafana"]
    assert token not in listed.content.decode()
    assert set(listed.json()["results"][0]) == {
        *("id", "name", "access", "link", "created_at", "expires_at", "used_at")
    }


def test_a_revoked_token_is_refused_at_once(alice: User) -> None:
    made = ask().json()
    client = APIClient(headers={"Authorization": f"Token {made['token']}"})
    assert client.delete(f"{URL}{made['id']}/").status_code == 204
    refused = client.get("/api/v1/devices/")
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")


def test_nobody_revokes_the_token_of_another(alice: User, bob: User, api: Any) -> None:
    made = ask().json()
    assert api(bob).delete(f"{URL}{made['id']}/").status_code == 404
    assert Token.objects.filter(user=alice).exists()


@pytest.mark.parametrize(("username", "password"), [("alice", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_password_and_an_unknown_name_are_refused_alike(alice: User, username: str, password: str) -> None:
    answer = ask(username, password)
    assert (answer.status_code, answer.json()) == (
        401,
        {"code": "wrong_password", "message": "The user name or the password is wrong."},
    )


def test_a_deactivated_user_gets_no_token_and_cannot_use_an_old_one(alice: User, api: Any) -> None:
    client = api(alice)
    alice.is_active = False
    alice.save()
    assert ask().status_code == 401
    assert client.get("/api/v1/devices/").status_code == 401


def test_guessing_locks_the_name_out_even_for_the_right_password(alice: User, tries: int) -> None:
    for _ in range(tries):
        ask(password="guess")
    locked = ask()
    assert (locked.status_code, locked.json()["code"]) == (429, "too_many_requests")


def test_who_guesses_at_one_name_does_not_lock_another(alice: User, bob: User, tries: int) -> None:
    for _ in range(tries):
        ask(password="guess")
    assert ask("bob").status_code == 201


def test_the_right_password_forgives_the_wrong_ones_before(alice: User, tries: int) -> None:
    for _ in range(2):
        for _ in range(tries - 1):
            ask(password="guess")
        assert ask().status_code == 201


def test_what_is_missing_or_misspelt_is_named(alice: User) -> None:
    answer = APIClient().post(URL, {"user": "alice", "password": PASSWORD})
    assert answer.status_code == 400
    assert "username" in answer.json()["fields"]["user"]


def test_a_session_alone_changes_nothing_without_its_csrf_token(alice: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    assert browser.get("/api/v1/devices/").status_code == 200
    refused = browser.post("/api/v1/devices/", {"key": "x"}, content_type="application/json")
    assert (refused.status_code, "CSRF" in refused.json()["message"]) == (403, True)


def test_without_signing_in_nothing_is_told_but_how_to(db: None) -> None:
    answer = APIClient().get("/api/v1/devices/")
    assert answer.status_code == 401
    assert "tokens" in answer.json()["message"]
