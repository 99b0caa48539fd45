"""The journal by time of arrival: where a moment begins in it, found in a few steps however long it is."""

import pytest

from devices import registry, telemetry, wire
from devices.models import Device, Fleet, Frame

NOW = 1_790_000_000_000


@pytest.fixture
def scale(greenhouse: Fleet) -> Device:
    return registry.create("scale", greenhouse)[0]


def arrived(key: str, *at: int) -> None:
    frames = [wire.Frame(device=key, values={"temp": 20.0}, received_at=one, past=one < max(at)) for one in at]
    telemetry.record(frames, max(at))


@pytest.mark.parametrize("asked", [NOW - 1, NOW, NOW + 1, NOW + 10, NOW + 35, NOW + 90, NOW + 91])
def test_where_a_time_of_arrival_begins_is_found_in_each_journal(pump: Device, scale: Device, asked: int) -> None:
    arrived("pump-1", *range(NOW, NOW + 100, 10))
    arrived("scale", NOW + 30, NOW + 40, NOW + 40)
    found = telemetry.arrived_before({pump.pk: 10, scale.pk: 3}, asked)
    for device in (pump, scale):
        rows = telemetry.arrivals(device.pk, 0, 100)
        assert found[device.pk] == sum(at < asked for at, _ in rows)


@pytest.mark.parametrize("first", [1, 4, 8])
def test_rejects_that_were_replayed_hide_nothing_that_arrived_before_them(pump: Device, first: int) -> None:
    """They stand behind younger rows with the time of their own first arrival."""
    arrived("pump-1", *range(NOW, NOW + 80, 10), *[NOW - 1000 + one for one in range(30)], NOW + 80, NOW + 90)
    found = telemetry.arrived_before({pump.pk: 40}, NOW + first * 10)[pump.pk]
    assert [at for at, _ in telemetry.arrivals(pump.pk, found, 1)] == [NOW + first * 10]
    assert found == (first if first < 8 else 38)


def test_journals_that_begin_late_or_are_empty_are_searched_too(pump: Device, scale: Device) -> None:
    arrived("pump-1", *range(NOW, NOW + 100, 10))
    Frame.objects.filter(device=pump, seq__lte=6).delete()
    asked = {pump.pk: 10, scale.pk: 0}
    assert telemetry.arrived_before(asked, NOW) == {pump.pk: 6, scale.pk: 0}
    assert telemetry.arrived_before(asked, NOW + 500) == {pump.pk: 10, scale.pk: 0}
    assert telemetry.arrived_before({}, NOW) == {}
    assert telemetry.first_arrival(pump.pk) == (7, NOW + 60)
    assert telemetry.first_arrival(scale.pk) is None
