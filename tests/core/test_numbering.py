"""A device's own numbering: what is missing is counted exactly, and a receipt never claims what is not here."""

from hypothesis import given
from hypothesis import strategies as st

from devices import numbering
from devices.numbering import MAX_BOOTS, MAX_RANGES, Numbering, Receipt


def heard(*numbers: int, boot: int = 1) -> Numbering:
    made = Numbering()
    for n in numbers:
        made.take(boot, n)
    return made


def receipt(made: Numbering, boot: int = 1) -> Receipt:
    told = made.receipt("pump-1", boot)
    assert told is not None
    return told


def test_a_run_without_a_gap_is_committed_up_to_its_end() -> None:
    assert receipt(heard(1, 2, 3)) == Receipt("pump-1", 1, 3)
    assert heard(1, 2, 3).missing == 0


def test_numbers_may_begin_at_0() -> None:
    assert receipt(heard(0, 1, 2)) == Receipt("pump-1", 1, 2)
    assert heard(1, 0, 2).missing == 0


def test_a_gap_holds_the_receipt_and_what_came_behind_it_is_told_beside() -> None:
    made = heard(1, 2, 5, 6, 9)
    assert receipt(made) == Receipt("pump-1", 1, 2, [[5, 6], [9, 9]])
    assert made.missing == 4


def test_what_fills_a_gap_moves_the_receipt_on() -> None:
    made = heard(1, 2, 5, 6)
    made.take(1, 4)
    made.take(1, 3)
    assert receipt(made) == Receipt("pump-1", 1, 6)
    assert made.missing == 0


def test_frames_before_the_first_that_was_heard_are_missing() -> None:
    assert heard(500).missing == 499
    assert receipt(heard(500)) == Receipt("pump-1", 1, 0, [[500, 500]])


def test_a_boot_that_was_heard_before_is_not_new_when_its_buffer_comes_after_the_next_ones_frames() -> None:
    made = heard(1, 2)
    assert made.take(2, 1)
    assert not made.take(1, 3)
    assert receipt(made, 1) == Receipt("pump-1", 1, 3)
    assert receipt(made, 2) == Receipt("pump-1", 2, 1)


def test_what_is_missing_of_a_boot_is_still_counted_when_it_is_followed_no_more() -> None:
    made = heard(1, 3)
    for boot in range(2, 2 + MAX_BOOTS):
        made.take(boot, 1)
    assert made.receipt("pump-1", 1) is None
    assert made.missing == 1


def test_a_device_that_never_sends_again_what_is_missing_costs_a_bounded_head() -> None:
    made = heard(1, *range(3, 3001, 2))
    assert made.missing == 1499
    assert len(made.boots[0].ranges) == MAX_RANGES
    assert receipt(made).seq == 1
    assert receipt(made).have[-1] == [2999, 2999]


def test_a_frame_that_is_sent_again_is_told_of_again_when_its_range_was_forgotten() -> None:
    made = heard(1, *range(3, 3001, 2))
    assert [3, 3] not in receipt(made).have
    assert made.again(1, 3)
    assert made.missing == 1499


@given(st.permutations(range(12)), st.integers(1, 12))
def test_in_whatever_order_frames_come_the_receipt_tells_exactly_what_is_here(order: list[int], count: int) -> None:
    here = {n + 1 for n in order[:count]}
    told = receipt(heard(*(n + 1 for n in order[:count])))
    beyond = {n for low, high in told.have for n in range(low, high + 1)}
    assert {*range(1, told.seq + 1)} | beyond == here
    assert told.seq + 1 not in here
    assert heard(*here).missing == max(here) - len(here)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 40)), max_size=80))
def test_it_is_the_same_after_it_was_stored(frames: list[tuple[int, int]]) -> None:
    made, stored = Numbering(), None
    seen: set[tuple[int, int]] = set()
    for boot, n in frames:
        again = numbering.of(stored)
        if (boot, n) in seen:
            assert made.again(boot, n) == again.again(boot, n)
        else:
            assert made.take(boot, n) == again.take(boot, n)
        seen.add((boot, n))
        stored = numbering.msgspec.to_builtins(again)
        assert again == made


def test_a_device_that_does_not_number_its_frames_has_nothing_to_tell() -> None:
    assert numbering.described({}) is None


def test_people_are_told_of_the_boot_that_was_heard_last() -> None:
    stored = numbering.msgspec.to_builtins(heard(1, 2, 4, boot=7))
    assert numbering.described(stored) == {"boot": 7, "newest": 4, "committed": 2, "missing": 1}
