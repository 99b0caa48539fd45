"""Rows and cursors: what is kept has no hole, what is sent is bounded, what is merged is the newest."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import rows
from dashboard.rows import Kept, addressed, code, data, fitting, latest, part_of, unbroken


def row(seq: int, ts: int | None = None, flags: int = 0, **values: Any) -> list[Any]:
    return [seq, ts if ts is not None else seq * 10, values or {"t": seq}, flags]


def seqs(coded: list[rows.Coded]) -> list[int]:
    return [one.seq for one in coded]


def test_kept_rows_follow_a_cursor() -> None:
    kept = Kept()
    assert kept.after(0, 10) == []
    kept.add([row(5), row(6), row(7)])
    assert seqs(kept.after(4, 10)) == [5, 6, 7]
    assert seqs(kept.after(5, 1)) == [6]
    assert seqs(kept.after(7, 10)) == []
    assert seqs(kept.after(99, 10)) == []
    assert seqs(kept.after(3, 10)) == []  # 4 is not here: the store has it


def test_what_came_already_is_kept_once() -> None:
    kept = Kept()
    kept.add([row(1), row(2)])
    kept.add([row(1), row(2), row(3)])
    kept.add([row(2)])
    assert seqs(kept.after(0, 10)) == [1, 2, 3]


def test_a_hole_makes_what_is_before_it_useless() -> None:
    kept = Kept()
    kept.add([row(1), row(2), row(5), row(6)])
    assert kept.after(1, 10) == []
    assert seqs(kept.after(4, 10)) == [5, 6]


def test_what_is_kept_is_bounded_in_rows_and_in_size() -> None:
    kept = Kept()
    kept.add(row(seq) for seq in range(1, 2 * rows.KEPT))
    assert len(kept.after(rows.KEPT - 1, 10**6)) == rows.KEPT
    kept.add(row(seq, text="x" * 10_000) for seq in range(2 * rows.KEPT, 2 * rows.KEPT + 100))
    found = [len(kept.after(cursor, 10**6)) for cursor in range(2 * rows.KEPT + 100)]
    assert 0 < max(found) <= rows.KEPT_SIZE / 10_000
    kept.add([row(2 * rows.KEPT + 100, text="x" * rows.KEPT_SIZE), row(2 * rows.KEPT + 101)])
    assert seqs(kept.after(2 * rows.KEPT + 100, 10)) in ([], [2 * rows.KEPT + 101])


@given(st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=5), max_size=20), st.integers(0, 30))
def test_whatever_comes_in_whatever_order_what_follows_a_cursor_has_no_hole(
    messages: list[list[int]],
    cursor: int,
) -> None:
    kept = Kept()
    for message in messages:
        kept.add([row(seq) for seq in sorted(set(message))])
        found = seqs(kept.after(cursor, 1000))
        assert found == list(range(cursor + 1, cursor + 1 + len(found)))


def test_what_follows_a_cursor_is_put_together_once_until_something_comes() -> None:
    kept = Kept()
    assert kept.part_after(0) is None
    kept.add([row(1), row(2)])
    part = kept.part_after(1)
    assert part is not None
    assert (part.last, part.amount, json.loads(part.text)) == (2, 1, {"prev": 1, "frames": [row(2)]})
    assert kept.part_after(1) is part
    assert kept.part_after(2) is None
    kept.add([row(3)])
    again = kept.part_after(1)
    assert again is not None
    assert (again.last, again.amount) == (3, 2)
    kept.add([row(9)])
    assert kept.part_after(1) is None


def test_rows_are_sent_up_to_the_first_hole() -> None:
    assert unbroken([]) == []
    assert unbroken([row(3), row(4)]) == [row(3), row(4)]
    assert unbroken([row(3), row(4), row(6), row(7)]) == [row(3), row(4)]


def test_a_message_takes_what_has_room_and_one_row_at_least() -> None:
    coded = [code(row(seq)) for seq in range(1, 6)]
    size = len(coded[0].text)
    assert seqs(fitting(coded, 3 * size)) == [1, 2, 3]
    assert seqs(fitting(coded, 3 * size + 1)) == [1, 2, 3]
    assert seqs(fitting(coded, 0)) == [1]
    assert seqs(fitting(coded, 10**6)) == [1, 2, 3, 4, 5]


def test_a_fragment_has_its_cursor_and_its_rows() -> None:
    coded = [code(row(8)), code(row(9))]
    assert json.loads(part_of(coded, 7, None, "all").text) == {"prev": 7, "frames": [row(8), row(9)]}


def test_metrics_that_were_not_asked_for_leave_an_empty_row_so_that_the_cursor_has_no_hole() -> None:
    coded = [code(row(8, t=1, u=2)), code(row(9, u=3))]
    part = json.loads(part_of(coded, 7, frozenset({"t"}), "all").text)
    assert part == {"prev": 7, "frames": [row(8, t=1), [9, 90, {}, 0]]}
    assert json.loads(part_of(coded, 7, frozenset(), "all").text)["frames"] == [[8, 80, {}, 0], [9, 90, {}, 0]]


def test_the_latest_value_is_the_newest_by_time_not_the_last_to_arrive() -> None:
    late = row(3, ts=5, flags=1, t=0, u=0)
    assert latest([row(1, ts=10, t=1), row(2, ts=20, v=2), late]) == [3, 20, {"t": 1, "u": 0, "v": 2}, 0]
    assert latest([row(1, ts=10, t=1), row(2, ts=10, t=2)]) == [2, 10, {"t": 2}, 0]
    coded = [code(row(1, ts=10, t=1, u=1)), code(row(2, ts=20, t=2))]
    part = json.loads(part_of(coded, 0, frozenset({"t"}), "latest").text)
    assert part == {"prev": 0, "frames": [[2, 20, {"t": 2}, 0]]}


@pytest.mark.parametrize("sub", ["a", 'a"b', "\\", "é💧", "</script>", "\x00\n"])
def test_a_data_message_is_json_whatever_the_id(sub: str) -> None:
    parts = {"p": part_of([code(row(1))], 0, None, "all"), "q": part_of([code(row(5))], 4, None, "all", (1, 2, 3))}
    assert json.loads(addressed("data", sub, data("history", parts, more=True, sent=7))) == {
        "type": "data",
        "id": sub,
        "phase": "history",
        "devices": {"p": {"prev": 0, "frames": [row(1)]}, "q": {"prev": 4, "frames": [row(5)], "hops": [1, 2, 3]}},
        "more": True,
        "sent": 7,
    }
    assert "more" not in json.loads(addressed("data", sub, data("live", {})))
