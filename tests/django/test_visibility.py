"""Who sees what, where no table says it (test_isolation.py, test_roles.py): what is no key, what was withdrawn."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import registry
from devices.models import Device, Role


@pytest.mark.parametrize("key", ["%00", "pump-1%00", "%ED%A0%80", "x" * 300, "PUMP-1", "pump-1'--", "..."])
def test_a_key_that_is_none_is_an_unknown_device_too(key: str, charlie: User, pump: Device, api: Any) -> None:
    answer = api(charlie).get(f"/api/v1/devices/{key}/")
    assert (answer.status_code, answer.json()["code"]) == (404, "device_unknown")


@pytest.mark.parametrize("name", ["%00", "vera%00", "%ED%A0%80", "x" * 300])
def test_a_name_that_is_none_is_no_member(name: str, alice: User, vera: User, api: Any) -> None:
    answer = api(alice).delete(f"/api/v1/fleets/greenhouse/members/{name}/")
    assert (answer.status_code, answer.json()["code"]) == (404, "user_unknown")


def test_who_manages_nothing_makes_no_device(vera: User, bob: User, api: Any) -> None:
    for user in (vera, bob):
        assert api(user).post("/api/v1/devices/", {"key": "x"}).status_code == 403


def test_an_administrator_sees_and_does_everything(root: User, pump: Device, kettle: Device, api: Any) -> None:
    client = api(root)
    assert len(client.get("/api/v1/devices/").json()["results"]) == 2
    assert client.patch("/api/v1/devices/pump-1/", {"fleet": "brewery"}).status_code == 200


def test_a_deactivated_administrator_sees_nothing(root: User, pump: Device) -> None:
    root.is_active = False
    assert not registry.visible_to(root).exists()
    assert not registry.visible_to(root, Role.MANAGER).exists()


def test_a_withdrawn_membership_takes_everything_at_once(vera: User, pump: Device, api: Any) -> None:
    client = api(vera)
    assert client.get("/api/v1/devices/pump-1/").status_code == 200
    vera.memberships.all().delete()
    assert client.get("/api/v1/devices/pump-1/").status_code == 404
