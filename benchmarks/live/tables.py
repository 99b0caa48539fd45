"""Figures for people: Markdown tables, which read well on a terminal too; and a word now and then meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Make a Markdown table."""
    cells = [list(columns), *([figure(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    lines = [_line(row, widths) for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (f"{cell:{'<' if at == 0 else '>'}{widths[at]}}" for at, cell in enumerate(cells))
    return "| " + " | ".join([first, *rest]) + " |"


def figure(value: object) -> str:
    """Write a number with as many digits as say something."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def progress(text: str) -> None:
    """Say how far it is, to whoever waits."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()
