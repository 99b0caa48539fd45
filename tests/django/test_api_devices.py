"""devices/: list, make, look at, change, rotate, delete."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import registry, sealing
from devices.models import Device, Fleet

URL = "/api/v1/devices/"


@pytest.fixture
def three(greenhouse: Fleet) -> list[Device]:
    return [registry.create(key, greenhouse, name)[0] for key, name in [("a", "Fan"), ("b", "Heater"), ("c", "fan 2")]]


def keys(answer: Any) -> list[str]:
    return [row["key"] for row in answer.json()["results"]]


def test_a_new_device_gets_its_secret_and_where_to_connect(alice: User, api: Any, settings: Any) -> None:
    settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT = "mqtt.example.org", 8883
    settings.MQTT_PUBLIC_TLS = True
    answer = api(alice).post(URL, {"key": "fan-1", "name": "Fan"})
    assert answer.status_code == 201
    made = answer.json()
    assert made["mqtt"] == {"host": "mqtt.example.org", "port": 8883, "tls": True, "username": "fan-1"}
    device = Device.objects.get(key="fan-1")
    assert (device.fleet.slug, device.name, sealing.unseal(device.secret_box)) == ("greenhouse", "Fan", made["secret"])


def test_making_a_device_rings_the_registry(alice: User, api: Any, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks() as rung:
        api(alice).post(URL, {"key": "fan-1"})
    assert len(rung) == 1


def test_a_secret_is_told_once_only(alice: User, api: Any) -> None:
    secret = api(alice).post(URL, {"key": "fan-1"}).json()["secret"]
    assert secret not in api(alice).get(f"{URL}fan-1/").content.decode()


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"key": "Fan 1"}, 400, "invalid"),
        ({"key": ""}, 400, "invalid"),
        ({}, 400, "invalid"),
        ({"key": "x" * 64}, 400, "invalid"),
        ({"key": "fan\u0000"}, 400, "invalid"),
        ({"key": "pump-1"}, 409, "key_taken"),
        ({"key": "fan-1", "fleet": "brewery"}, 404, "fleet_unknown"),
        ({"key": "fan-1", "gateway": "kettle"}, 404, "device_unknown"),
        ({"key": "fan-1", "gatway": "pump-1"}, 400, "invalid"),
        ({"key": "fan-1", "name": "x" * 129}, 400, "invalid"),
        (["fan-1"], 400, "invalid"),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_reason(  # noqa: PLR0913, PLR0917  the cast
    asked: Any, status: int, code: str, alice: User, charlie: User, pump: Device, kettle: Device, api: Any
) -> None:
    answer = api(alice).post(URL, asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(answer.json()["message"]) > 10


@pytest.mark.parametrize(
    "body",
    [b"{", b"[" * 60_000, b'{"key": "\\ud800"}', b'{"key": "a", "key": "b"}', b'{"key": NaN}', b"9" * 5000, b"\xff"],
)
def test_a_body_that_is_no_good_json_is_a_refusal_and_no_error(body: bytes, alice: User, api: Any) -> None:
    assert api(alice).generic("POST", URL, body, "application/json").status_code == 400


def test_a_body_of_a_megabyte_is_not_read(alice: User, api: Any) -> None:
    answer = api(alice).generic("POST", URL, b'"' + b"x" * 1_000_000 + b'"', "application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("path", [URL, f"{URL}pump-1/frames/", "/api/v1/stream"])
def test_more_parameters_than_anybody_needs_are_refused_like_all_else(path: str, alice: User, api: Any) -> None:
    answer = api(alice).get(f"{path}?" + "&".join(f"p{number}=" for number in range(1001)))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_who_manages_several_fleets_says_which(alice: User, brewery: Fleet, api: Any) -> None:
    brewery.memberships.create(user=alice, role="manager")
    assert api(alice).post(URL, {"key": "fan-1"}).json()["fields"] == {"fleet": "is missing"}
    assert api(alice).post(URL, {"key": "fan-1", "fleet": "brewery"}).status_code == 201


def test_a_device_shows_where_it_stands(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 2, temperature=21.5, on=True)
    shown = api(vera).get(f"{URL}pump-1/").json()
    assert shown["fleet"] == "greenhouse"
    assert shown["presence"]["state"] == "online"
    assert set(shown["presence"]) == {"state", "because", "since"}
    assert shown["head"]["seq"] == 2
    assert shown["head"]["values"] == {"temperature": 21.5, "on": True}
    assert shown["head"]["times"]["on"] == shown["head"]["ts"]
    assert shown["metrics"] == [
        {"name": "on", "unit": "", "class": "", "type": "bool"},
        {"name": "temperature", "unit": "°C", "class": "temperature", "type": "number"},
    ]
    assert {"name": "setpoint", "type": "number", "min": 5, "max": 30, "step": 0.5} in shown["commands"]


def test_a_device_that_never_spoke_says_so(vera: User, pump: Device, api: Any) -> None:
    shown = api(vera).get(f"{URL}pump-1/").json()
    assert shown["presence"]["state"] == "never"
    assert shown["head"] == {"seq": 0, "ts": None, "values": {}, "times": {}}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["a", "b", "c"]),
        ({"q": "fan"}, ["a", "c"]),
        ({"q": "B"}, ["b"]),
        ({"presence": "online"}, ["b"]),
        ({"fleet": "greenhouse", "presence": "never"}, ["a", "c"]),
        ({"fleet": "brewery"}, []),
    ],
)
def test_the_list_is_filtered(  # noqa: PLR0913, PLR0917  the cast
    asked: dict[str, str], found: list[str], vera: User, three: list[Device], kettle: Device, api: Any, say: Any
) -> None:
    say(three[1])
    assert keys(api(vera).get(URL, asked)) == found


@pytest.mark.parametrize(
    "asked", ["limit=0", "limit=1001", "limit=x", "presence=asleep", "flet=x", "cursor=x", "q=%00"]
)
def test_a_wrong_parameter_is_named(asked: str, vera: User, api: Any) -> None:
    answer = api(vera).get(f"{URL}?{asked}")
    assert answer.status_code == 400
    assert asked.split("=", maxsplit=1)[0] in answer.json()["fields"]


def test_pages_follow_each_other_while_devices_come_and_go(vera: User, three: list[Device], api: Any) -> None:
    client = api(vera)
    first = client.get(URL, {"limit": 2})
    assert keys(first) == ["a", "b"]
    registry.create("a-2", three[0].fleet)
    registry.remove(three[1])
    second = client.get(URL, {"limit": 2, "cursor": first.json()["next"]})
    assert (keys(second), second.json()["next"]) == (["c"], None)


def test_the_cursor_of_one_list_is_none_of_another(vera: User, three: list[Device], api: Any) -> None:
    cursor = api(vera).get(URL, {"limit": 2}).json()["next"]
    assert api(vera).get("/api/v1/rejects/", {"cursor": cursor}).status_code == 400


def test_a_list_of_many_costs_as_much_as_one_of_few(
    vera: User, greenhouse: Fleet, api: Any, django_assert_num_queries: Any
) -> None:
    client = api(vera)
    for index in range(12):
        registry.create(f"d-{index}", greenhouse)
    client.get(URL)  # notes that the token was used, once a minute
    with django_assert_num_queries(3):  # token with its user, page, tags
        client.get(URL)
    with django_assert_num_queries(4):  # token with its user, device, tags, metrics
        client.get(f"{URL}d-1/")


def test_a_manager_changes_name_and_access(alice: User, pump: Device, api: Any) -> None:
    shown = api(alice).patch(f"{URL}pump-1/", {"name": "Big pump", "enabled": False})
    assert (shown.status_code, shown.json()["name"], shown.json()["enabled"]) == (200, "Big pump", False)
    assert "pump-1" not in [account.key for account in registry.credentials()]


def test_a_device_moves_only_to_a_fleet_that_one_manages(alice: User, pump: Device, brewery: Fleet, api: Any) -> None:
    assert api(alice).patch(f"{URL}pump-1/", {"fleet": "brewery"}).status_code == 404
    brewery.memberships.create(user=alice, role="manager")
    assert api(alice).patch(f"{URL}pump-1/", {"fleet": "brewery"}).json()["fleet"] == "brewery"


def test_a_gateway_is_given_and_taken_away(alice: User, pump: Device, three: list[Device], api: Any) -> None:
    client = api(alice)
    assert client.patch(f"{URL}a/", {"gateway": "pump-1"}).json()["gateway"] == "pump-1"
    assert client.patch(f"{URL}b/", {"gateway": "a"}).json()["fields"] == {"gateway": "does not fit"}
    assert client.patch(f"{URL}pump-1/", {"gateway": "b"}).status_code == 400
    assert client.patch(f"{URL}b/", {"gateway": "b"}).status_code == 400
    assert client.delete(f"{URL}pump-1/").json()["code"] == "has_children"
    assert client.patch(f"{URL}a/", {"gateway": None}).json()["gateway"] is None


@pytest.mark.parametrize("asked", [{"key": "other"}, {"secret": "x"}, {"enabled": "maybe"}, {"fleet": None}])
def test_what_cannot_be_changed_is_named(asked: dict[str, Any], alice: User, pump: Device, api: Any) -> None:
    answer = api(alice).patch(f"{URL}pump-1/", asked)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, list(asked))


def test_a_rotated_secret_replaces_the_old_one(alice: User, pump: Device, api: Any) -> None:
    before = pump.secret_version
    answer = api(alice).post(f"{URL}pump-1/rotate/")
    pump.refresh_from_db()
    assert (answer.status_code, sealing.unseal(pump.secret_box)) == (200, answer.json()["secret"])
    assert pump.secret_version == before + 1


def test_a_deleted_device_is_gone_with_its_journal(alice: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 3)
    assert api(alice).delete(f"{URL}pump-1/").status_code == 204
    assert api(alice).get(f"{URL}pump-1/").status_code == 404
    assert not pump.frames.exists()


def test_an_address_that_is_none_is_told_in_json(api: Any) -> None:
    for method in ("get", "post", "delete"):
        answer = getattr(api(None), method)("/api/v1/devices")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "slash" in answer.json()["message"]
