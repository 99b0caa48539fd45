"""devices/<key>/series/: what a chart asks for."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import User

from devices.api.asked import LAST_MS
from devices.history import rollups
from devices.models import Device

NOW = 1_790_000_000_000
URL = "/api/v1/devices/pump-1/series/"


def test_a_series_is_told_in_buckets(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump, 120)
    rollups.roll(1000)
    asked = {"metric": "temperature", "from": NOW, "to": NOW + 120_000, "points": 3}
    answer = api(vera).get(URL, asked)
    begin = NOW // 60_000 * 60_000
    assert answer.status_code == 200
    assert answer.json() == {
        "metric": "temperature",
        "unit": "°C",
        "from": begin,
        "to": begin + 180_000,
        "step": 60_000,
        "tier": "minute",
        "points": [[begin + 60_000 * index, 21.5, 21.5, 21.5, n, 21.5] for index, n in enumerate((40, 60, 20))],
    }


def test_without_a_range_it_is_the_last_hour(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump)
    answer = api(vera).get(URL, {"metric": "temperature"}).json()
    assert answer["to"] - answer["from"] == 3_600_000
    assert abs(answer["to"] - time.time() * 1000) < 60_000
    assert (answer["step"], answer["tier"]) == (None, "raw")


def test_an_unknown_metric_is_404_and_says_what_there_is(vera: User, pump: Device, api: Any, say: Any) -> None:
    say(pump)
    answer = api(vera).get(URL, {"metric": "temprature"})
    assert (answer.status_code, answer.json()["code"]) == (404, "metric_unknown")
    assert "it has temperature" in answer.json()["message"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "metric"),
        ({"metric": "t", "points": 0}, "points"),
        ({"metric": "t", "points": 5001}, "points"),
        ({"metric": "t", "from": 5, "to": 5}, "to"),
        ({"metric": "t", "from": 10**17}, "from"),
        ({"metric": "t", "to": 2**63}, "to"),
        ({"metric": "t", "form": 5}, "form"),
    ],
)
def test_what_is_no_question_is_refused_by_name(
    vera: User, pump: Device, api: Any, asked: dict[str, Any], field: str
) -> None:
    answer = api(vera).get(URL, asked)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


@pytest.mark.parametrize("points", [1, 2, 5000])
def test_all_time_is_a_range_too(vera: User, pump: Device, api: Any, say: Any, points: int) -> None:
    say(pump, 3)
    answer = api(vera).get(URL, {"metric": "temperature", "from": 0, "to": LAST_MS, "points": points})
    assert 1 <= len(answer.json()["points"]) <= points


def test_charlie_cannot_see_the_series_of_alices_pump(charlie: User, pump: Device, api: Any, say: Any) -> None:
    say(pump)
    answer = api(charlie).get(URL, {"metric": "temperature"})
    assert (answer.status_code, answer.json()["code"]) == (404, "device_unknown")
