"""How the command line shows what came: a line for people, a JSON object, or a line of CSV.

Devices choose texts and names. A terminal obeys none of them, and a table program takes none for a formula.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from telemetry_hub.items import CLOCK, LATE, RETAINED, CommandState, Connection, Gap, Gone, Lag, Row, Storing, Summary

Shown = Row | Summary | Gone
FLAGS = {LATE: "late", CLOCK: "clock", RETAINED: "retained"}


# As the hub's own exports have it (docs/repairs.md).
_FORMULA = re.compile(r"""\A(?=[\t\r\n]|"*[=+@＝＋－＠'-])|(?<=[;\t\r\n])(?="*[=+@＝＋－＠'-])""")


def visible(text: str, spared: str = "") -> str:
    """Escape what a terminal would obey instead of showing it, and what would turn the rest of the line around."""
    return "".join(one if one.isprintable() or one in spared else json.dumps(one)[1:-1] for one in text)


def clock(ms: int) -> str:
    """Say a time."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def for_people(item: Shown) -> str:
    """Show it as a person reads it."""
    match item:
        case Row():
            flags = [word for flag, word in FLAGS.items() if item.flags & flag]
            return visible(" ".join([clock(item.ts), item.device, f"#{item.seq}", *_pairs(item.values), *flags]))
        case Summary():
            since = clock(item.ts) if item.ts is not None else "-"
            return visible(" ".join([since, item.device, item.presence, *_pairs(item.values)]))
        case Gone():
            return f"- {item.device} gone"


def _pairs(values: Any) -> list[str]:  # noqa: ANN401  a mapping to any JSON scalar
    return [f"{name}={_plain(value)}" for name, value in values.items()]


def _plain(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, ensure_ascii=False)


def as_json(item: Shown) -> str:
    """Show it as one JSON object."""
    if isinstance(item, Gone):
        return json.dumps({"device": item.device, "gone": True})
    return visible(_plain({name: getattr(item, name) for name in type(item).__dataclass_fields__}))


def csv_header(metrics: Sequence[str] | None) -> str:
    """Name the columns: one for each metric if they are known, else one for all values."""
    return _csv(["device", "seq", "ts", "flags", *(metrics or ["values"])])


def as_csv(metrics: Sequence[str] | None) -> Callable[[Shown], str]:
    """Return what shows a row as one line of CSV."""

    def line(item: Shown) -> str:
        if not isinstance(item, Row):
            raise TypeError("only rows are shown as CSV")
        values = [_cell(item.values.get(name, "")) for name in metrics] if metrics else [_plain(dict(item.values))]
        return _csv([item.device, item.seq, item.ts, item.flags, *values])

    return line


def _cell(value: Any) -> Any:  # noqa: ANN401
    return _plain(value) if isinstance(value, bool) else value


def _csv(cells: Sequence[Any]) -> str:
    out = io.StringIO(newline="")
    guarded = [_FORMULA.sub("'", cell) if isinstance(cell, str) else cell for cell in cells]
    csv.writer(out).writerow(guarded)
    return visible(out.getvalue().removesuffix("\r\n"), spared="\t\r\n")


def note(item: object) -> str | None:
    """Say on the side what is no row; None: nothing worth a word."""
    match item:
        case Gap(device, first, last, cause):
            return f"gap: {device} #{first} to #{last} cannot be had ({cause})"
        case Lag(device, skipped):
            return f"lag: {skipped} rows of {device} were skipped"
        case Connection(up=False, because=because, retry_s=retry_s):
            return f"not connected: {because}; trying again in {retry_s:.1f} s"
        case Storing(storing=False, because=because):
            return f"readings are not being stored: {because}"
        case Storing(storing=True):
            return "readings are being stored again"
    return None


def state_line(state: CommandState) -> str:
    """Show what a command came to."""
    step = f", {state.step}" if state.step else ""
    progress = "" if state.progress is None else f" {state.progress:.0%}"
    message = f": {state.message}" if state.message else ""
    return visible(f"{clock(state.at)} {state.state}{step}{progress} ({state.proof}){message}")
