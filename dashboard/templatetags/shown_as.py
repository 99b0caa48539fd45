"""How values and times are written before a script runs; the browser's half is static/dashboard/format.js."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django import template

from dashboard.shown import PLACE
from devices import rejects
from devices.presence import span
from devices.telemetry import flag_words

if TYPE_CHECKING:
    from django.contrib.auth.models import User

register = template.Library()

MOST_COUNTED: Final = 99

WORDS: Final = {"online": "online", "stale": "stale", "offline": "offline", "never": "never seen"}


@register.filter
def reading(value: object) -> str:
    """Write a value as people read it: on and off, few decimals, text as it is."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        decimals = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2  # noqa: PLR2004
        text = f"{value:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


@register.filter
def size(count: int) -> str:
    """Write how many bytes something has, as HUB_FIRMWARE_MB counts them."""
    if count < 1000:  # noqa: PLR2004  a kB
        return f"{count} bytes"
    return f"{count / 1000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"  # noqa: PLR2004  a MB


@register.filter
def clock(ms: int | None) -> str:
    """Write an instant as UTC time of day; the browser writes it in its own zone."""
    return "" if not ms else f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S} UTC"


@register.filter
def moment(ms: int | None) -> str:
    """Write an instant with its day, as UTC; the browser writes it in its own zone."""
    return "" if not ms else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def iso(ms: int | None) -> str:
    """Write an instant for machines."""
    return "" if not ms else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


@register.filter
def age(ts: int | None, now: int) -> str:
    """Write how old an instant is."""
    return "" if not ts else span(max(0, now - ts))


@register.filter
def interval(ms: int) -> str:
    """Write a time span."""
    return span(ms)


@register.filter
def word(presence: str) -> str:
    """Name a presence."""
    return WORDS.get(presence, presence)


@register.filter
def flags(bits: int) -> str:
    """Name a frame's flags."""
    return " ".join(flag_words(bits))


@register.filter
def as_json(value: object) -> str:
    """Write a frame's values compactly."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


@register.filter
def places_out(row: dict[str, Any]) -> dict[str, Any]:
    """Leave positions out: in a row they say nothing."""
    return {**row, "metrics": [kind for kind in row["metrics"] if kind["class"] not in PLACE]}


@register.filter
def readings(row: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Pick a row's most useful readings: name, unit, value, ts."""
    return [
        {**kind, "value": row["values"][kind["name"]], "ts": row["times"].get(kind["name"])}
        for kind in row["metrics"]
        if kind["name"] in row["values"]
    ][:count]


@register.simple_tag
def waiting_rejects(user: User) -> str:
    """Count the rejects that the user may see, as far as a number in the menu has room."""
    found = rejects.visible_to(user)[: MOST_COUNTED + 1].count()
    return "" if not found else f"{MOST_COUNTED}+" if found > MOST_COUNTED else str(found)
