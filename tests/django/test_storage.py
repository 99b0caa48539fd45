"""What is stored and how it grows: near enough to what is really there."""

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from devices import telemetry, wire
from devices.history import rollups, storage
from devices.models import Device, Fleet, Rollup
from devices.values import DAY_MS

NOW = 1_790_000_000_000
MINUTE_MS = 60_000


@pytest.fixture
def busy(pump: Device) -> Device:
    """A frame of 20 metrics a minute for two days."""
    values = {f"metric_{index}": 20.5 + index for index in range(20)}
    times = range(NOW - 2 * DAY_MS, NOW, MINUTE_MS)
    frames = [wire.Frame(device=pump.key, values=values, received_at=at, ts=at) for at in times]
    telemetry.record(frames, NOW)
    while rollups.roll(1000):
        pass
    return pump


def test_a_day_and_its_bytes_are_near_to_what_was_stored(busy: Device) -> None:
    made = storage.forecast(NOW)
    assert (made.frames, made.frames_a_day) == (2880, 1440)
    # Half of all that is in the database came on the last day; the database itself takes some as well.
    assert 0.1 * made.bytes < made.bytes_a_day < 0.6 * made.bytes
    assert made.for_ever == made.bytes_a_day
    assert made.balance == 0


def test_what_is_kept_for_a_time_comes_to_a_balance(busy: Device) -> None:
    Fleet.objects.update(keep_raw=10, keep_minute=10, keep_hour=10)
    Device.objects.update(keep_day=10)
    made = storage.forecast(NOW)
    assert made.for_ever == 0
    assert made.balance == pytest.approx(10 * made.bytes_a_day, rel=1e-6)


def test_a_hub_without_a_frame_has_a_forecast_too(pump: Device) -> None:
    made = storage.forecast(NOW)
    assert (made.frames, made.bytes_a_day, made.full_in_days) == (0, 0, None)
    assert not Rollup.objects.exists()


def test_administrators_are_told_and_managers_are_not(alice: User, root: User, busy: Device, api: Any) -> None:
    assert api(alice).get("/api/v1/storage/").status_code == 403
    told = api(root).get("/api/v1/storage/").json()
    assert (told["frames"], told["frames_a_day"]) == (2880, 0)
    assert told["bytes"] > 100_000


def test_the_command_tells_it_in_words(busy: Device) -> None:
    out = StringIO()
    call_command("storage", stdout=out)
    assert out.getvalue().startswith("2,880 frames; the database has ")
