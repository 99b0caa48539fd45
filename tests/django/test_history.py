"""Roll-ups and series: exactly once, late frames too, and the same answer from every tier."""

import threading
from typing import Any

import pytest
from django.db.utils import OperationalError

from devices import registry, telemetry, wire
from devices.errors import Refusal
from devices.history import archive, buckets, repairs, rollups, series
from devices.history.buckets import DAY_MS, HOUR_MS, MINUTE_MS, Bucket
from devices.models import Device, Repair, Rolled, Rollup
from tests.django.conftest import NOW
from tests.django.together import together

DAY = NOW // DAY_MS * DAY_MS


def at(device: Device, *readings: tuple[int, Any], metric: str = "temperature") -> None:
    """Have a device send each (ts after the day's start, value) in this order."""
    frames = [
        wire.Frame(device=device.key, values={metric: value}, received_at=DAY + DAY_MS, ts=DAY + ts)
        for ts, value in readings
    ]
    telemetry.record(frames, NOW)


def mark(device: Device, start: int, end: int, *names: str) -> Repair:
    bad = repairs.Range(frozenset(names) or None, DAY + start, DAY + end)
    return repairs.mark(device, bad, "the sensor was wet", None, NOW)


def roll_all(limit: int = 1000) -> int:
    found = 0
    while rolled := rollups.roll(limit):
        found += rolled
    return found


def rolled(device: Device, tier: int, metric: str = "temperature") -> dict[int, Bucket]:
    rows = Rollup.objects.filter(device=device, tier=tier)
    found = {row.ts - DAY: buckets.read(buckets._encode(row.values).decode()) for row in rows}
    return {ts: values[metric] for ts, values in sorted(found.items())}


def asked(device: Device, start: int = 0, end: int = DAY_MS, points: int = 100, metric: str = "temperature") -> Any:
    return series.series(device, metric, DAY + start, DAY + end, points)


# --- rolling up


def test_readings_go_into_minutes_hours_and_days(pump: Device) -> None:
    at(pump, (0, 1), (59_999, 3), (60_000, 8), (HOUR_MS, 20.5))
    assert roll_all() == 4
    assert rolled(pump, MINUTE_MS) == {
        0: Bucket(3, 59_999, 2, 4.0, 1.0, 3.0),
        60_000: Bucket(8, 0),
        HOUR_MS: Bucket(20.5, 0),
    }
    assert rolled(pump, HOUR_MS) == {0: Bucket(8, 60_000, 3, 12.0, 1.0, 8.0), HOUR_MS: Bucket(20.5, 0)}
    assert rolled(pump, DAY_MS) == {0: Bucket(20.5, HOUR_MS, 4, 32.5, 1.0, 20.5)}
    assert rollups.roll(1000) == 0


def test_a_late_frame_goes_into_the_buckets_of_its_own_time(pump: Device) -> None:
    at(pump, (HOUR_MS, 5))
    roll_all()
    at(pump, (60_000, 7))
    roll_all()
    assert rolled(pump, HOUR_MS) == {0: Bucket(7, 60_000), HOUR_MS: Bucket(5, 0)}
    assert rolled(pump, DAY_MS) == {0: Bucket(5, HOUR_MS, 2, 12.0, 5.0, 7.0)}


def test_steps_of_any_size_make_the_same_roll_ups(pump: Device, kettle: Device) -> None:
    readings = [(index * 40_000 % DAY_MS, index % 7) for index in range(50)]
    for device in (pump, kettle):
        at(device, *readings)
    assert rollups.roll(7) == 7
    assert roll_all(3) == 93
    whole = {ts: Bucket(*bucket.row()) for ts, bucket in rolled(pump, HOUR_MS).items()}
    assert rolled(kettle, HOUR_MS) == whole
    assert sum(bucket.n for bucket in rolled(pump, DAY_MS).values()) == 50


def test_a_device_with_much_behind_it_does_not_hold_the_others(pump: Device, kettle: Device, monkeypatch: Any) -> None:
    monkeypatch.setattr(rollups, "SHARE", 5)
    at(pump, *((index, index) for index in range(50)))
    at(kettle, (0, 1), (1, 2))
    assert rollups.roll(10) == 7
    assert Rolled.objects.get(device=kettle).seq == 2


def test_devices_that_a_step_does_not_reach_are_left_alone(pump: Device, kettle: Device) -> None:
    at(pump, *((index, index) for index in range(9)))
    at(kettle, (0, 1), (1, 2))
    assert rollups.roll(8) == 8
    assert not Rolled.objects.filter(device=kettle).exists()
    assert roll_all() == 3


def test_frames_of_many_metrics_count_for_more(pump: Device) -> None:
    values: dict[str, Any] = {f"m{index}": index for index in range(100)}
    telemetry.record(
        [wire.Frame(device=pump.key, values=values, received_at=NOW, ts=NOW + at) for at in range(20)], NOW
    )
    assert rollups.roll(30) == 6
    assert Rolled.objects.get(device=pump).seq == 6
    assert rollups.roll(1) == 1
    assert Rolled.objects.get(device=pump).seq == 7


def test_text_and_numbers_of_one_metric_are_kept_apart(pump: Device) -> None:
    at(pump, (0, 1), (1000, "hot"), (2000, True))
    roll_all()
    assert rolled(pump, DAY_MS) == {0: Bucket(True, 2000, 2, 2.0, 1.0, 1.0, 1)}


@pytest.mark.django_db(transaction=True)
def test_a_crash_between_the_roll_ups_and_the_cursor_leaves_neither(pump: Device, monkeypatch: Any) -> None:
    at(pump, (0, 1), (1000, 2))

    def crash(*_: Any, **__: Any) -> None:
        raise OperationalError("the server went away")

    with monkeypatch.context() as broken:
        broken.setattr(Rolled.objects, "bulk_update", crash)
        with pytest.raises(OperationalError):
            rollups.roll(1000)
    assert not Rollup.objects.exists()
    assert roll_all() == 2
    assert rolled(pump, DAY_MS) == {0: Bucket(2, 1000, 2, 3.0, 1.0, 2.0)}


@pytest.mark.django_db(transaction=True)
def test_two_at_once_roll_each_frame_once(pump: Device, kettle: Device) -> None:
    for device in (pump, kettle):
        at(device, *((index * 1000, 1) for index in range(100)))
    while sum(together(*[lambda: rollups.roll(30)] * 3)):
        pass
    assert [rolled(device, DAY_MS)[0].n for device in (pump, kettle)] == [100, 100]


@pytest.mark.django_db(transaction=True)
def test_a_device_that_is_deleted_meanwhile_stops_nothing(pump: Device, monkeypatch: Any) -> None:
    at(pump, (0, 1))
    gone = rollups._Behind(5, 5, begun=False)
    monkeypatch.setattr(rollups, "_behind", lambda _: {pump.pk + 1000: gone, pump.pk: rollups._Behind(1, 1, False)})
    assert rollups.roll(1000) == 0
    monkeypatch.undo()
    assert rollups.roll(1000) == 1


@pytest.mark.django_db(transaction=True)
def test_a_device_can_be_deleted_while_it_is_rolled(pump: Device, monkeypatch: Any) -> None:
    at(pump, (0, 1))
    written, removed = threading.Event(), threading.Event()
    put = archive.put_rollups

    def put_and_wait(*given: Any) -> None:
        put(*given)
        written.set()
        removed.wait(0.2)  # where it can be deleted now, it must not be

    def remove() -> None:
        assert written.wait(10)
        registry.remove(pump)
        removed.set()

    monkeypatch.setattr(archive, "put_rollups", put_and_wait)
    assert together(lambda: rollups.roll(1000), remove)[0] == 1
    assert not Rollup.objects.exists()
    assert not Device.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_device_is_deleted_once(pump: Device) -> None:
    at(pump, (0, 1))
    other = Device.objects.get()
    registry.remove(other)
    with pytest.raises(Refusal, match="There is no device"):
        registry.remove(pump)
    assert not Rolled.objects.exists()


# --- series


def test_few_readings_are_told_one_by_one(pump: Device) -> None:
    at(pump, (5000, 2), (1000, 1.5), (7000, True))
    answer = asked(pump, points=3)
    assert (answer.tier, answer.step, answer.metric, answer.unit) == ("raw", None, "temperature", "°C")
    assert [(ts - DAY, *point) for ts, *point in answer.points] == [
        (1000, 1.5, 1.5, 1.5, 1, 1.5),
        (5000, 2.0, 2.0, 2.0, 1, 2),
        (7000, 1.0, 1.0, 1.0, 1, True),
    ]


def test_many_readings_become_buckets_that_keep_the_extremes(pump: Device) -> None:
    at(pump, *((index * 1000, 1000 if index == 77 else index) for index in range(100)))
    answer = asked(pump, 0, 100_000, points=10)
    assert (answer.tier, answer.step) == ("raw", 10_000)
    assert [point[0] - DAY for point in answer.points] == list(range(0, 100_000, 10_000))
    assert answer.points[7] == (DAY + 70_000, 70.0, (745 - 77 + 1000) / 10, 1000.0, 10, 79)


def numbers(answer: Any) -> list[Any]:
    return [(ts, low, pytest.approx(avg), high, n, last) for ts, low, avg, high, n, last in answer.points]


@pytest.mark.parametrize("rolled_first", [0, 137, 500])
@pytest.mark.parametrize(("points", "tier"), [(30, "hour"), (100, "minute"), (1, "day")])
def test_every_tier_gives_the_same_answer_however_far_the_roll_ups_are(
    pump: Device, points: int, tier: str, rolled_first: int
) -> None:
    readings = [(index * 7919_000 % DAY_MS, index % 101) for index in range(500)]
    at(pump, *readings)
    if rolled_first:
        rollups.roll(rolled_first)
    answer = asked(pump, points=points)
    assert (answer.tier, len(answer.points) <= points) == (tier, True)
    step = answer.step
    expected = {}
    for ts, value in readings:
        expected.setdefault(ts // step * step, []).append((ts, value))
    assert numbers(answer) == [
        (
            DAY + start,
            min(value for _, value in inside),
            sum(value for _, value in inside) / len(inside),
            max(value for _, value in inside),
            len(inside),
            max(inside)[1],
        )
        for start, inside in sorted(expected.items())
    ]


def test_the_range_is_widened_to_whole_buckets_and_the_answer_says_so(pump: Device) -> None:
    at(pump, *((index * 10_000, index) for index in range(1000)))
    roll_all()
    answer = asked(pump, 30_000, 30_000 + 40 * MINUTE_MS, points=41)
    assert (answer.start, answer.end, answer.step) == (DAY, DAY + 41 * MINUTE_MS, MINUTE_MS)
    assert sum(point[4] for point in answer.points) == 41 * 6


def test_a_text_metric_has_the_last_text_and_how_many(pump: Device) -> None:
    at(pump, *((index * 60_000, f"state {index}") for index in range(10)))
    roll_all()
    assert asked(pump, points=1).points == [(DAY, None, None, None, 10, "state 9")]


def test_a_metric_that_comes_seldom_is_told_one_by_one_among_many_frames(pump: Device) -> None:
    at(pump, *((index * 1000, index) for index in range(200)))
    at(pump, (300_000, True), (301_000, False), metric="door")
    roll_all()
    answer = asked(pump, points=10, metric="door")
    assert [(ts - DAY, last) for ts, *_, last in answer.points] == [(300_000, True), (301_000, False)]


@pytest.mark.parametrize("name", ['say "x"', "a.b", "0", "$", "$.a", "[0]", "a\\b", "é", "a/b", "'", "->", "%s", "%"])
def test_a_metric_may_have_any_name(pump: Device, name: str) -> None:
    at(pump, *((index * 60_000, index) for index in range(20)), metric=name)
    assert len(asked(pump, metric=name).points) == 20
    roll_all()
    assert asked(pump, points=1, metric=name).points == [(DAY, 0.0, 9.5, 19.0, 20, 19)]


def test_an_unknown_metric_is_refused_with_what_there_is(pump: Device) -> None:
    at(pump, (0, 1))
    for name in ("temprature", "a\0b"):
        with pytest.raises(Refusal, match="it has temperature"):
            asked(pump, metric=name)


def test_what_was_marked_as_bad_is_left_out_of_what_is_read_from_the_journal(pump: Device) -> None:
    at(pump, *((index * 1000, index) for index in range(10)))
    mark(pump, 3000, 9000, "temperature")
    assert [point[-1] for point in asked(pump).points] == [0, 1, 2, 9]
    assert asked(pump, points=1).points[0][3:5] == (9.0, 4)


def test_what_was_marked_as_bad_before_it_came_does_not_come_into_the_roll_ups(pump: Device) -> None:
    at(pump, (0, 5))
    mark(pump, 1000, 2000)
    at(pump, (1500, 99))
    roll_all()
    assert rolled(pump, DAY_MS) == {0: Bucket(5, 0)}


def test_too_many_frames_for_narrow_buckets_are_answered_in_minutes(pump: Device, monkeypatch: Any) -> None:
    monkeypatch.setattr(series, "MAX_FRAMES", 50)
    at(pump, *((index * 1000, index) for index in range(120)))
    answer = asked(pump, 0, 120_000, points=60)
    assert (answer.tier, answer.step, len(answer.points)) == ("minute", MINUTE_MS, 2)


def test_too_many_minutes_are_answered_in_hours(pump: Device, monkeypatch: Any) -> None:
    monkeypatch.setattr(series, "MAX_ROLLUPS", 100)
    at(pump, *((index * 60_000, index) for index in range(200)))
    roll_all()
    answer = asked(pump, points=150)
    assert (answer.tier, answer.step) == ("hour", HOUR_MS)


@pytest.mark.django_db(transaction=True)
def test_a_series_sees_one_moment_while_frames_are_rolled(pump: Device, monkeypatch: Any) -> None:
    """Rolled between the two reads of an answer, a frame would be counted twice, or not at all."""
    at(pump, *((index * 1000, 1) for index in range(100)))
    rollups.roll(40)
    real = archive.rolled

    def disturbed(*given: Any) -> Any:
        found = list(real(*given))
        together(lambda: rollups.roll(1000))
        yield from found

    monkeypatch.setattr(archive, "rolled", disturbed)
    assert sum(point[4] for point in asked(pump, points=1).points) == 100
    assert Rolled.objects.get(device=pump).seq == 100


def test_late_frames_for_pruned_buckets_do_not_bring_back_a_part_of_them(pump: Device) -> None:
    at(pump, (0, 1))
    roll_all()
    Rolled.objects.update(minute_from=DAY + HOUR_MS)
    Rollup.objects.filter(tier=MINUTE_MS).delete()
    at(pump, (1000, 2), (HOUR_MS, 3))
    roll_all()
    assert list(rolled(pump, MINUTE_MS)) == [HOUR_MS]
    assert rolled(pump, DAY_MS)[0].n == 3


def test_what_a_finer_tier_has_no_more_is_answered_by_a_coarser_one(pump: Device) -> None:
    at(pump, *((index * 60_000, index) for index in range(200)))
    roll_all()
    Rolled.objects.update(raw_from=DAY + HOUR_MS, minute_from=DAY + 2 * MINUTE_MS)
    assert asked(pump, points=1000).tier == "hour"
    assert asked(pump, 3 * MINUTE_MS, 60 * MINUTE_MS, points=1000).tier == "minute"
    assert asked(pump, 60 * MINUTE_MS, points=1000).tier == "raw"
    Rolled.objects.update(hour_from=DAY + HOUR_MS)
    assert asked(pump, points=1000).tier == "day"


# --- repairs


def test_readings_taken_for_good_again_are_no_more_points_than_asked_for_until_the_roll_ups_follow(
    pump: Device,
) -> None:
    at(pump, *((index * 1000, index) for index in range(200)))
    roll_all()
    repair = mark(pump, 0, HOUR_MS)
    rebuild_all()
    repairs.undo(repair, None, NOW)
    assert len(asked(pump, points=1).points) <= 1
    rebuild_all()
    assert asked(pump, points=1).points[0][4] == 200


def rebuild_all(limit: int = 1000) -> int:
    steps = 0
    while rollups.rebuild(limit):
        steps += 1
    return steps


def everything(device: Device) -> dict[int, Any]:
    """All roll-ups, to be compared; sums of integers are exact in any order."""
    return {tier: {ts: bucket.row() for ts, bucket in rolled(device, tier).items()} for tier in buckets.TIERS.values()}


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_roll_ups_follow_a_repair_and_its_undoing(pump: Device, kettle: Device, limit: int) -> None:
    readings = [(index * 25_000, index % 13) for index in range(1000)]
    bad = range(5 * MINUTE_MS + 100, 3 * HOUR_MS + 200)
    at(pump, *readings)
    at(kettle, *(each for each in readings if each[0] not in bad))
    roll_all()
    before = everything(pump)
    repair = mark(pump, bad.start, bad.stop, "temperature")
    assert rebuild_all(limit) >= 100 / limit
    assert everything(pump) == everything(kettle)
    repair.refresh_from_db()
    assert (repair.rebuilt, repair.rebuilt_to) == (True, 0)
    repairs.undo(repair, None, NOW)
    rebuild_all(limit)
    assert everything(pump) == before


def test_what_is_undone_in_the_middle_is_rebuilt_from_its_start(pump: Device) -> None:
    at(pump, *((index * 25_000, index % 13) for index in range(200)))
    roll_all()
    before = everything(pump)
    repair = mark(pump, 0, HOUR_MS)
    rollups.rebuild(50)
    repair.refresh_from_db()
    assert 0 < repair.rebuilt_to < repair.end
    repairs.undo(repair, None, NOW)
    rebuild_all()
    assert everything(pump) == before


def test_a_repair_of_one_metric_leaves_the_others(pump: Device) -> None:
    at(pump, (0, 1), (1000, 2))
    at(pump, (500, 7), metric="pressure")
    roll_all()
    mark(pump, 0, 60_000, "temperature")
    rebuild_all()
    assert [set(row.values) for row in Rollup.objects.filter(device=pump)] == [{"pressure"}] * 3


def test_a_repair_of_everything_leaves_no_empty_bucket(pump: Device) -> None:
    at(pump, (0, 1), (1000, 2))
    roll_all()
    mark(pump, 0, 60_000)
    rebuild_all()
    assert not Rollup.objects.exists()
    assert asked(pump).points == []


def test_frames_that_are_not_rolled_yet_are_not_rolled_by_a_rebuild(pump: Device) -> None:
    at(pump, (0, 1), (2000, 2))
    rollups.roll(1)
    mark(pump, 5000, 6000)
    rebuild_all()
    assert roll_all() == 1
    assert rolled(pump, DAY_MS)[0].n == 2


def test_a_repair_of_a_device_that_was_never_rolled_is_done_at_once(pump: Device) -> None:
    at(pump, (0, 1))
    mark(pump, 0, 60_000)
    assert rebuild_all() == 1
    assert roll_all() == 1
    assert not Rollup.objects.exists()


def test_hours_are_rebuilt_from_the_journal_where_the_minutes_are_gone(pump: Device) -> None:
    at(pump, *((index * MINUTE_MS, index) for index in range(120)))
    roll_all()
    Rollup.objects.filter(tier=MINUTE_MS, ts__lt=DAY + HOUR_MS).delete()
    Rolled.objects.update(minute_from=DAY + HOUR_MS)
    mark(pump, 0, 30 * MINUTE_MS)
    rebuild_all()
    assert min(rolled(pump, MINUTE_MS)) == HOUR_MS
    assert [(bucket.n, bucket.whole[1]) for bucket in rolled(pump, HOUR_MS).values() if bucket.whole] == [
        (30, 30),
        (60, 60),
    ]
    assert rolled(pump, DAY_MS)[0].n == 90


@pytest.mark.django_db(transaction=True)
def test_a_repair_that_is_undone_while_it_is_rebuilt_is_rebuilt_again(pump: Device, monkeypatch: Any) -> None:
    at(pump, *((index * 1000, index) for index in range(100)))
    roll_all()
    before = everything(pump)
    repair = mark(pump, 0, 50_000)
    together(lambda: rollups.rebuild(1000), lambda: repairs.undo(repair, None, NOW))
    rebuild_all()
    assert everything(pump) == before
