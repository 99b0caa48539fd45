"""What is kept and what may be sent, set over REST and on the administrator's pages."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from devices.models import Device, Fleet

DEVICE = "/api/v1/devices/pump-1/"
FLEET = "/api/v1/fleets/greenhouse/"
NAMES = ("keep_raw", "keep_minute", "keep_hour", "keep_day", "rate", "burst")


@pytest.mark.parametrize("url", [DEVICE, FLEET])
def test_a_manager_says_what_is_kept_and_takes_it_back(alice: User, pump: Device, api: Any, url: str) -> None:
    client = api(alice)
    before = client.get(url).json()
    assert {name: before[name] for name in NAMES} == dict.fromkeys(NAMES)
    limits = dict(zip(NAMES, (7, 30, 365, 3650, 5, 500), strict=True))
    assert client.patch(url, limits, format="json").json() == before | limits
    assert client.patch(url, {"keep_raw": None}, format="json").json() == before | limits | {"keep_raw": None}


@pytest.mark.parametrize("url", [DEVICE, FLEET])
def test_who_is_no_manager_changes_no_limit(
    bob: User, charlie: User, pump: Device, brewery: Fleet, api: Any, url: str
) -> None:
    statuses = [api(user).patch(url, {"keep_raw": 1}, format="json").status_code for user in (bob, charlie)]
    assert statuses == [403, 404]
    assert not Device.objects.exclude(keep_raw=None).exists()
    assert not Fleet.objects.exclude(keep_raw=None).exists()


@pytest.mark.parametrize("limits", [{"keep_raw": 0}, {"keep_day": 36_501}, {"rate": "fast"}, {"keep_week": 3}])
@pytest.mark.parametrize("url", [DEVICE, FLEET])
def test_what_is_no_limit_is_refused_by_name(
    alice: User, pump: Device, api: Any, url: str, limits: dict[str, Any]
) -> None:
    answer = api(alice).patch(url, limits, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, list(limits))


def test_a_fleet_tells_who_asks_what_they_are_in_it(vera: User, charlie: User, pump: Device, api: Any) -> None:
    told = api(vera).get(FLEET).json()
    assert (told["slug"], told["role"], told["devices"]) == ("greenhouse", "viewer", 1)
    assert api(charlie).get(FLEET).json()["code"] == "fleet_unknown"


def test_a_device_made_on_the_administrators_page_has_its_limits(root: User, greenhouse: Fleet, client: Client) -> None:
    client.force_login(root, "django.contrib.auth.backends.ModelBackend")
    asked = {"key": "boiler", "name": "", "fleet": greenhouse.pk, "enabled": "on", "keep_raw": "7", "rate": "20"}
    client.post("/admin/devices/device/add/", asked)
    made = Device.objects.get(key="boiler")
    assert (made.keep_raw, made.keep_day, made.rate, made.enabled) == (7, None, 20, True)
