"""Buckets of time: however readings are split and put together, the same comes out."""

import statistics
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.history import buckets
from devices.history.buckets import DAY_MS, HOUR_MS, MINUTE_MS, Bucket, Timeline

START = 1_790_000_000_000 // DAY_MS * DAY_MS

numbers = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(-1e12, 1e12))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
readings = st.lists(
    st.tuples(
        st.integers(START, START + 2 * DAY_MS - 1),
        st.dictionaries(st.sampled_from(["a", 'b"', "0"]), st.one_of(numbers, texts)),
    ),
    max_size=30,
)


def folded(frames: list[tuple[int, dict[str, Any]]], width: int) -> Timeline:
    timeline: Timeline = {}
    for ts, values in frames:
        buckets.fold(timeline, width, ts, values)
    return timeline


def same(one: Timeline, other: Timeline) -> None:
    assert {ts: set(found) for ts, found in one.items()} == {ts: set(found) for ts, found in other.items()}
    for ts, found in one.items():
        for name, bucket in found.items():
            twin = other[ts][name]
            assert (bucket.last, bucket.at, bucket.n, bucket.texts) == (twin.last, twin.at, twin.n, twin.texts)
            assert (bucket.whole is None) == (twin.whole is None)
            if bucket.whole and twin.whole:
                assert bucket.whole[1:] == twin.whole[1:]
                assert bucket.whole[0] == pytest.approx(twin.whole[0], rel=1e-9, abs=1e-3)


@given(readings, st.sampled_from([MINUTE_MS, HOUR_MS, DAY_MS]))
def test_a_bucket_says_what_its_readings_say(frames: list[tuple[int, dict[str, Any]]], width: int) -> None:
    for start, found in folded(frames, width).items():
        for name, bucket in found.items():
            inside = [(ts, values[name]) for ts, values in frames if ts // width * width == start and name in values]
            counted = [float(value) for _, value in inside if not isinstance(value, str)]
            newest = max(ts for ts, _ in inside)
            assert (bucket.n, bucket.texts) == (len(counted), len(inside) - len(counted))
            assert (start + bucket.at, bucket.last) == [each for each in inside if each[0] == newest][-1]
            if counted:
                assert bucket.whole
                assert bucket.whole[1:] == (min(counted), max(counted))
                assert bucket.avg == pytest.approx(statistics.fmean(counted), rel=1e-9, abs=1e-3)
            else:
                assert (bucket.whole, bucket.avg) == (None, None)


@given(readings, st.integers(0, 30))
def test_what_is_taken_in_two_steps_is_what_is_taken_in_one(frames: list[tuple[int, dict[str, Any]]], cut: int) -> None:
    first, then = folded(frames[:cut], HOUR_MS), folded(frames[cut:], HOUR_MS)
    for start, found in then.items():
        buckets.merge(first.setdefault(start, {}), found)
    same(first, folded(frames, HOUR_MS))


@given(readings)
def test_wide_buckets_made_of_narrow_ones_are_those_made_of_the_readings(
    frames: list[tuple[int, dict[str, Any]]],
) -> None:
    minutes = folded(frames, MINUTE_MS)
    same(buckets.coarser(minutes, HOUR_MS), folded(frames, HOUR_MS))
    same(buckets.coarser(buckets.coarser(minutes, HOUR_MS), DAY_MS), folded(frames, DAY_MS))


@given(readings, st.randoms())
def test_readings_of_different_instants_may_come_in_any_order(
    frames: list[tuple[int, dict[str, Any]]], chance: Any
) -> None:
    frames = list(dict(frames).items())
    shuffled = list(frames)
    chance.shuffle(shuffled)
    same(folded(shuffled, HOUR_MS), folded(frames, HOUR_MS))


@given(readings)
def test_buckets_come_back_as_they_were_stored(frames: list[tuple[int, dict[str, Any]]]) -> None:
    for found in folded(frames, MINUTE_MS).values():
        back = buckets.read(buckets.text_of(found))
        same({0: back}, {0: found})
        assert buckets.text_of(back) == buckets.text_of(found)


def test_a_single_number_is_stored_as_little_more_than_itself() -> None:
    assert buckets.text_of({"t": buckets.of(21.5, 7)}) == '{"t":[21.5,7]}'
    assert buckets.text_of({"t": buckets.of("on", 7)}) == '{"t":["on",7,0,null,null,null,1]}'


def test_the_largest_numbers_keep_their_mean_inside() -> None:
    bucket = buckets.of(1.7e308, 0)
    bucket.add(1.6e308, 1)
    bucket.add(1.7e308, 2)
    back = buckets.read(buckets.text_of({"t": bucket}))["t"]
    assert (back.n, back.min, back.max) == (3, 1.6e308, 1.7e308)
    assert 1.6e308 <= (back.avg or 0) <= 1.7e308


def test_a_large_number_may_come_back_from_postgresql_as_an_integer() -> None:
    bucket = buckets.of(10**22, 0)
    bucket.add(10**300, 1)
    assert msgspec.json.decode(buckets.text_of({"t": bucket}))["t"] == [10**300, 1, 2, 1e300, 1e22, 1e300]
    assert buckets.read(f'{{"t":[{10**300},0]}}')["t"].whole == (1e300, 1e300, 1e300)


def test_a_mean_is_never_outside_of_what_was_measured() -> None:
    bucket = Bucket(0.1, 0)
    for at in range(1, 3):
        bucket.add(0.1, at)
    assert bucket.sum == 0.1 + 0.1 + 0.1 > 0.3
    assert bucket.avg == 0.1


@given(st.integers(0, 10**14), st.integers(1, 10**13), st.integers(1, 5000))
def test_no_range_needs_more_buckets_than_were_asked_for(start: int, length: int, points: int) -> None:
    found = list(buckets.widths(start, start + length, points))
    assert found == sorted(found)
    assert len(buckets.starts(start, start + length, found[0])) <= points
    narrower = [width for width in buckets.WIDTHS if width < found[0]]
    assert not narrower or len(buckets.starts(start, start + length, narrower[-1])) > points


@pytest.mark.parametrize(
    ("width", "tier"),
    [(1000, "raw"), (30_000, "raw"), (60_000, "minute"), (15 * 60_000, "minute"), (HOUR_MS, "hour"), (DAY_MS, "day")],
)
def test_a_width_is_made_of_the_coarsest_tier_that_fits(width: int, tier: str) -> None:
    assert buckets.tier_of(width) == tier


def test_every_width_of_a_minute_or_more_is_made_of_a_tier() -> None:
    assert all(buckets.tier_of(width) != "raw" for width in buckets.WIDTHS if width >= MINUTE_MS)
