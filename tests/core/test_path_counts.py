"""What is counted of the path in a process: each frame once, and how long a hop takes."""

import json

from dashboard import path
from dashboard.path import Bells, Counts, Hop, SocketCounts
from dashboard.pulses import FORGET_MS, Pulses, known
from tests.core.test_pulses import pulse

ROW = [1, 1_000, {"t": 1}, 0]


def test_what_a_socket_was_sent_counts_for_the_process_as_well() -> None:
    whole = Counts(0)
    first, second = SocketCounts(whole), SocketCounts(whole)
    first.sent(1, 10)
    second.sent(2, 5, merged=3)
    second.read_back(4)
    second.skipped(2)
    second.gone(1)
    assert (first.numbers()["frames"], second.numbers()["frames"]) == (10, 5)
    assert second.numbers() == {"messages": 2, "frames": 5, "merged": 3, "read_back": 4, "skipped": 2, "gone": 1}
    assert (whole.messages_sent, whole.frames_sent, whole.frames_merged) == (3, 15, 3)
    assert (whole.frames_read_back, whole.frames_skipped, whole.frames_gone) == (4, 2, 1)


def test_a_socket_counts_while_it_is_here() -> None:
    whole = Counts(0)
    with SocketCounts(whole):
        with SocketCounts(whole):
            assert whole.sockets == 2
        assert whole.sockets == 1
    assert (whole.sockets, whole.sockets_opened) == (0, 2)


def test_a_doorbells_hops_are_told_from_the_one_before() -> None:
    counts = Counts(0)
    counts.heard([ROW], [1_007, 1_010, 1_060], 1_061)
    counts.hops([1_007, 1_010, 1_060], 1_064)
    assert (counts.doorbells, counts.frames_heard) == (1, 1)
    assert {name: hop.total for name, hop in counts.latency.items()} == {
        "received": 7,
        "committed": 3,
        "announced": 50,
        "sent": 4,
    }


def test_a_reading_without_a_time_of_its_own_says_nothing_of_its_way_to_the_hub() -> None:
    counts = Counts(0)
    counts.heard([ROW], [1_000, 1_001, 1_002], 1_003)
    assert counts.latency["received"].percentiles(1_003) == {"p50": None, "p99": None}
    assert counts.latency["committed"].percentiles(1_003) == {"p50": 1, "p99": 1}


def test_a_doorbell_without_stamps_is_counted() -> None:
    counts = Counts(0)
    counts.heard([ROW, ROW], None, 5)
    assert (counts.frames_heard, counts.latency["committed"].total) == (2, 0)


def test_a_clock_that_is_ahead_makes_no_time_run_backwards() -> None:
    hop = Hop()
    hop.took(-500, 0)
    assert (hop.total, hop.buckets[0]) == (0, 1)


def test_a_hop_falls_into_the_bucket_that_it_fits() -> None:
    hop = Hop()
    for ms in (1, 2, 3, 60_000, 60_001):
        hop.took(ms, 0)
    assert (hop.buckets[0], hop.buckets[1], hop.buckets[2], hop.buckets[-2], hop.buckets[-1]) == (1, 1, 1, 1, 1)
    assert sum(hop.buckets) == 5


def test_percentiles_are_of_the_last_minute() -> None:
    hop = Hop()
    hop.took(9_999, 0)
    for ms in range(1, 101):
        hop.took(ms, 1_000)
    assert hop.percentiles(path.RECENT_MS + 1) == {"p50": 50, "p99": 99}


# --- what no doorbell brought


def test_what_lies_between_two_doorbells_was_missed() -> None:
    bells = Bells()
    assert [bells.rang(10, 12), bells.rang(12, 13), bells.rang(15, 20), bells.rang(20, 21)] == [0, 0, 2, 0]


def test_what_a_check_finds_is_missed_when_no_doorbell_has_brought_it_by_the_next_one() -> None:
    bells = Bells()
    bells.rang(0, 5)
    assert [bells.checked(8), bells.checked(8), bells.checked(8)] == [0, 3, 0]
    assert bells.rang(8, 9) == 0


def test_a_doorbell_that_is_on_its_way_while_the_check_looks_is_not_missed() -> None:
    bells = Bells()
    bells.rang(0, 5)
    assert bells.checked(8) == 0
    assert bells.rang(5, 8) == 0
    assert bells.checked(8) == 0


def test_before_the_first_doorbell_nobody_had_asked_for_any() -> None:
    bells = Bells()
    assert [bells.checked(100), bells.checked(200), bells.rang(250, 251)] == [0, 0, 0]


# --- what a client is told


def test_a_client_is_told_of_the_whole_path() -> None:
    counts, pulses = Counts(7), Pulses(0)
    pulses.hear(pulse(began=5, counts={"heard": 3}), 10)
    with SocketCounts(counts) as socket:
        socket.sent(1, 2)
        told = json.loads(path.message(known(pulses.bridges, 20), socket, 20, counts))
    assert (told["type"], told["at"]) == ("path", 20)
    assert told["bridges"]["main"]["counts"] == {"heard": 3}
    assert (told["bridges"]["main"]["began"], told["bridges"]["main"]["hearing"]) == (5, True)
    assert (told["web"]["began"], told["web"]["frames_sent"], told["web"]["sockets"]) == (7, 2, 1)
    assert told["socket"]["frames"] == 2
    assert set(told["latency_ms"]) == {"received", "committed", "announced", "sent"}


def test_a_bridge_that_was_not_heard_of_for_long_is_spoken_of_no_more() -> None:
    pulses = Pulses(0)
    pulses.hear(pulse(), 0)
    assert list(known(pulses.bridges, FORGET_MS - 1)) == ["main"]
    assert list(known(pulses.bridges, FORGET_MS)) == []


def test_a_duty_begins_once() -> None:
    pulses = Pulses(0)
    begins = [pulses.hear(pulse(began=began), at) for at, began in enumerate((5, 5, 9, 9))]
    assert begins == [True, False, True, False]
    assert pulses.hear(pulse("other", began=9), 5)
