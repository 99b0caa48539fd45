"""The table of counts."""

from collections.abc import Sequence
from typing import Final

from tests.chaos.plan import Result

HEADINGS: Final = (
    "scenario", "kills", "published", "acked", "stored", "lost", "stored twice", "gaps reported",
    "watchers complete within s", "took s", "kept",
)  # fmt: skip


def lines(results: Sequence[Result]) -> list[str]:
    """As Markdown, so that it can be kept as it is."""
    rows = [HEADINGS, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    shown = ["| " + " | ".join(_padded(row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return [shown[0], rule, *shown[1:], *_remarks(results)]


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
    broken = [f"- {result.scenario}: {sentence}" for result in results for sentence in result.broken]
    missing = [f"- {result.scenario}: {result.missing}" for result in results if result.missing]
    return [*(["", "Not kept:", *broken] if broken else []), *(["", "Not run:", *missing] if missing else [])]
