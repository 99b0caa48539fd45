"""Who sees what: Charlie must see nothing of Alice's, and must not even learn that it is there."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import commands, registry
from devices.models import Device, Role
from tests.django.conftest import refuse

DEVICE_URLS = [
    ("get", "", None),
    ("patch", "", {"name": "mine"}),
    ("delete", "", None),
    ("post", "rotate/", None),
    ("get", "frames/", None),
    ("get", "frames/?wait=25", None),
    ("get", "series/?metric=temperature", None),
    ("get", "export/", None),
    ("get", "export/?format=wrong", None),
    ("get", "events/", None),
    ("get", "repairs/", None),
    ("post", "repairs/", {"from": 1_790_000_000_000, "to": 1_790_000_001_000, "reason": "why"}),
    ("post", "repairs/", {"reason": "wrong"}),
    ("post", "repairs/1/undo/", None),
    ("get", "commands/", None),
    ("post", "commands/", {"name": "relay", "args": "on"}),
]


def answer_of(client: Any, method: str, url: str, body: Any) -> tuple[int, bytes, dict[str, str]]:
    answer = client.generic(method.upper(), url) if body is None else getattr(client, method)(url, body)
    return answer.status_code, answer.content, dict(answer.headers)


@pytest.mark.parametrize(("method", "rest", "body"), DEVICE_URLS)
def test_alices_pump_answers_charlie_like_one_that_does_not_exist(
    method: str, rest: str, body: Any, charlie: User, pump: Device, api: Any
) -> None:
    client = api(charlie)
    there = answer_of(client, method, f"/api/v1/devices/pump-1/{rest}", body)
    registry.remove(pump)
    not_there = answer_of(client, method, f"/api/v1/devices/pump-1/{rest}", body)
    assert there == not_there
    assert there[0] == 404
    assert b'"device_unknown"' in there[1]


@pytest.mark.parametrize(("method", "rest"), [("get", ""), ("post", "cancel/")])
def test_alices_command_answers_charlie_like_one_that_does_not_exist(
    method: str, rest: str, charlie: User, pump: Device, api: Any
) -> None:
    command, _ = commands.issue(pump, "relay", "on", user=None, now=1)
    url = f"/api/v1/commands/{command.pk}/{rest}"
    there = answer_of(api(charlie), method, url, None)
    command.delete()
    assert there == answer_of(api(charlie), method, url, None)
    assert there[0] == 404


def test_alices_fleet_answers_charlie_like_one_that_does_not_exist(charlie: User, alice: User, api: Any) -> None:
    url = "/api/v1/fleets/{}/members/"
    there, not_there = (api(charlie).get(url.format(slug)) for slug in ("greenhouse", "nowhere"))
    assert (there.status_code, not_there.status_code) == (404, 404)
    assert there.content.replace(b"greenhouse", b"nowhere") == not_there.content


def test_charlies_lists_have_nothing_of_alices(charlie: User, pump: Device, kettle: Device, api: Any) -> None:
    refuse("pump-1", b"", "topic_unknown", topic="hub/pump-1/x")
    client = api(charlie)
    shown = client.get("/api/v1/devices/").json()["results"]
    assert [row["key"] for row in shown] == ["kettle"]
    for url in ("/api/v1/devices/?q=pump", "/api/v1/devices/?fleet=greenhouse", "/api/v1/rejects/"):
        assert client.get(url).json() == {"results": [], "next": None}


def test_charlie_cannot_put_his_kettle_into_alices_fleet_or_behind_her_pump(
    charlie: User, pump: Device, kettle: Device, api: Any
) -> None:
    client = api(charlie)
    assert client.patch("/api/v1/devices/kettle/", {"fleet": "greenhouse"}).status_code == 404
    assert client.patch("/api/v1/devices/kettle/", {"gateway": "pump-1"}).status_code == 404


@pytest.mark.parametrize("key", ["%00", "pump-1%00", "%ED%A0%80", "x" * 300, "PUMP-1", "pump-1'--", "..."])
def test_a_key_that_is_none_is_an_unknown_device_too(key: str, charlie: User, pump: Device, api: Any) -> None:
    answer = api(charlie).get(f"/api/v1/devices/{key}/")
    assert (answer.status_code, answer.json()["code"]) == (404, "device_unknown")


# What each role may do with pump-1: status by role, in the order Vera, Bob, Alice.
RIGHTS = [
    ("get", "", None, (200, 200, 200)),
    ("get", "frames/", None, (200, 200, 200)),
    ("get", "commands/", None, (200, 200, 200)),
    ("post", "commands/", {"name": "relay", "args": "on"}, (403, 201, 201)),
    ("patch", "", {"name": "mine"}, (403, 403, 200)),
    ("post", "rotate/", None, (403, 403, 200)),
    ("delete", "", None, (403, 403, 204)),
]


@pytest.mark.parametrize(("method", "rest", "body", "statuses"), RIGHTS)
def test_each_role_may_do_what_the_table_says(  # noqa: PLR0913, PLR0917  the cast
    method: str,
    rest: str,
    body: Any,
    statuses: tuple[int, ...],
    vera: User,
    bob: User,
    alice: User,
    pump: Device,
    api: Any,
) -> None:
    url = f"/api/v1/devices/pump-1/{rest}"
    for user, status in zip((vera, bob, alice), statuses, strict=True):
        told = answer_of(api(user), method, url, body)
        assert told[0] == status
        assert status != 403 or b"takes the role" in told[1]


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
