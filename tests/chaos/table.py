"""The table of counts."""

from collections.abc import Sequence
from typing import Final

from tests.chaos.orders.judge import COUNTED, Cell, total
from tests.chaos.plan import Result

HEADINGS: Final = (
    "scenario", "kills", "published", "acked", "stored", "lost", "stored twice", "gaps reported",
    "watchers complete within s", "took s", "kept",
)  # fmt: skip


def lines(results: Sequence[Result]) -> list[str]:
    """As Markdown, so that it can be kept as it is."""
    cells = [cell for result in results for cell in result.cells]
    return [*_table([HEADINGS, *map(_row, results)]), *_cells(cells), *_remarks(results)]


def _cells(cells: Sequence[Cell]) -> list[str]:
    if not cells:
        return []
    rows = [(cell.name, *(f"{getattr(cell, name):,}" for name in COUNTED)) for cell in [*cells, total(cells)]]
    return ["", *_table([("where × who", *COUNTED), *rows])]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = ["| " + " | ".join(_padded(row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return [shown[0], rule, *shown[1:]]


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        word.rjust(width) if column else word.ljust(width)
        for column, (word, width) in enumerate(zip(row, widths, strict=True))
    ]


def _row(result: Result) -> tuple[str, ...]:
    counts = (result.kills, result.published, result.acked, result.stored, result.lost, result.twice)
    return (
        result.scenario,
        *(f"{count:,}" for count in counts),
        "" if result.gaps is None else f"{result.gaps:,}",
        "" if result.complete_s is None else f"{result.complete_s:.1f}",
        f"{result.seconds:.0f}",
        _kept(result),
    )


def _kept(result: Result) -> str:
    if result.missing:
        return "not run"
    return "NO" if result.broken else "yes"


def _remarks(results: Sequence[Result]) -> list[str]:
    found = {
        "Measured besides:": [f"{one.scenario}: {_measured(one)}" for one in results if one.more],
        "Not kept:": [f"{one.scenario}: {sentence}" for one in results for sentence in one.broken],
        "Not run:": [f"{one.scenario}: {one.missing}" for one in results if one.missing],
    }
    return [line for title, remarks in found.items() if remarks for line in ["", title, *(f"- {r}" for r in remarks)]]


def _measured(result: Result) -> str:
    return ", ".join(f"{name} {_brief(value)}" for name, value in result.more.items())


def _brief(value: object) -> str:
    if isinstance(value, list):
        return "[" + " ".join(map(_brief, value)) + "]"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
