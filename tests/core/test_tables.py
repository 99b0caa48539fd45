"""CSV that no table program takes for formulas, and from which every text comes back as it was."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import tables

FORMULAS = "=+-@＝＋－＠"
# What texts of ill will are made of.
HOSTILE = st.text(st.sampled_from("=+-@＝＋－＠'\"\t\r\n;,|x 1"), max_size=12)


def read(text: str, separator: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1", "'＝1"),
        ("－1", "'－1"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\n", "'\n"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("DDE;=cmd|' /C calc'!A0;", "DDE;'=cmd|' /C calc'!A0;"),
        ("one\n=two\r\n-three", "one\n'=two\r\n'-three"),
        ('x;"=1+1;', "x;'\"=1+1;"),
        ("'quoted'", "''quoted'"),
        ("it's; 'so'", "it's; 'so'"),
        ("a=b", "a=b"),
        ("auto", "auto"),
        ("", ""),
    ],
)
def test_a_text_is_never_a_formula_and_can_be_had_back(text: str, cell: str) -> None:
    assert tables.guarded(text) == cell
    assert tables.unguarded(cell) == text
    assert read(tables.written([[text, 1]])) == [[cell, "1"]]


def test_a_number_stays_a_number_and_nothing_is_nothing() -> None:
    row: list[tables.Cell] = [-3.5, -1, 1e300, 5e-324, True, False, None, "-1"]
    assert tables.written([row]) == "-3.5,-1,1e+300,5e-324,true,false,,'-1\r\n"


@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_whatever_is_written_comes_back(texts: list[str]) -> None:
    (row,) = read(tables.written([[*texts, "end"]]))
    assert [tables.unguarded(cell) for cell in row] == [*texts, "end"]


@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_no_cell_is_a_formula_whatever_separates_cells_where_it_is_read(texts: list[str]) -> None:
    line = tables.written([["begin", *texts, "end"]]).removesuffix("\r\n")
    for cells in (read(line)[0], re.split("[;\t\r\n]", line)):
        assert [cell for cell in cells if cell.lstrip('"').startswith(tuple(FORMULAS))] == []


@given(st.text(max_size=20))
def test_any_text_comes_back(text: str) -> None:
    assert tables.unguarded(tables.guarded(text)) == text
