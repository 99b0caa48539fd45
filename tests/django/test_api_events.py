"""devices/<key>/events/, and what a device's answer tells of its own numbering."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import standing, telemetry, wire
from devices.models import Device, Event
from tests.django.conftest import NOW, frame

URL = "/api/v1/devices/pump-1/events/"


def numbered(device: Device, boot: int, n: int, ts: int) -> wire.Frame:
    return wire.Frame(
        device=device.key, values={"t": n}, received_at=ts, ts=ts, boot=boot, n=n, mark=boot * 1000 + n, mark_ms=2**60
    )


@pytest.fixture
def history(pump: Device) -> Device:
    """It came, went by its last will, came again with another boot, lost frames, and fell silent."""
    telemetry.record([numbered(pump, 1, 1, NOW)], NOW)
    telemetry.record([wire.Presence(device="pump-1", online=False, received_at=NOW + 1000)], NOW + 1000)
    telemetry.record([numbered(pump, 2, 1, NOW + 2000), numbered(pump, 2, 5, NOW + 3000)], NOW + 3000)
    standing.sweep(NOW + 100_000_000, 0)
    return pump


def test_what_happened_is_listed_newest_first(history: Device, vera: User, api: Any) -> None:
    rows = api(vera).get(URL).json()["results"]
    assert [(row["kind"], row["state"]) for row in rows] == [
        ("presence", "stale"),
        ("numbering", ""),
        ("presence", "online"),
        ("boot", ""),
        ("presence", "offline"),
        ("presence", "online"),
    ]
    assert rows[4] == {
        "at": NOW + 1000,
        "kind": "presence",
        "state": "offline",
        "because": "last will, or it said so",
    }


def test_one_kind_can_be_asked_for_and_a_kind_that_is_none_is_refused(history: Device, vera: User, api: Any) -> None:
    client = api(vera)
    found = client.get(URL, {"kind": "presence"}).json()["results"]
    assert [row["state"] for row in found] == ["stale", "online", "offline", "online"]
    assert client.get(URL, {"kind": "presents"}).json()["code"] == "invalid"


def test_pages_join_without_a_seam(history: Device, vera: User, api: Any) -> None:
    client, found, asked = api(vera), [], {"limit": 1}
    while True:
        answer = client.get(URL, asked).json()
        found += answer["results"]
        if answer["next"] is None:
            break
        asked["cursor"] = answer["next"]
    assert found == client.get(URL).json()["results"]
    assert len(found) == Event.objects.count()


def test_who_may_not_see_the_device_learns_nothing_of_it(history: Device, charlie: User, api: Any) -> None:
    assert api(charlie).get(URL).status_code == 404


def test_a_device_tells_how_its_own_numbering_stands(history: Device, vera: User, api: Any) -> None:
    told = api(vera).get("/api/v1/devices/pump-1/").json()["numbering"]
    assert told == {"boot": 2, "newest": 5, "committed": 1, "missing": 3}


def test_one_that_does_not_number_its_frames_tells_so(pump: Device, vera: User, api: Any) -> None:
    telemetry.record([frame(pump)], NOW)
    assert api(vera).get("/api/v1/devices/pump-1/").json()["numbering"] is None
