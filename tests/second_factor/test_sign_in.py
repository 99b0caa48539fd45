"""Signing in with a second factor: what lets in, what does not, and what is told before and after the password."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import time_machine
from asgiref.sync import async_to_sync
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from devices import second_factor
from devices.errors import HalfWay, Refusal
from devices.passwords import Passwords
from tests.django.conftest import PASSWORD
from tests.second_factor.conftest import STEP_S, Phone, is_in, knock

TOKENS = "/api/v1/tokens/"


def send(client: Client, code: str) -> Any:
    return client.post("/sign-in/code/", {"code": code})


def ask(**more: str) -> tuple[int, str]:
    asked = {"username": "alice", "password": PASSWORD, **more}
    answer = Client().post(TOKENS, asked, content_type="application/json")
    return answer.status_code, answer.json().get("code", "")


def test_the_password_alone_leads_to_the_code_and_the_code_to_where_one_was_going(phone: Phone) -> None:
    client = Client()
    answer = client.post("/sign-in/", {"username": "alice", "password": PASSWORD, "next": "/rejects/"})
    assert answer["Location"] == "/sign-in/code/"
    assert not is_in(client)
    assert send(client, phone.code())["Location"] == "/rejects/"
    assert is_in(client)


def test_whoever_has_none_signs_in_as_ever(alice: User) -> None:
    assert is_in(knock())


def test_a_wrong_password_does_not_tell_who_has_one(phone: Phone, bob: User) -> None:
    said = []
    for name in ("alice", "bob"):
        answer = Client().post("/sign-in/", {"username": name, "password": "wrong"})
        said.append(
            (answer.status_code, answer.content.decode().count("second"), "Please enter" in str(answer.content))
        )
        said.append(ask(username=name, password="wrong", code=phone.code()))
    assert said == [(200, 0, True), (401, "wrong_password")] * 2


def test_a_wrong_code_lets_nobody_in_and_says_so(phone: Phone) -> None:
    client = knock()
    assert "This code is wrong" in send(client, phone.wrong()).content.decode()
    assert not is_in(client)


def test_a_code_is_good_once(phone: Phone) -> None:
    code = phone.code()
    assert is_in(client := knock()) is False
    assert send(client, code).status_code == 302
    another = knock()
    assert send(another, code).status_code == 200
    assert not is_in(another)
    assert ask(code=code) == (401, "second_factor_wrong")


def test_no_code_is_good_that_is_older_than_one_that_was_taken(phone: Phone) -> None:
    send(knock(), phone.code(1))
    assert ask(code=phone.code()) == (401, "second_factor_wrong")


def test_a_code_of_more_than_half_a_minute_ago_or_ahead_is_not_good(phone: Phone) -> None:
    assert ask(code=phone.code(2)) == (401, "second_factor_wrong")
    assert ask(code=phone.code(-2)) == (401, "second_factor_wrong")


@pytest.mark.django_db(transaction=True)
def test_of_many_who_send_the_same_code_at_once_one_is_let_in(
    phone: Phone, alice: User, clock: time_machine.Traveller
) -> None:
    together = Barrier(4)

    def tried(code: str) -> bool:
        connection.ensure_connection()
        together.wait()
        try:
            second_factor.check(alice, code)
        except Refusal:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as threads:
        for paper in phone.paper[:5]:
            clock.shift(STEP_S)
            assert sum(threads.map(tried, [phone.code()] * 4)) == 1
            assert sum(threads.map(tried, [paper] * 4)) == 1


def test_each_recovery_code_is_good_once(phone: Phone, alice: User) -> None:
    assert len(set(phone.paper)) == 10
    client = knock()
    send(client, phone.paper[3])
    assert is_in(client)
    assert ask(code=phone.paper[3]) == (401, "second_factor_wrong")
    assert second_factor.codes_left(alice) == 9


def test_guessing_ends_after_a_few_wherever_it_comes_from(
    phone: Phone, alice: User, clock: time_machine.Traveller, settings: Any
) -> None:
    settings.AXES_FAILURE_LIMIT = 4
    for _ in range(2):
        send(knock(), phone.wrong())
        ask(code=phone.wrong())
    assert ask(code=phone.code()) == (429, "too_many_requests")
    assert ask(code=phone.paper[0]) == (429, "too_many_requests")
    elsewhere = knock(client=Client(REMOTE_ADDR="192.0.2.7"))
    assert second_factor.codes_left(alice) == 10
    assert "Too many wrong codes" in send(elsewhere, phone.code()).content.decode()
    clock.shift(settings.AXES_COOLOFF_TIME.total_seconds() + 1)
    assert ask(code=phone.code())[0] == 201


def test_a_right_code_forgives_the_wrong_ones_before_it(phone: Phone, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    for right in (phone.code(), phone.code(1)):
        ask(code=phone.wrong())
        assert ask(code=right)[0] == 201


def test_a_token_takes_the_code_and_says_so_once_the_password_is_right(phone: Phone) -> None:
    assert ask() == (401, "second_factor_needed")
    assert ask(code=phone.wrong()) == (401, "second_factor_wrong")
    assert ask(code=phone.code())[0] == 201


def test_the_admin_has_no_door_of_its_own(phone: Phone, root: User, phone_of: Callable[[User], Phone]) -> None:
    client = Client()
    code = phone_of(root).code()
    answer = client.post("/admin/login/?next=/admin/", {"username": "root", "password": PASSWORD})
    assert answer.status_code == 405
    assert client.get("/admin/login/?next=/admin/")["Location"] == "/sign-in/?next=/admin/"
    knock("root", then="/admin/", client=client)
    assert client.get("/admin/").status_code == 302
    assert send(client, code)["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_whoever_is_no_staff_is_not_led_in_circles(alice: User) -> None:
    client = knock()
    assert client.get("/admin/", follow=True).status_code == 403


def test_whoever_knocked_long_ago_knocks_again(phone: Phone, clock: time_machine.Traveller) -> None:
    client = knock()
    clock.shift(601)
    assert send(client, phone.code())["Location"] == "/sign-in/"
    assert not is_in(client)


def test_who_knocked_is_forgotten_with_a_new_password_or_a_locked_account(phone: Phone, alice: User) -> None:
    changed, locked = knock(), knock()
    alice.is_active = False
    alice.save()
    assert send(locked, phone.code())["Location"] == "/sign-in/"
    alice.is_active = True
    alice.set_password("another long password")
    alice.save()
    assert send(changed, phone.code())["Location"] == "/sign-in/"


def test_nobody_is_asked_for_a_code_who_did_not_knock(phone: Phone) -> None:
    assert Client().get("/sign-in/code/")["Location"] == "/sign-in/"
    assert send(Client(), phone.code())["Location"] == "/sign-in/"


def test_whoever_checks_a_password_and_forgets_the_code_lets_nobody_in(phone: Phone, alice: User) -> None:
    with pytest.raises(HalfWay):
        authenticate(HttpRequest(), username="alice", password=PASSWORD)


def test_the_same_holds_for_asynchronous_code(phone: Phone) -> None:
    with pytest.raises(HalfWay):
        async_to_sync(Passwords().aauthenticate)(None, username="alice", password=PASSWORD)


def test_a_secret_sealed_under_another_key_is_named(phone: Phone, settings: Any) -> None:
    settings.SECRET_KEY = "another" * 10
    assert ask(code=phone.code()) == (401, "second_factor_unreadable")


# --- where everybody needs one


@pytest.fixture
def required(settings: Any) -> None:
    settings.SECOND_FACTOR = "required"


@pytest.mark.usefixtures("required")
@pytest.mark.parametrize("name", ["alice", "root"])
def test_whoever_has_none_sets_one_up_before_anything_else(name: str, alice: User, root: User) -> None:
    client = Client()
    answer = client.post("/sign-in/", {"username": name, "password": PASSWORD, "next": "/rejects/"})
    assert answer["Location"] == "/sign-in/set-up/"
    assert not is_in(client)
    phone = Phone(client.get("/sign-in/set-up/").context["secret"].replace(" ", ""))
    assert "This code is wrong" in client.post("/sign-in/set-up/", {"code": phone.wrong()}).content.decode()
    assert not is_in(client)
    page = client.post("/sign-in/set-up/", {"code": phone.code()})
    assert len(page.context["codes"]) == 10
    assert 'href="/rejects/"' in page.content.decode()
    assert is_in(client)
    assert client.get("/sign-in/set-up/")["Location"] == "/sign-in/"


@pytest.mark.usefixtures("required")
def test_a_program_is_told_where_to_set_one_up(alice: User) -> None:
    assert ask() == (401, "second_factor_unset")


@pytest.mark.usefixtures("required")
def test_nobody_sets_another_up_with_a_password_alone(phone: Phone) -> None:
    client = knock()
    assert client.get("/sign-in/set-up/")["Location"] == "/sign-in/"
    assert client.post("/sign-in/set-up/", {"code": phone.code()})["Location"] == "/sign-in/"
    assert not is_in(client)


# --- what is used of django-allauth


def test_its_codes_are_those_of_rfc_6238(clock: time_machine.Traveller) -> None:
    clock.move_to(59)
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # the RFC's "12345678901234567890"
    assert second_factor._step(secret, "287082") == 59 // STEP_S


@pytest.mark.parametrize("name", ["account_login", "account_signup", "account_reset_password", "mfa_index"])
def test_none_of_its_pages_has_an_address(name: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(name)
