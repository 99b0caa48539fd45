"""What becomes of readings: numbered without holes, stored once, the newest of them in the head."""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from devices import learning, registry, standing, telemetry, wire
from devices.models import Device, Fleet, Frame, Head, Metric
from devices.telemetry import CLOCK, LATE, RETAINED, Recorded
from devices.values import Bad
from tests.django.together import together

NOW = 1_790_000_000_000
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@pytest.fixture
def tank(db: None) -> Device:
    return make_device("tank")


def make_device(key: str) -> Device:
    fleet, _ = Fleet.objects.get_or_create(slug="cellar", name="Cellar")
    return registry.create(key, fleet)[0]


def frame(device: str = "tank", received_at: int = NOW, **given: Any) -> wire.Frame:
    return wire.Frame(device=device, received_at=received_at, values=given.pop("values", {"t": 1}), **given)


def status(device: str = "tank", received_at: int = NOW, *, online: bool = True, **given: Any) -> wire.Presence:
    return wire.Presence(device=device, online=online, received_at=received_at, **given)


def record(*events: wire.Frame | wire.Presence, now: int = NOW) -> Recorded:
    return telemetry.record(events, now)


def arrived(payload: str, received_at: int = NOW, **options: Any) -> list[Any]:
    """Read a message of the tank as the bridge does."""
    options = {"qos": 1, "mid": 1} | options
    message = wire.Message(topic="hub/tank/telemetry", payload=payload.encode(), received_at=received_at, **options)
    return wire.read(message)[1]


def head(key: str = "tank") -> Head:
    return Head.objects.get(device__key=key)


def seqs(key: str = "tank") -> list[int]:
    return list(Frame.objects.filter(device__key=key).order_by("seq").values_list("seq", flat=True))


def stored(key: str = "tank") -> list[tuple[int, dict[str, Any], int]]:
    return list(Frame.objects.filter(device__key=key).order_by("seq").values_list("ts", "values", "flags"))


# --- numbers


def test_frames_are_numbered_from_one_without_holes_over_batches_and_devices(tank: Device) -> None:
    make_device("boiler")
    for _ in range(3):
        record(frame(), frame("boiler"), frame(), frame("boiler"), frame("boiler"))
    assert seqs() == list(range(1, 7))
    assert seqs("boiler") == list(range(1, 10))
    assert (head().seq, head("boiler").seq) == (6, 9)


def test_one_device_is_taken_in_the_order_of_arrival(tank: Device) -> None:
    record(*(frame(values={"t": number}) for number in range(20)))
    assert [values["t"] for _, values, _ in stored()] == list(range(20))
    assert telemetry.head_values(head()) == {"t": 19}


def test_an_announcement_says_what_was_before_and_each_row(tank: Device) -> None:
    record(frame())
    recorded = record(frame(values={"t": 2}), frame(values={"t": 3}, ts=NOW - 5))
    expected = {
        "type": "device.frames",
        "device": "tank",
        "prev": 1,
        "frames": [(2, NOW, {"t": 2}, 0), (3, NOW - 5, {"t": 3}, LATE)],
        "hops": [NOW, 0, 0],
    }
    assert recorded.frames == [expected]


def test_what_was_announced_is_what_is_read_back(tank: Device) -> None:
    values = {"i": 2**53 - 1, "f": -0.1, "b": True, "s": '°C ✓ "\\\n\t', "e": 1e-300, "z": 1e22}
    recorded = record(frame(values=values))
    assert telemetry.after(tank.pk, 0, 10) == recorded.frames[0]["frames"]
    assert telemetry.after(tank.pk, 0, 1)[0][2]["b"] is True


TEXTS = st.text(st.characters(), max_size=12) | st.sampled_from(["\0", "\ud800", "1e999", "nan", "a\\u0000"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ENTRIES = st.dictionaries(
    TEXTS | st.sampled_from(["ts", "dt", "boot", "seq", "values", "a", "a.b"]),
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)),
    max_size=4,
)


def as_a_browser_reads(rows: list[Any]) -> Any:
    """To a browser all numbers are floats; PostgreSQL's jsonb gives 4.9e16 back with digits instead of the e."""
    return json.loads(json.dumps(rows), parse_int=float)


@settings(max_examples=100, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=(ENTRIES | st.lists(ENTRIES, max_size=3)).map(json.dumps) | TEXTS)
def test_whatever_can_be_read_can_be_stored_and_is_read_back(tank: Device, payload: str) -> None:
    level = "telemetry" if payload[:1] in "[{" else "telemetry/a"
    data = payload.encode(errors="surrogatepass")
    message = wire.Message(topic=f"hub/tank/{level}", payload=data, received_at=NOW)
    with suppress(Bad):
        before = head().seq
        frames = [event for event in wire.read(message)[1] if isinstance(event, wire.Frame)]
        recorded = record(*frames)
        told = [row for each in recorded.frames for row in each["frames"]]
        assert as_a_browser_reads(told) == as_a_browser_reads(telemetry.after(tank.pk, before, 9))
        assert head().seq - before + recorded.duplicates + len(recorded.refused) == len(frames)


def test_an_empty_batch_is_no_trouble(tank: Device) -> None:
    assert record() == Recorded()


def test_a_batch_costs_the_same_few_statements_however_large_it_is(
    tank: Device, django_assert_max_num_queries: Any
) -> None:
    keys = [make_device(f"d{number}").key for number in range(10)]
    record(*map(frame, keys))
    with django_assert_max_num_queries(6):  # savepoint, heads, marks, frames, heads, savepoint
        record(*(frame(key, mark=number, mark_ms=1) for number, key in enumerate(keys * 20, start=1)))
    assert sum(len(seqs(key)) for key in keys) == 210


def test_an_error_in_the_middle_stores_nothing(tank: Device) -> None:
    make_device("boiler")
    with pytest.raises(TypeError), transaction.atomic():
        record(frame("boiler"), status("boiler"), frame(values={"t": object()}))
    assert (seqs(), seqs("boiler"), head("boiler").seq, head("boiler").presence) == ([], [], 0, "never")
    assert not Metric.objects.exists()


def test_a_deleted_devices_frame_is_refused_and_the_others_are_taken(tank: Device) -> None:
    registry.remove(make_device("boiler"))
    recorded = record(frame("boiler"), status("boiler"), frame())
    assert [(one.frame.device, one.reason) for one in recorded.refused] == [("boiler", "device_unknown")]
    assert seqs() == [1]


# --- duplicates


def test_a_numbered_frame_is_stored_once_however_it_comes_again(tank: Device) -> None:
    first = arrived('{"boot":1,"seq":7,"t":1}')
    record(*first, *first)
    record(*first)
    recorded = record(*arrived('{"boot":1,"seq":7,"t":1}', NOW + 30 * DAY_MS, mid=9))
    assert (recorded.duplicates, recorded.frames, seqs()) == (1, [], [1])


def test_the_same_number_after_another_boot_is_another_frame(tank: Device) -> None:
    record(*arrived('{"boot":1,"seq":7,"t":1}'), *arrived('{"boot":2,"seq":7,"t":1}'))
    assert seqs() == [1, 2]


def test_a_frame_with_a_time_is_told_by_time_and_values_together(tank: Device) -> None:
    ts = NOW - 1000
    record(*arrived(f'{{"ts":{ts},"t":1}}'), *arrived(f'{{"ts":{ts},"t":2}}'), *arrived(f'{{"ts":{ts - 1},"t":1}}'))
    assert record(*arrived(f'{{"ts":{ts},"values":{{"t":1}}}}', NOW + DAY_MS)).duplicates == 1
    assert seqs() == [1, 2, 3]


def test_equal_readings_that_are_no_duplicates_stay(tank: Device) -> None:
    for received_at in (NOW, NOW + 1):
        record(*arrived('{"t":1}', received_at))  # a packet id is soon used again
        record(*arrived('{"t":1}', received_at, qos=0, mid=0))
    record(*arrived('[{"t":1},{"t":1}]'))
    assert seqs() == [1, 2, 3, 4, 5, 6]


def test_a_redelivery_is_known_by_dup_and_packet_inside_the_window(tank: Device) -> None:
    record(*arrived('{"t":1}', mid=5))
    assert record(*arrived('{"t":1}', NOW + wire.REDELIVERY_MS, mid=5, dup=True)).duplicates == 1
    record(*arrived('{"t":1}', NOW, mid=6, dup=True))
    record(*arrived('{"t":2}', NOW, mid=5, dup=True))
    assert seqs() == [1, 2, 3]


def test_past_the_window_the_packet_is_another_one(tank: Device) -> None:
    record(*arrived('{"t":1}', mid=5))
    record(*arrived('{"t":1}', NOW + wire.REDELIVERY_MS + 1, mid=5, dup=True))
    assert seqs() == [1, 2]


def test_the_time_for_which_nobody_heard_the_broker_does_not_make_a_repetition_a_reading(tank: Device) -> None:
    record(*arrived('{"t":1}', mid=5))
    day = arrived('{"t":1}', NOW + DAY_MS, mid=5, dup=True, away_ms=DAY_MS)
    assert record(*day, now=NOW + DAY_MS).duplicates == 1
    assert telemetry.newest_arrival() == NOW


def test_a_redelivery_of_what_never_came_is_taken(tank: Device) -> None:
    record(*arrived('{"t":1}', mid=5, dup=True), *arrived('{"t":1}', mid=5, dup=True))
    assert seqs() == [1]


def test_a_redelivered_batch_is_known_entry_by_entry(tank: Device) -> None:
    record(*arrived('[{"t":1},{"t":1}]', mid=5))
    assert record(*arrived('[{"t":1},{"t":1}]', mid=5, dup=True)).duplicates == 2
    assert seqs() == [1, 2]


def test_two_devices_with_the_same_numbers_do_not_disturb_each_other(tank: Device) -> None:
    make_device("boiler")
    for key in ("tank", "boiler"):
        message = wire.Message(topic=f"hub/{key}/telemetry", payload=b'{"boot":1,"seq":1,"t":1}', received_at=NOW)
        record(*(event for event in wire.read(message)[1] if isinstance(event, wire.Frame)))
    assert (seqs(), seqs("boiler")) == ([1], [1])


def test_what_was_retained_does_not_make_a_duplicate_of_the_reading_itself(tank: Device) -> None:
    retained = arrived('{"boot":1,"seq":1,"t":1}', retain=True)
    assert record(*retained, *arrived('{"boot":1,"seq":1,"t":1}')).duplicates == 0
    assert seqs() == [1]


# --- time


def test_a_late_frame_keeps_its_time_and_leaves_the_head_alone(tank: Device) -> None:
    record(frame(ts=NOW, values={"t": 1}))
    record(frame(ts=NOW - HOUR_MS, values={"t": 2, "older": 3}))
    assert stored() == [(NOW, {"t": 1}, 0), (NOW - HOUR_MS, {"t": 2, "older": 3}, LATE)]
    assert head().values == {"t": [1, NOW], "older": [3, NOW - HOUR_MS]}
    assert head().ts == NOW


def test_of_two_frames_of_one_instant_the_second_is_the_newer(tank: Device) -> None:
    record(frame(ts=NOW, values={"t": 1}), frame(ts=NOW, values={"t": 2}))
    assert telemetry.head_values(head()) == {"t": 2}
    assert [flags for *_, flags in stored()] == [0, 0]


@pytest.mark.parametrize("ts", [0, -5, 1_577_836_799_999, NOW + DAY_MS + 1, 99_999_999_999_999])
def test_an_impossible_clock_is_stored_at_arrival_flagged_and_kept(tank: Device, ts: int) -> None:
    record(frame(ts=ts))
    assert stored() == [(NOW, {"t": 1}, CLOCK)]
    assert Frame.objects.get().device_ts == ts


@pytest.mark.parametrize("ts", [1_577_836_800_000, NOW - 5, NOW + DAY_MS])
def test_a_possible_clock_is_believed(tank: Device, ts: int) -> None:
    record(frame(ts=ts))
    assert stored() == [(ts, {"t": 1}, 0)]
    assert Frame.objects.get().device_ts is None


def test_a_clock_that_was_ahead_does_not_hold_the_head(tank: Device) -> None:
    record(frame(ts=NOW + 10 * HOUR_MS, values={"t": 1}))
    record(
        frame(received_at=NOW + 1000, ts=NOW + 1000, values={"t": 2}), frame(received_at=NOW + 2000, values={"u": 3})
    )
    assert telemetry.head_values(head()) == {"t": 2, "u": 3}
    assert [flags for *_, flags in stored()] == [0, 0, 0]


# --- retained


def test_what_was_retained_without_a_time_fills_what_is_empty_and_is_no_reading(tank: Device) -> None:
    record(frame(values={"t": 1}))
    recorded = record(frame(values={"t": 9, "new": 2}, retained=True, received_at=NOW + 5))
    assert (seqs(), recorded.frames) == ([1], [])
    assert telemetry.head_values(head()) == {"t": 1, "new": 2}
    assert Metric.objects.filter(name="new").exists()


def test_what_was_retained_with_a_time_is_a_reading_once_and_no_sign_of_life(tank: Device) -> None:
    for received_at in (NOW, NOW + HOUR_MS):
        record(*arrived(f'{{"ts":{NOW - 1000},"t":1}}', received_at, retain=True))
    assert stored() == [(NOW - 1000, {"t": 1}, RETAINED)]
    assert (head().presence, head().received_at) == ("never", None)


def test_a_retained_reading_relative_to_arrival_is_not_doubled_by_each_reconnect(tank: Device) -> None:
    for received_at in (NOW, NOW + HOUR_MS):
        record(*arrived('{"dt":-5000,"t":1}', received_at, retain=True))
    assert seqs() == []
    assert telemetry.head_values(head()) == {"t": 1}


# --- metrics


def test_an_unknown_metric_is_made_with_its_type_and_what_everybody_knows_of_it(tank: Device) -> None:
    record(frame(values={"temperature": 21, "light": True, "mode": "eco", "x": 1}))
    metrics = Metric.objects.order_by("name").values_list("name", "unit", "device_class", "type")
    assert list(metrics) == [
        ("light", "", "", "bool"),
        ("mode", "", "", "text"),
        ("temperature", "°C", "temperature", "number"),
        ("x", "", "", "number"),
    ]


def test_what_was_announced_before_its_first_reading_gets_its_type_and_keeps_its_unit(tank: Device) -> None:
    learning.learn(wire.Announce(device="tank", metrics={"temperature": {"unit": "K"}}))
    record(frame(values={"temperature": 294}))
    metric = Metric.objects.get()
    assert (metric.unit, metric.type) == ("K", "number")


def test_a_device_has_500_metrics_and_the_frame_with_one_more_is_refused_alone(tank: Device) -> None:
    record(frame(values={str(number): number for number in range(500)}))
    recorded = record(frame(values={"0": 1, "one more": 1}), frame(values={"0": 2}))
    assert [(one.reason, one.detail) for one in recorded.refused] == [
        ("too_many_metrics", "'one more' would be one more than 500")
    ]
    assert (seqs(), Metric.objects.count(), telemetry.head_values(head())["0"]) == ([1, 2], 500, 2)


def test_a_refused_frame_is_refused_again_and_no_duplicate(tank: Device) -> None:
    record(frame(values={str(number): number for number in range(500)}))
    one_more = arrived('{"boot":1,"seq":1,"one more":1}')
    recorded = record(*one_more, *one_more)
    assert (len(recorded.refused), recorded.duplicates) == (2, 0)


# --- presence


def test_the_first_reading_makes_a_device_online_and_the_second_says_nothing_new(tank: Device) -> None:
    assert record(frame()).states == [
        {"type": "device.state", "device": "tank", "presence": "online", "because": "it sent data", "since": NOW}
    ]
    assert record(frame(received_at=NOW + 1000), now=NOW + 1000).states == []


def test_a_last_will_makes_it_offline_and_data_online_again(tank: Device) -> None:
    record(frame())
    (state,) = record(status(online=False), now=NOW + 5).states
    assert (state["presence"], state["because"], state["since"]) == ("offline", "last will, or it said so", NOW + 5)
    assert record(frame(), now=NOW + 9).states[0]["presence"] == "online"


def test_what_changes_and_changes_back_in_one_batch_is_told_as_it_is_in_the_end(tank: Device) -> None:
    record(frame())
    assert record(status(online=False), frame(), now=NOW + 5).states[0]["since"] == NOW + 5
    assert record(status(online=True), status(online=False), now=NOW + 6).states[0]["presence"] == "offline"


def test_a_burst_of_scalar_topics_is_one_beat(tank: Device) -> None:
    for minute in range(4):
        for offset in (0, 40, 80, 900):
            at = NOW + minute * 60_000 + offset
            record(frame(received_at=at), now=at)
    assert head().usual_ms == 60_000


def test_from_its_start_to_its_first_reading_is_no_rhythm(tank: Device) -> None:
    record(status(received_at=NOW), frame(received_at=NOW + 5000), frame(received_at=NOW + 305_000))
    assert head().usual_ms == 300_000


def test_saying_online_again_does_not_hide_the_rhythm(tank: Device) -> None:
    for minute in range(4):
        at = NOW + minute * 60_000
        record(status(received_at=at - 30_000), frame(received_at=at), now=at)
    assert head().usual_ms == 60_000


def test_an_absence_that_was_announced_is_no_rhythm(tank: Device) -> None:
    record(frame(received_at=NOW), frame(received_at=NOW + 10_000), status(received_at=NOW + 10_001, online=False))
    record(frame(received_at=NOW + DAY_MS))
    assert head().usual_ms == 10_000


def heard_every_ten_seconds(tank: Device) -> None:
    record(frame(received_at=NOW - 10_000), frame(received_at=NOW))


def test_a_silent_device_becomes_stale_and_a_retained_online_does_not_revive_it(tank: Device) -> None:
    heard_every_ten_seconds(tank)
    assert standing.sweep(NOW + 30_000, 0) == 0
    assert standing.sweep(NOW + 30_001, 0) == 1
    assert standing.sweep(NOW + 30_002, 0) == 0
    assert head().because == "no data for 30 s, usually every 10 s"
    assert record(status(retained=True), now=NOW + 31_000).states == []
    assert record(status(), now=NOW + 31_000).states[0]["presence"] == "online"


def test_saying_online_is_a_sign_of_life(tank: Device) -> None:
    heard_every_ten_seconds(tank)
    record(status(received_at=NOW + 25_000))
    assert standing.sweep(NOW + 50_000, 0) == 0


def test_a_sleeper_may_be_silent_for_half_as_long_again_as_it_said(tank: Device) -> None:
    record(status(sleep_s=900), frame())
    assert standing.sweep(NOW + 1_350_000, 0) == 0
    assert standing.sweep(NOW + 1_350_001, 0) == 1


def test_a_device_that_was_heard_once_is_not_online_for_ever(tank: Device) -> None:
    record(frame())
    assert standing.sweep(NOW + DAY_MS + 1, 0) == 1


def test_stale_is_told_once_the_row_is_committed(tank: Device, django_capture_on_commit_callbacks: Any) -> None:
    heard_every_ten_seconds(tank)
    with django_capture_on_commit_callbacks() as rung:
        standing.sweep(NOW + 30_001, 0)
    assert len(rung) == 1


# --- reading back


def test_the_journal_is_read_behind_a_cursor_in_order_and_in_parts(tank: Device) -> None:
    record(*(frame(values={"t": number}) for number in range(5)))
    assert [row[0] for row in telemetry.after(tank.pk, 0, 2)] == [1, 2]
    assert [row[0] for row in telemetry.after(tank.pk, 2, 9)] == [3, 4, 5]
    assert telemetry.after(tank.pk, 5, 9) == []


def test_a_cursor_is_found_by_time_also_when_frames_were_late(tank: Device) -> None:
    record(frame(ts=NOW - 3000), frame(ts=NOW - 1000), frame(ts=NOW - 2000), frame(ts=NOW))
    assert telemetry.cursor_at(tank.pk, NOW - 2000) == 1
    assert telemetry.cursor_at(tank.pk, NOW - 9000) == 0
    assert telemetry.cursor_at(tank.pk, NOW + 1) is None


def test_the_oldest_frame_that_is_kept_is_known(tank: Device) -> None:
    assert telemetry.first_seq(tank.pk) is None
    record(frame(), frame())
    Frame.objects.filter(seq=1).delete()
    assert telemetry.first_seq(tank.pk) == 2


# --- several writers


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_one_device_leave_no_hole_and_no_double() -> None:
    make_device("tank")
    make_device("boiler")

    def write(keys: tuple[str, ...], counter: Iterator[int]) -> Callable[[], None]:
        def work() -> None:
            for number in itertools.islice(counter, 15):
                # Both send the same numbered frame, and one of their own, of two devices in opposite order.
                same = [frame(key, mark=number + 1, mark_ms=DAY_MS) for key in keys]
                record(*same, *(frame(key) for key in keys))

        return work

    together(write(("tank", "boiler"), itertools.count()), write(("boiler", "tank"), itertools.count()))
    for key in ("tank", "boiler"):
        assert seqs(key) == list(range(1, head(key).seq + 1))
    # A mark is one frame's, whichever device it was met on first: 15 shared ones, and two times 15 for each device.
    assert len(seqs()) + len(seqs("boiler")) == 15 + 60


@pytest.mark.django_db(transaction=True)
def test_a_device_that_is_deleted_while_it_sends_leaves_nothing_behind() -> None:
    tank = make_device("tank")

    def send() -> None:
        for _ in range(10):
            record(frame())

    together(send, lambda: registry.remove(tank))
    assert not Frame.objects.exists()
    assert not Head.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_device_that_describes_itself_while_it_sends_waits_for_nobody_crosswise() -> None:
    make_device("tank")

    def send() -> None:
        for number in range(15):
            record(frame(values={f"m{number}": 1}))

    def describe() -> None:
        for number in range(15):
            learning.learn(wire.Announce(device="tank", fw=str(number), metrics={f"m{number}": {"unit": "V"}}))

    together(send, describe)
    assert set(Metric.objects.values_list("unit", "type")) == {("V", "number")}


# --- a model


class Model(RuleBasedStateMachine):
    """Any sequence of events, against what a list and a dictionary say."""

    @initialize()
    def begin(self) -> None:
        self.tank = make_device("tank")
        self.now = NOW
        self.values: list[dict[str, Any]] = []
        self.newest: dict[str, tuple[Any, int]] = {}
        self.marks: set[int] = set()

    @rule(
        batch=st.lists(
            st.tuples(
                st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), min_size=1),
                st.none() | st.integers(-9, 0),
                st.none() | st.integers(1, 6),
                st.booleans(),
            ),
            max_size=6,
        )
    )
    def arrive(self, batch: list[tuple[dict[str, Any], int | None, int | None, bool]]) -> None:
        self.now += 1
        events = [
            frame(
                received_at=self.now,
                values=values,
                ts=None if ago is None else self.now + 1000 * ago,
                mark=mark,
                mark_ms=DAY_MS if mark else 0,
                retained=retained,
            )
            for values, ago, mark, retained in batch
        ]
        for event in events:
            self.expect(event)
        record(*events, now=self.now)

    def expect(self, event: wire.Frame) -> None:
        if event.mark in self.marks:
            return
        recorded = not (event.retained and event.ts is None)
        at = self.now if event.ts is None else event.ts
        for name, value in event.values.items():
            old = self.newest.get(name)
            if old is None or (recorded and at >= old[1]):
                self.newest[name] = (value, at)
        if recorded:
            self.values.append(event.values)
            self.marks |= {event.mark} if event.mark else set()

    @rule(online=st.booleans(), retained=st.booleans())
    def say(self, online: bool, retained: bool) -> None:
        self.now += 1
        record(status(received_at=self.now, online=online, retained=retained), now=self.now)

    @rule(silence=st.integers(0, 100_000))
    def sweep(self, silence: int) -> None:
        standing.sweep(self.now + silence, 0)

    @invariant()
    def the_journal_holds_what_came_once_in_order(self) -> None:
        rows = telemetry.after(self.tank.pk, 0, 10_000)
        assert [row[0] for row in rows] == list(range(1, len(self.values) + 1))
        assert [row[2] for row in rows] == self.values

    @invariant()
    def the_head_holds_the_newest(self) -> None:
        now = head()
        assert now.seq == len(self.values)
        assert {name: (value, at) for name, (value, at) in now.values.items()} == self.newest


@pytest.mark.django_db
def test_any_sequence_of_events_leaves_what_a_simple_model_says() -> None:
    class Isolated(Model):
        def teardown(self) -> None:
            registry.remove(self.tank)

    checks = settings(
        max_examples=25,
        stateful_step_count=15,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    Isolated.TestCase.settings = checks
    Isolated.TestCase("runTest").runTest()
