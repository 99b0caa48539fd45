"""PURE. What a program wants to watch, as the fields of a `sub` message."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Since = timedelta | Mapping[str, int]
Request = dict[str, Any]


def watch(
    devices: tuple[str, ...], metrics: Iterable[str] | None, mode: str, since: Since | None
) -> tuple[Request, dict[str, int]]:
    """Return what to ask for, and the cursors that are known before."""
    request: Request = {"devices": _devices(devices), "mode": mode, "since": None, **_metrics(metrics)}
    cursor: dict[str, int] = {}
    if isinstance(since, timedelta):
        request["since"] = {"last_s": max(0.0, since.total_seconds())}
    elif since is not None:
        cursor = {key: since[key] for key in request["devices"] if key in since}
        request["since"] = {"cursor": dict(cursor)} if cursor else None
    return request, cursor


def replay(
    devices: tuple[str, ...], metrics: Iterable[str] | None, start: datetime, end: datetime | None, speed: float
) -> Request:
    """Return what to ask for."""
    asked = {"from": _ms(start), "speed": speed, **({} if end is None else {"to": _ms(end)})}
    return {"devices": _devices(devices), "replay": asked, **_metrics(metrics)}


def _devices(keys: tuple[str, ...]) -> list[str]:
    if not keys:
        raise ValueError("name at least one device")
    return list(dict.fromkeys(keys))


def _metrics(names: Iterable[str] | None) -> Request:
    if isinstance(names, str):
        raise TypeError("metrics is a list of names, not one text")
    return {} if names is None else {"metrics": list(names)}


def _ms(at: datetime) -> int:
    """Return the time as the hub has it; without a zone it is this machine's."""
    return round(at.astimezone(UTC).timestamp() * 1000)
