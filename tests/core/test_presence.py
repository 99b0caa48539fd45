"""Presence is arithmetic: what was heard, how often it usually is, and the time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import presence
from devices.presence import State

NOW = 1_750_000_000_000
NEVER = State("never", "no message yet", 0)
ONLINE = State("online", "it sent data", NOW)
STALE = State("stale", "no data for 31 s, usually every 10 s", NOW)
OFFLINE = State("offline", "last will, or it said so", NOW)
LATER = NOW + 60_000


@pytest.mark.parametrize("old", [NEVER, STALE, OFFLINE])
def test_data_prove_that_a_device_is_online(old: State) -> None:
    assert presence.heard(old, LATER) == State("online", "it sent data", LATER)


def test_an_online_device_that_sends_stays_online_since_then() -> None:
    assert presence.heard(ONLINE, LATER) is ONLINE


@pytest.mark.parametrize(
    ("old", "online", "retained", "new"),
    [
        (NEVER, True, False, State("online", "it said so", LATER)),
        (NEVER, True, True, State("online", "it said so", LATER)),
        (NEVER, False, True, State("offline", "last will, or it said so", LATER)),
        (OFFLINE, True, False, State("online", "it said so", LATER)),
        (OFFLINE, True, True, State("online", "it said so", LATER)),
        (OFFLINE, False, False, OFFLINE),
        (STALE, True, False, State("online", "it said so", LATER)),
        (STALE, True, True, STALE),
        (STALE, False, True, State("offline", "last will, or it said so", LATER)),
        (ONLINE, True, False, ONLINE),
        (ONLINE, True, True, ONLINE),
        (ONLINE, False, False, State("offline", "last will, or it said so", LATER)),
    ],
)
def test_a_device_is_believed_but_what_was_retained_revives_nobody(
    old: State, online: bool, retained: bool, new: State
) -> None:
    assert presence.said(old, LATER, None, online=online, retained=retained) == new


@pytest.mark.parametrize(
    ("usual_ms", "sleep_s", "silence_ms"),
    [
        (1000, None, 10_000),  # not below ten seconds
        (10_000, None, 30_000),  # three of its intervals
        (10_000, 0, 30_000),
        (1000, 900, 1_350_000),  # asleep on purpose, and half as long again
        (600_000, 900, 1_800_000),  # the longer of the two
        (None, 900, 1_350_000),
        (None, 1, 10_000),
        (None, None, 86_400_000),  # nothing is known: a day
    ],
)
def test_a_device_is_stale_one_moment_after_the_silence_allowed(
    usual_ms: int | None, sleep_s: int | None, silence_ms: int
) -> None:
    assert presence.silence_allowed(usual_ms, sleep_s) == silence_ms
    assert presence.silent(ONLINE, NOW, usual_ms, sleep_s, NOW + silence_ms) is ONLINE
    assert presence.silent(ONLINE, NOW, usual_ms, sleep_s, NOW + silence_ms + 1).presence == "stale"


def test_a_stale_device_says_for_how_long_it_was_silent_and_how_often_it_usually_speaks() -> None:
    stale = presence.silent(ONLINE, NOW, 10_000, None, NOW + 31_000)
    assert stale == State("stale", "no data for 31 s, usually every 10 s", NOW + 31_000)
    told = "no data for 95 s, and it announced to sleep for 60 s"
    assert presence.silent(ONLINE, NOW, None, 60, NOW + 95_000).because == told


ASLEEP = State("online", "asleep, as announced, for about 15 min", NOW)


def test_a_device_that_announced_a_sleep_is_not_offline_when_its_connection_ends() -> None:
    assert presence.said(ONLINE, NOW, 900, online=False, retained=False) == ASLEEP
    assert presence.asleep(ASLEEP)


@pytest.mark.parametrize("old", [NEVER, STALE, OFFLINE])
def test_but_one_that_was_not_online_is(old: State) -> None:
    assert presence.said(old, LATER, 900, online=False, retained=False).presence == "offline"


@pytest.mark.parametrize("sleep_s", [None, 0])
def test_and_one_that_announced_none_is(sleep_s: int | None) -> None:
    assert presence.said(ONLINE, LATER, sleep_s, online=False, retained=False).presence == "offline"


@pytest.mark.parametrize("retained", [True, False])
def test_a_last_will_that_is_heard_again_does_not_lengthen_the_sleep(retained: bool) -> None:
    assert presence.said(ASLEEP, LATER, 900, online=False, retained=retained) is ASLEEP


def test_a_device_that_wakes_says_so() -> None:
    assert presence.heard(ASLEEP, LATER) == State("online", "it woke and sent data", LATER)
    woken = State("online", "it woke and said so", LATER)
    assert presence.said(ASLEEP, LATER, 900, online=True, retained=False) == woken
    assert presence.said(ASLEEP, LATER, 900, online=True, retained=True) is ASLEEP
    assert not presence.asleep(woken)


@pytest.mark.parametrize("usual_ms", [1000, 600_000, None])
def test_who_oversleeps_by_half_is_stale_whatever_its_rhythm_was_awake(usual_ms: int | None) -> None:
    assert presence.silent(ASLEEP, NOW, usual_ms, 900, NOW + 1_350_000) is ASLEEP
    late = presence.silent(ASLEEP, NOW, usual_ms, 900, NOW + 1_350_001)
    assert late == State("stale", "no data for 22 min, and it announced to sleep for 15 min", NOW + 1_350_001)


@pytest.mark.parametrize("old", [ONLINE, STALE, ASLEEP])
def test_whom_the_hub_itself_cuts_off_is_offline_and_why_is_said(old: State) -> None:
    assert presence.cut(old, LATER, "its secret was changed") == State("offline", "its secret was changed", LATER)


@pytest.mark.parametrize("old", [NEVER, OFFLINE])
def test_who_was_not_there_cannot_be_cut_off(old: State) -> None:
    assert presence.cut(old, LATER, "its secret was changed") is old


def test_silence_while_the_hub_did_not_hear_is_not_the_devices() -> None:
    back = NOW + 3_600_000
    assert presence.silent(ONLINE, NOW, 10_000, None, back + 30_000, hearing_since=back) is ONLINE
    stale = presence.silent(ONLINE, NOW, 10_000, None, back + 30_001, hearing_since=back)
    assert stale == State("stale", "no data for 60 min, usually every 10 s", back + 30_001)


def test_silence_begins_with_the_newest_message_or_with_being_online() -> None:
    assert presence.silent(ONLINE, NOW - 600_000, 10_000, None, NOW + 30_000) is ONLINE
    assert presence.silent(ONLINE, None, 10_000, None, NOW + 30_000) is ONLINE
    assert presence.silent(ONLINE, NOW + 600_000, 10_000, None, NOW + 630_000) is ONLINE


@pytest.mark.parametrize("old", [NEVER, STALE, OFFLINE])
def test_only_an_online_device_becomes_stale(old: State) -> None:
    assert presence.silent(old, 0, 1, None, NOW * 2) is old


def test_the_first_interval_is_the_rhythm() -> None:
    assert presence.learned(None, 60_000) == 60_000


def test_one_long_absence_does_not_become_the_rhythm() -> None:
    assert presence.learned(10_000, 86_400_000) == 16_000


def test_a_new_rhythm_is_learned_within_twenty_readings() -> None:
    usual: int | None = 1000
    for _ in range(20):
        usual = presence.learned(usual, 60_000)
    assert usual == pytest.approx(60_000, rel=0.05)
    for _ in range(20):
        usual = presence.learned(usual, 1000)
    assert usual == pytest.approx(1000, rel=0.7)


@given(st.lists(st.integers(presence.BEAT_MS, 10**9), min_size=1))
def test_the_rhythm_stays_within_what_was_heard(intervals: list[int]) -> None:
    usual: int | None = None
    for interval in intervals:
        usual = presence.learned(usual, interval)
        assert min(intervals) - 1 <= usual <= max(intervals) + 1


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0.0 s"),
        (500, "0.5 s"),
        (1999, "2.0 s"),
        (2000, "2 s"),
        (95_000, "95 s"),
        (119_999, "119 s"),
        (120_000, "2 min"),
        (7_199_999, "119 min"),
        (7_200_000, "2 h"),
        (172_799_999, "47 h"),
        (172_800_000, "2 d"),
    ],
)
def test_a_span_is_said_as_people_do(ms: int, text: str) -> None:
    assert presence.span(ms) == text


@given(st.lists(st.integers(0, 10**10), min_size=2))
def test_no_span_is_said_longer_than_the_reason_has_room_for(spans: list[int]) -> None:
    for silence, usual in pairwise(spans):
        state = presence.silent(ONLINE._replace(since=0), 0, usual, None, silence)
        assert len(state.because) <= 200
