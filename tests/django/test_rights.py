"""Roles for single devices, and tokens that are good for less: for REST and the registry."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from devices import members, registry, rights, tokens
from devices.errors import Refusal
from devices.models import Device, DeviceRole, Fleet, Role, Token
from tests.django.conftest import refuse

URL = "/api/v1/devices/"


@pytest.fixture
def valve(greenhouse: Fleet) -> Device:
    return registry.create("valve", greenhouse)[0]


def bearing(user: User, **good_for: Any) -> APIClient:
    """A client with a token of this user that is good for so much."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {tokens.make(user, 'test', **good_for)[1]}")
    return client


def keys(client: APIClient) -> list[str]:
    return [row["key"] for row in client.get(URL).json()["results"]]


def fleets(client: APIClient) -> list[tuple[str, int]]:
    return [(row["slug"], row["devices"]) for row in client.get("/api/v1/fleets/").json()["results"]]


def statuses(client: APIClient, key: str) -> list[int]:
    """What it answers to who looks, commands, changes."""
    answers = [
        client.get(f"{URL}{key}/"),
        client.post(f"{URL}{key}/commands/", {"name": "relay", "args": "on"}),
        client.patch(f"{URL}{key}/", {"name": "mine"}),
    ]
    return [answer.status_code for answer in answers]


# --- roles for single devices


def test_a_device_is_hidden_from_one_member_as_if_it_did_not_exist(vera: User, pump: Device, valve: Device) -> None:
    members.except_for(pump, "vera", "none")
    client = bearing(vera)
    assert (keys(client), fleets(client)) == (["valve"], [("greenhouse", 1)])
    assert statuses(client, "pump-1") == [404, 404, 404]
    assert client.get("/api/v1/rejects/?device=pump-1").json()["results"] == []


@pytest.mark.parametrize(
    ("role", "expected"), [("viewer", [200, 403, 403]), ("operator", [200, 201, 403]), ("manager", [200, 201, 200])]
)
@pytest.mark.parametrize("name", ["vera", "dora", "bob"])
def test_a_role_for_one_device_takes_the_place_of_the_fleets(  # noqa: PLR0913, PLR0917  the cast
    name: str, role: str, expected: list[int], vera: User, dora: User, bob: User, pump: Device, valve: Device
) -> None:
    members.except_for(pump, name, role)
    user = User.objects.get(username=name)
    assert statuses(bearing(user), "pump-1") == expected
    assert (
        statuses(bearing(user), "valve") == {"vera": [200, 403, 403], "dora": [404] * 3, "bob": [200, 201, 403]}[name]
    )


def test_who_has_a_role_for_one_device_sees_that_part_of_its_fleet_and_manages_nothing(
    dora: User, pump: Device, valve: Device
) -> None:
    members.except_for(pump, "dora", "manager")
    client = bearing(dora)
    assert (keys(client), fleets(client)) == (["pump-1"], [("greenhouse", 1)])
    assert client.get("/api/v1/fleets/greenhouse/members/").status_code == 403
    assert client.post(URL, {"key": "new", "fleet": "greenhouse"}).status_code == 404


def test_an_administrator_needs_no_role_and_is_not_kept_out_by_one(root: User, pump: Device) -> None:
    members.except_for(pump, "root", "none")
    assert statuses(bearing(root), "pump-1") == [200, 201, 200]


def test_in_another_fleet_nobody_has_a_role_for_the_device_alone(dora: User, pump: Device, brewery: Fleet) -> None:
    members.except_for(pump, "dora", "operator")
    registry.change(pump, {"fleet": brewery})
    assert keys(bearing(dora)) == []


def test_who_is_dismissed_keeps_no_role_for_any_of_its_devices(alice: User, vera: User, pump: Device) -> None:
    members.except_for(pump, "vera", "manager")
    members.dismiss(pump.fleet, "vera")
    assert keys(bearing(vera)) == []
    assert not DeviceRole.objects.exists()


def test_an_exception_that_ends_leaves_the_role_in_the_fleet(vera: User, pump: Device) -> None:
    members.except_for(pump, "vera", "none")
    members.end_exception(pump, "vera")
    assert keys(bearing(vera)) == ["pump-1"]
    with pytest.raises(Refusal, match="no role of their own"):
        members.end_exception(pump, "vera")


# --- tokens that are good for less


@pytest.mark.parametrize(
    ("access", "expected"), [("read", [200, 403, 403]), ("command", [200, 201, 403]), ("manage", [200, 201, 200])]
)
def test_a_token_lets_no_more_than_its_access(access: Any, expected: list[int], alice: User, pump: Device) -> None:
    client = bearing(alice, access=access)
    assert statuses(client, "pump-1") == expected
    if access == "read":
        assert "your token" in client.patch(f"{URL}pump-1/", {"name": "x"}).json()["message"]


def test_a_token_never_lets_more_than_its_user_may(vera: User, pump: Device) -> None:
    assert statuses(bearing(vera, access="manage"), "pump-1") == [200, 403, 403]


def test_a_token_for_a_fleet_shows_that_fleet_alone(root: User, pump: Device, kettle: Device) -> None:
    client = bearing(root, fleets=[pump.fleet])
    assert (keys(client), fleets(client)) == (["pump-1"], [("greenhouse", 1)])
    assert statuses(client, "kettle") == [404] * 3
    assert client.get("/api/v1/fleets/brewery/").status_code == 404


def test_a_token_for_devices_shows_these_and_their_part_of_the_fleet(alice: User, pump: Device, valve: Device) -> None:
    client = bearing(alice, devices=[pump])
    assert (keys(client), fleets(client)) == (["pump-1"], [("greenhouse", 1)])
    assert statuses(client, "pump-1") == [200, 201, 200]
    assert statuses(client, "valve") == [404] * 3
    assert client.get("/api/v1/fleets/greenhouse/members/").status_code == 403


def test_a_token_for_what_was_deleted_is_good_for_nothing(alice: User, pump: Device, valve: Device) -> None:
    client = bearing(alice, devices=[pump])
    registry.remove(pump)
    assert (keys(client), fleets(client)) == ([], [])


def test_a_token_goes_with_the_device_not_with_its_key(root: User, pump: Device, greenhouse: Fleet) -> None:
    client = bearing(root, devices=[pump])
    registry.remove(pump)
    registry.create("pump-1", greenhouse)
    assert keys(client) == []


def test_an_administrator_with_less_than_everything_is_none(root: User, pump: Device) -> None:
    refuse("stranger", reason="device_unknown")
    whole, narrow = bearing(root), bearing(root, access="read")
    for url, status in (("/api/v1/storage/", 403), ("/api/v1/tokens/", 403)):
        assert (whole.get(url).status_code, narrow.get(url).status_code) == (200, status)
    assert len(whole.get("/api/v1/rejects/").json()["results"]) == 1
    assert narrow.get("/api/v1/rejects/").json()["results"] == []


def test_a_narrowed_token_ends_no_other(alice: User) -> None:
    other, _ = tokens.make(alice, "other")
    assert bearing(alice, access="read").delete(f"/api/v1/tokens/{other.token_key}/").status_code == 403
    assert bearing(alice).delete(f"/api/v1/tokens/{other.token_key}/").status_code == 204


def test_a_token_can_be_asked_for_with_less(alice: User, pump: Device, kettle: Device) -> None:
    asked = {"username": "alice", "password": "correct horse battery", "access": "read", "expires_in_s": 3600}
    made = APIClient().post("/api/v1/tokens/", {**asked, "devices": ["pump-1"]})
    assert made.status_code == 201
    token = Token.objects.get(token_key=made.json()["id"])
    assert rights.scope_in(token) == rights.Scope(rights.Access.READ, None, frozenset([pump.pk]))
    assert token.expiry <= timezone.now() + timedelta(hours=1)
    for more in ({"devices": ["kettle"]}, {"fleets": ["brewery"]}):
        assert APIClient().post("/api/v1/tokens/", {**asked, **more}).status_code == 404
    assert APIClient().post("/api/v1/tokens/", {**asked, "expires_in_s": 10**9}).status_code == 400


def test_when_a_token_was_used_is_noted_once_a_minute(alice: User, django_assert_num_queries: Any) -> None:
    token, secret = tokens.make(alice, "test")
    assert token.used_at is None
    assert tokens.by_secrets([secret])
    first = Token.objects.get().used_at
    assert first is not None
    with django_assert_num_queries(1):
        tokens.by_secrets([secret])
    Token.objects.update(used_at=first - timedelta(minutes=1))
    tokens.by_secrets([secret])
    assert Token.objects.get().used_at >= first


def test_what_has_expired_opens_nothing_and_is_cleared_away(alice: User) -> None:
    _, secret = tokens.make(alice, "old")
    Token.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert not tokens.by_secrets([secret])
    tokens.make(alice, "new")
    assert [token.name for token in Token.objects.all()] == ["new"]


# --- links


def test_a_link_shows_its_devices_and_nothing_else(alice: User, pump: Device, valve: Device) -> None:
    _, secret = tokens.share(alice, [pump], "for the plumber", timedelta(days=1))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    assert keys(client) == ["pump-1"]
    assert statuses(client, "pump-1") == [200, 403, 403]
    assert statuses(client, "valve") == [404] * 3


def test_only_a_manager_shares_and_a_link_goes_with_the_maker_s_rights(alice: User, bob: User, pump: Device) -> None:
    with pytest.raises(Refusal, match="takes the role manager"):
        tokens.share(bob, [pump], "", timedelta(days=1))
    _, secret = tokens.share(alice, [pump], "", timedelta(days=1))
    alice.memberships.all().delete()
    assert not registry.visible_to(tokens.by_secrets([secret])[secret].user, Role.VIEWER).exists()
