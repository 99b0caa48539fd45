"""A command's id says its end: what is written is read again, and what is no such id says nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import wire
from devices.wire import cids

START = 1_735_689_600_000
# 30 bits of seconds.
LAST = START + (2**30 - 1) * 1000


@given(st.integers(START // 1000, LAST // 1000), st.integers(0, 2**30 - 1))
def test_an_id_says_until_when_and_is_short_enough_for_the_wire(second: int, number: int) -> None:
    cid = wire.cid(second * 1000, number)
    assert wire.expiry_of(cid) == second * 1000
    assert len(cid) == 12
    assert set(cid) <= set(cids.ALPHABET)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2**30 - 1)), unique=True))
def test_ids_differ_where_ends_or_numbers_do(given_: list[tuple[int, int]]) -> None:
    assert len({wire.cid(START + 1000 * second, number) for second, number in given_}) == len(given_)


def test_the_page_shows_one_and_both_ends_are_there() -> None:
    assert wire.cid(START, 0) == "aaaaaaaaaaaa"
    assert wire.expiry_of("b26gs2z9wr4w") == 1_795_334_040_000
    assert wire.cid(LAST, 2**30 - 1) == "999999999999"


@pytest.mark.parametrize(
    "cid", ["", "abc", "aaaaaaaaaaa", "aaaaaaaaaaaaa", "Aaaaaaaaaaaa", "laaaaaaaaaaa", "0aaaaaaaaaaa"]
)
def test_what_is_no_such_id_says_nothing(cid: str) -> None:
    assert wire.expiry_of(cid) is None


def test_letters_that_are_taken_for_one_another_are_not_used() -> None:
    assert not set("01lo") & set(cids.ALPHABET)
    assert len(set(cids.ALPHABET)) == 32
