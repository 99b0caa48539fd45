"""PURE. Payloads in which a device says how it is (status, or its last will) and what became of a command (ack)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_args

from devices import values as v
from devices.values import Bad
from devices.wire.announcements import label, number
from devices.wire.events import Ack, Presence, Report, Step

if TYPE_CHECKING:
    from devices.wire.events import AckStatus, Message

Part = TypeVar("Part")

ACK_STATUS: Final[dict[str, AckStatus]] = {
    "accepted": "received",
    "ok": "succeeded",
    "error": "failed",
    "rejected": "rejected",
    "expired": "expired",
}
STEPS: Final[tuple[str, ...]] = get_args(Step)[1:]


def status(key: str, message: Message) -> Presence:
    """Read hub/<key>/status: online, offline, or {"state": "online", "fw": "1.2", "sleep_s": 900}."""
    text = v.text_of(message.payload).strip()
    given = v.json_of(message.payload) if text.startswith("{") else {"state": text}
    state = str(given.get("state")).lower()
    if state not in ("online", "offline"):
        raise Bad("bad_value", f"status is {text[:40]!r}; it must be online or offline", path=("state",))
    sleep_s = given.get("sleep_s")
    return Presence(
        device=key,
        online=state == "online",
        received_at=message.received_at,
        sleep_s=None if sleep_s is None else _sleep(sleep_s),
        fw=label(given, "fw"),
        retained=message.retain,
    )


# Nobody sleeps longer on purpose; and what is stored as ms must stay far from the end of a 64-bit number.
LONGEST_SLEEP_S: Final = 366 * 86_400


def _sleep(sleep_s: object) -> int:
    if v.counter("sleep_s", sleep_s) > LONGEST_SLEEP_S:
        raise Bad("bad_value", f"sleep_s is {sleep_s}; it must be seconds, at most a year", path=("sleep_s",))
    return v.counter("sleep_s", sleep_s)


def ack(key: str, cid: str, message: Message) -> Ack:
    """Read hub/<key>/ack/<cid>: ok, error <text>, or {"status": …, "value"?, "message"?, "progress"?: 0.4, "step"?}."""
    text = v.text_of(message.payload).strip()
    given: dict[str, Any] = v.json_of(message.payload) if text.startswith("{") else _plain(text)
    said = ACK_STATUS.get(str(given.get("status")).lower())
    if said is None:
        words = ", ".join(ACK_STATUS)
        problem = f"ack is {text[:40]!r}; it must be ok, error <text>, or have a status: {words}"
        raise Bad("bad_value", problem, path=("status",))
    return Ack(
        device=key,
        cid=v.name_of(cid),
        status=said,
        received_at=message.received_at,
        value=_part(given, "value", v.value_of),
        message=_part(given, "message", _message) or "",
        progress=_part(given, "progress", _progress),
        step=_part(given, "step", _step) or "",
    )


def report(key: str, message: Message) -> Report:
    """Read hub/<key>/reported: {"interval_s": 30}, or {"version": 7, "values": {"interval_s": 30}}."""
    given = v.json_of(message.payload)
    if not isinstance(given, dict):
        raise Bad(
            "bad_value", f'reported is {v.brief(given)}; it must be an object such as {{"interval_s": 30}}', path=()
        )
    nested = isinstance(given.get("values"), dict)
    kept = given["values"] if nested else given
    if len(kept) > v.MAX_METRICS:
        raise Bad("too_many_metrics", f"at most {v.MAX_METRICS} settings", path=("values",) if nested else ())
    version = given.get("version") if nested else None
    with v.within(*(("values",) if nested else ())):
        values = {v.name_of(name): _kept(name, value) for name, value in kept.items()}
    return Report(
        device=key,
        values=values,
        received_at=message.received_at,
        version=None if version is None else v.counter("version", version),
    )


def _kept(name: str, value: object) -> v.Value:
    with v.within(name):
        return v.value_of(name, value)


def _part(given: dict[str, Any], name: str, read: Callable[[str, Any], Part]) -> Part | None:
    if (part := given.get(name)) is None:
        return None
    with v.within(name):
        return read(name, part)


def _message(name: str, message: object) -> str:
    return v.short_text(name, str(message or ""))


def _progress(name: str, progress: object) -> float:
    return min(1.0, max(0.0, number(name, progress)))


def _step(name: str, step: object) -> Step:
    if step not in STEPS:
        raise Bad("bad_value", f"{name} is {v.brief(step)}; it must be one of {', '.join(STEPS)}")
    return cast("Step", step)


def _plain(text: str) -> dict[str, str]:
    word, _, rest = text.partition(" ")
    return {"status": word, "message": rest}
