"""fleets/ and their members: seen by members, decided by managers."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices.models import Device, Fleet, Membership

URL = "/api/v1/fleets/"
MEMBERS = f"{URL}greenhouse/members/"


def test_everybody_sees_their_fleets_and_their_role(bob: User, brewery: Fleet, pump: Device, api: Any) -> None:
    assert api(bob).get(URL).json() == {
        "results": [{"slug": "greenhouse", "name": "Greenhouse", "devices": 1, "role": "operator"}],
        "next": None,
    }


def test_an_administrator_sees_all_fleets_without_being_a_member(
    root: User, greenhouse: Fleet, brewery: Fleet, api: Any
) -> None:
    shown = api(root).get(URL).json()["results"]
    assert [(row["slug"], row["role"]) for row in shown] == [("brewery", None), ("greenhouse", None)]


def test_a_manager_lists_the_members(alice: User, bob: User, api: Any) -> None:
    assert api(alice).get(MEMBERS).json()["results"] == [
        {"user": "alice", "role": "manager"},
        {"user": "bob", "role": "operator"},
    ]


def test_a_manager_makes_a_member_changes_the_role_and_ends_it(
    alice: User, charlie: User, pump: Device, api: Any
) -> None:
    client = api(alice)
    assert client.post(MEMBERS, {"user": "charlie", "role": "viewer"}).status_code == 201
    assert api(charlie).get("/api/v1/devices/pump-1/").status_code == 200
    assert client.post(MEMBERS, {"user": "charlie", "role": "operator"}).json() == {
        "user": "charlie",
        "role": "operator",
    }
    assert client.delete(f"{MEMBERS}charlie/").status_code == 204
    assert api(charlie).get("/api/v1/devices/pump-1/").status_code == 404
    assert client.delete(f"{MEMBERS}charlie/").status_code == 404


@pytest.mark.parametrize("method", ["get", "post"])
def test_who_does_not_manage_decides_nothing(method: str, bob: User, api: Any) -> None:
    answer = getattr(api(bob), method)(MEMBERS)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_nobody_makes_themselves_a_manager(bob: User, api: Any) -> None:
    assert api(bob).post(MEMBERS, {"user": "bob", "role": "manager"}).status_code == 403
    assert Membership.objects.get(user=bob).role == "operator"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"user": "nobody", "role": "viewer"}, "user_unknown"),
        ({"user": "bob", "role": "king"}, "invalid"),
        ({"user": "bob"}, "invalid"),
        ({"user": "bob", "role": "viewer", "fleet": "brewery"}, "invalid"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, str], code: str, alice: User, bob: User, api: Any) -> None:
    answer = api(alice).post(MEMBERS, asked)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_the_last_manager_can_neither_leave_nor_step_down(alice: User, bob: User, api: Any) -> None:
    client = api(alice)
    for answer in (client.delete(f"{MEMBERS}alice/"), client.post(MEMBERS, {"user": "alice", "role": "viewer"})):
        assert (answer.status_code, answer.json()["code"]) == (409, "last_manager")
    assert client.post(MEMBERS, {"user": "bob", "role": "manager"}).status_code == 200
    assert client.delete(f"{MEMBERS}alice/").status_code == 204
