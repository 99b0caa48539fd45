"""Retention: what is too old goes, a step at a time, without a hole; what is not rolled stays."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import registry, telemetry, wire
from devices.history import repairs, retention, rollups, series
from devices.history.buckets import DAY_MS, HOUR_MS, MINUTE_MS
from devices.models import Device, Event, Fleet, Frame, Repair, Rolled, Rollup
from tests.django.together import together

NOW = 1_790_000_000_000 // DAY_MS * DAY_MS + 13 * HOUR_MS
DAYS = 10


@pytest.fixture
def old(pump: Device) -> Device:
    """A pump with a frame every half hour of the last ten days, rolled up."""
    frames = [arrived(pump, NOW - ago * HOUR_MS // 2) for ago in range(DAYS * 48, 0, -1)]
    telemetry.record(frames, NOW)
    roll()
    return pump


def arrived(device: Device, received_at: int, ts: int | None = None, value: float = 1.0) -> wire.Frame:
    ts = received_at if ts is None else ts
    return wire.Frame(device=device.key, values={"temperature": value}, received_at=received_at, ts=ts)


def roll() -> None:
    while rollups.roll(1000):
        pass


def prune(limit: int = 1000, now: int = NOW) -> int:
    steps = 0
    while retention.prune(limit, now):
        steps += 1
    return steps


def keep(device: Device, **days: int | None) -> None:
    Device.objects.filter(pk=device.pk).update(**{f"keep_{name}": count for name, count in days.items()})


def first(device: Device, tier: int) -> int:
    return Rollup.objects.filter(device=device, tier=tier).order_by("ts").values_list("ts", flat=True)[0]


def test_without_a_word_everything_is_kept_and_one_look_says_so(old: Device) -> None:
    with CaptureQueriesContext(connection) as looked:
        assert retention.prune(1000, NOW) == 0
    assert len([query for query in looked if "devices_frame" in query["sql"]]) == 1
    assert len(looked) <= 3
    assert Frame.objects.count() == DAYS * 48


@pytest.mark.parametrize("limit", [7, 1000])
def test_frames_older_than_is_kept_go_and_the_others_stay_without_a_hole(old: Device, limit: int) -> None:
    keep(old, raw=3)
    assert prune(limit) >= 7 * 48 // limit
    seqs = list(Frame.objects.order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(7 * 48 + 1, DAYS * 48 + 1))
    assert telemetry.first_seq(old.pk) == 7 * 48 + 1
    assert Rollup.objects.filter(tier=MINUTE_MS).count() == DAYS * 48
    assert prune() == 0


def test_each_tier_is_kept_as_long_as_it_is_said(old: Device) -> None:
    keep(old, minute=2, hour=4, day=6)
    prune()
    assert first(old, MINUTE_MS) == NOW - 2 * DAY_MS
    assert first(old, HOUR_MS) == (NOW - 4 * DAY_MS) // DAY_MS * DAY_MS
    assert first(old, DAY_MS) == (NOW - 6 * DAY_MS) // DAY_MS * DAY_MS
    rolled = Rolled.objects.get(device=old)
    assert (rolled.raw_from, rolled.minute_from) == (0, NOW - 2 * DAY_MS)
    assert Frame.objects.count() == DAYS * 48


def test_a_fleet_speaks_for_its_devices_and_a_device_for_itself(old: Device, kettle: Device) -> None:
    telemetry.record([arrived(kettle, NOW - 9 * DAY_MS), arrived(kettle, NOW - HOUR_MS)], NOW)
    roll()
    Fleet.objects.update(keep_raw=2)
    keep(kettle, raw=30)
    prune()
    assert Frame.objects.filter(device=old).count() == 2 * 48
    assert Frame.objects.filter(device=kettle).count() == 2


def test_what_is_not_rolled_yet_is_not_pruned(pump: Device) -> None:
    telemetry.record([arrived(pump, NOW - 9 * DAY_MS), arrived(pump, NOW - 8 * DAY_MS)], NOW)
    rollups.roll(1)
    keep(pump, raw=1)
    prune()
    assert list(Frame.objects.values_list("seq", flat=True)) == [2]
    roll()
    prune()
    assert not Frame.objects.exists()
    assert Rollup.objects.filter(tier=DAY_MS).count() == 2


def test_a_late_frame_is_kept_as_long_as_one_that_came_with_it(pump: Device) -> None:
    telemetry.record([arrived(pump, NOW - HOUR_MS, ts=NOW - 9 * DAY_MS)], NOW)
    roll()
    keep(pump, raw=1)
    prune()
    assert Frame.objects.count() == 1


def test_a_series_over_what_was_pruned_comes_from_the_tier_that_has_it(old: Device) -> None:
    asked = (old, "temperature", NOW - 9 * DAY_MS, NOW, 1000)
    assert series.series(*asked).tier == "raw"
    keep(old, raw=3)
    prune()
    pruned = series.series(*asked)
    assert (pruned.tier, sum(point[4] for point in pruned.points)) == ("minute", 9 * 48)
    keep(old, minute=3)
    prune()
    assert series.series(*asked).tier == "hour"
    assert series.series(old, "temperature", NOW - 2 * DAY_MS, NOW, 1000).tier == "raw"


def test_frames_from_clocks_ahead_do_not_make_the_journal_look_whole(pump: Device) -> None:
    """Pruned with those that came with it, such a frame is missing at a time that looks as if it were kept."""
    telemetry.record([arrived(pump, NOW - 5 * DAY_MS, ts=NOW - 4 * DAY_MS - HOUR_MS, value=99)], NOW)
    telemetry.record([arrived(pump, NOW - 4 * DAY_MS - 2 * HOUR_MS + index) for index in range(5)], NOW)
    roll()
    Device.objects.update(keep_raw=1)
    keep(pump, raw=4)
    retention.prune(1, NOW)
    answer = series.series(pump, "temperature", NOW - 4 * DAY_MS - 3 * HOUR_MS, NOW, 1000)
    assert max(point[3] or 0 for point in answer.points) == 99


def test_nothing_is_pruned_from_what_a_repair_is_to_be_rebuilt_of(old: Device) -> None:
    start = (NOW - 9 * DAY_MS) // DAY_MS * DAY_MS
    repairs.mark(old, repairs.Range(None, start, start + HOUR_MS), "wet", None, NOW)
    keep(old, raw=3, hour=5)
    prune()
    assert Frame.objects.count() == DAYS * 48
    assert first(old, HOUR_MS) == (NOW - 5 * DAY_MS) // DAY_MS * DAY_MS
    while rollups.rebuild(1000):
        pass
    prune()
    assert Frame.objects.count() == 3 * 48


def test_a_repair_of_what_was_pruned_in_that_moment_changes_nothing(old: Device) -> None:
    start = (NOW - 9 * DAY_MS) // DAY_MS * DAY_MS
    keep(old, raw=3)
    prune()
    Repair.objects.create(device=old, start=start, end=start + HOUR_MS, reason="wet", at=NOW)
    before = list(Rollup.objects.order_by("pk").values())
    assert rollups.rebuild(1000) == 1
    assert list(Rollup.objects.order_by("pk").values()) == before
    assert rollups.rebuild(1000) == 0


def test_the_newest_thousand_events_of_a_device_are_kept(pump: Device, kettle: Device) -> None:
    Event.objects.bulk_create([Event(device=pump, at=at, kind="boot", because="x") for at in range(1100)])
    Event.objects.bulk_create([Event(device=kettle, at=at, kind="boot", because="x") for at in range(3)])
    prune(70)
    assert set(Event.objects.filter(device=pump).values_list("at", flat=True)) == set(range(100, 1100))
    assert Event.objects.filter(device=kettle).count() == 3


@pytest.mark.django_db(transaction=True)
def test_pruning_while_frames_come_and_are_rolled_leaves_no_hole(pump: Device) -> None:
    keep(pump, raw=1)

    def send() -> None:
        for index in range(200):
            telemetry.record([arrived(pump, NOW - 5 * DAY_MS + index * MINUTE_MS)], NOW)

    def tidy() -> None:
        for _ in range(40):
            rollups.roll(20)
            retention.prune(15, NOW)

    together(send, tidy, tidy)
    roll()
    seqs = list(Frame.objects.order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(201 - len(seqs), 201))
    assert (
        sum(
            row.values["temperature"][2] if len(row.values["temperature"]) > 2 else 1
            for row in Rollup.objects.filter(tier=DAY_MS)
        )
        == 200
    )


def test_a_cursor_older_than_what_is_kept_is_told_of_the_gap(old: Device) -> None:
    keep(old, raw=3)
    prune()
    first_kept: Any = telemetry.first_seq(old.pk)
    assert telemetry.after(old.pk, 0, 1)[0][0] == first_kept == 7 * 48 + 1


def test_a_device_is_deleted_with_its_roll_ups_in_few_statements(old: Device) -> None:
    with CaptureQueriesContext(connection) as deleted:
        registry.remove(old)
    assert not Rollup.objects.exists()
    assert not Rolled.objects.exists()
    assert len(deleted) < 40
