"""What pages show of devices: rows made into plain values, in the shapes of the live protocol. No HTML, no requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models import F

from devices import desired, dump, replay, telemetry
from devices.history import repairs as marked
from devices.models import Command, Device, Event, Frame, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from devices.models import Reject

# The readings that people look for first, by device class; what is not here follows by name.
_FIRST: Final = (
    "temperature",
    "humidity",
    "carbon_dioxide",
    "pressure",
    "volume_flow_rate",
    "power",
    "speed",
    "energy",
    "voltage",
    "current",
    "illuminance",
    "",
    "battery",
    "signal_strength",
    "duration",
)
# A position is shown as a place, not as a curve.
PLACE: Final = ("latitude", "longitude", "accuracy", "altitude", "course")
# Points of a row's small line, and for how many devices it is read: one query, some 100 KB at most.
SPARK_POINTS: Final = 48
SPARK_DEVICES: Final = 100
ORDERS: Final = 20
FRAMES: Final = 20
REJECTS: Final = 10
EVENTS: Final = 20
REPAIRS: Final = 20


def summary(device: Device) -> dict[str, Any]:
    """Presence and newest values, as in a `fleet` message."""
    head = device.head
    return {
        "name": device.name,
        "presence": head.presence,
        "because": head.because,
        "since": head.since,
        "values": {name: value for name, (value, _) in head.values.items()},
        "times": {name: ts for name, (_, ts) in head.values.items()},
        "ts": head.ts,
        "seq": head.seq,
    }


def metrics(devices: QuerySet[Device] | list[Device]) -> dict[int, list[dict[str, str]]]:
    """What each device (by pk) measures, the most useful first: name, unit, class, type."""
    found: dict[int, list[dict[str, str]]] = {}
    for metric in Metric.objects.filter(device__in=devices):
        kind = {
            "name": metric.name,
            "unit": metric.unit,
            "class": metric.device_class,
            "type": metric.type,
        }
        found.setdefault(metric.device_id, []).append(kind)
    for kinds in found.values():
        kinds.sort(key=_usefulness)
    return found


def _usefulness(metric: dict[str, str]) -> tuple[int, str]:
    kind = metric["class"]
    if kind in PLACE:
        return len(_FIRST) + 1, metric["name"]
    return (_FIRST.index(kind) if kind in _FIRST else len(_FIRST)), metric["name"]


def sparks(devices: Sequence[Device], kinds: dict[int, list[dict[str, str]]]) -> dict[str, list[list[Any]]]:
    """The latest [ts, value] of each device's first number, for its small line; one query for all."""
    drawn = {device.pk: (device.key, name) for device in devices if (name := _first_number(kinds.get(device.pk, [])))}
    wanted = list(drawn)[:SPARK_DEVICES]
    rows = Frame.objects.filter(device__in=wanted, seq__gt=F("device__head__seq") - SPARK_POINTS).order_by("seq")
    found: dict[str, list[list[Any]]] = {}
    for pk, ts, values in rows.values_list("device_id", "ts", "values"):
        key, name = drawn[pk]
        if name in values:
            found.setdefault(key, []).append([ts, values[name]])
    return found


def _first_number(kinds: Sequence[dict[str, str]]) -> str | None:
    numbers = (kind["name"] for kind in kinds if kind["type"] == "number" and kind["class"] not in PLACE)
    return next(numbers, None)


def orders(device: Device) -> list[dict[str, Any]]:
    """The device's last commands with their evidence, newest first."""
    rows = Command.objects.filter(device=device).order_by("-created_at")
    return [order(row) for row in rows.select_related("user").prefetch_related("events")[:ORDERS]]


def order(command: Command) -> dict[str, Any]:
    """One command with its log."""
    return {
        "id": command.pk,
        "name": command.name,
        "args": command.args,
        "state": command.state,
        "by": str(command.user or "the hub"),
        "events": [
            {
                "state": event.state,
                "at": event.at,
                "proof": event.proof,
                "message": event.message,
                "progress": event.progress,
            }
            for event in command.events.all()
        ],
    }


def settings(device: Device) -> dict[str, Any]:
    """What the device shall keep to and what it keeps to, as in a `settings` message."""
    version, rows = desired.described([device.pk]).get(device.pk, (0, []))
    return {"version": version, "settings": rows}


def frames(device: Device) -> list[dict[str, Any]]:
    """The device's newest frames, newest first, as stored."""
    rows = Frame.objects.filter(device=device).order_by("-seq")
    return [dict(row) for row in rows.values("seq", "ts", "received_at", "flags", "values")[:FRAMES]]


def first(device: Device) -> int | None:
    """When the oldest of the device's frames that are kept arrived; None: there is none."""
    found = telemetry.first_arrival(device.pk)
    return found and found[1]


def rejects(rows: QuerySet[Reject], limit: int = REJECTS) -> list[dict[str, Any]]:
    """The newest of these, each with its payload as text and in hex."""
    return [
        {
            "id": row.pk,
            "key": row.key,
            "reason": row.reason,
            "detail": row.detail,
            "topic": row.topic,
            "count": row.count,
            "first_at": row.first_at,
            "last_at": row.last_at,
            "size": row.size,
            "retain": row.retain,
            "position": row.position,
            "whole": replay.is_whole(row),
            "kept": len(row.payload),
            "dump": dump.dump(bytes(row.payload), row.position, row.size),
        }
        for row in rows.order_by("-last_at", "-pk")[:limit]
    ]


def events(device: Device) -> list[dict[str, Any]]:
    """What happened to the device, newest first."""
    rows = Event.objects.filter(device=device).order_by("-at", "-pk")
    return [dict(row) for row in rows.values("at", "kind", "state", "because")[:EVENTS]]


def repairs(device: Device) -> list[dict[str, Any]]:
    """What was marked as bad of the device's readings, newest first."""
    return [
        {
            "id": row.pk,
            "metrics": "all metrics" if row.metrics is None else ", ".join(row.metrics),
            "start": row.start,
            "end": row.end,
            "reason": row.reason,
            "by": str(row.user or "the hub"),
            "at": row.at,
            "undone_by": str(row.undone_by or "the hub"),
            "undone_at": row.undone_at,
        }
        for row in marked.listed(device)[:REPAIRS]
    ]
