"""PURE. The topics of the native convention: hub/<key>/… and, behind a gateway, hub/<gateway>/sub/<key>/…"""

from __future__ import annotations

from typing import Final

from devices.values import Bad, is_key

ROOT: Final = "hub"
FILTER: Final = f"{ROOT}/#"
STATUS, TELEMETRY, META, LOCATION = "status", "telemetry", "meta", "location"
# Where devices keep something at the broker that says what they are (and whether they are there).
RETAINED_FILTERS: Final = tuple(
    f"{root}/{leaf}" for root in (f"{ROOT}/+", f"{ROOT}/+/sub/+") for leaf in ("status", "meta/#")
)
CMD, ACK, RECEIPT, ERROR, SUB = "cmd", "ack", "receipt", "error", "sub"
DESIRED, REPORTED = "desired", "reported"
# What the hub itself publishes and hears back, since it listens to the whole tree.
OURS: Final = frozenset({CMD, RECEIPT, ERROR, DESIRED})
_OURS: Final = tuple([word] for word in OURS)


def topic(key: str, *levels: str, gateway: str | None = None) -> str:
    """Return a device's topic, below its gateway when it has one: hub/<gateway>/sub/<key>/…"""
    return "/".join((ROOT, *((gateway, SUB) if gateway else ()), key, *levels))


def command_topic(key: str, name: str, cid: str, gateway: str | None = None) -> str:
    """Return where a command is published: hub/<key>/cmd/<name>/<cid>."""
    return topic(key, CMD, name, cid, gateway=gateway)


def is_ours(topic_: str) -> bool:
    """Whether a topic is one of those on which the hub itself speaks."""
    levels = topic_.split("/", 5)
    return levels[4 if levels[2:3] == [SUB] else 2 :][:1] in _OURS


def device_of(topic_: str) -> str:
    """Return the key that a topic claims, or "" when it has none (for filing a Reject)."""
    try:
        return address(topic_)[1]
    except Bad:
        return ""


def address(topic_: str) -> tuple[str | None, str, list[str]]:
    """Take a topic apart: gateway or None, device key, the levels behind it. Raises Bad."""
    gateway: str | None = None
    match topic_.split("/"):
        case ["hub", gateway, "sub", key, *rest]:
            pass
        case ["hub", key, *rest]:
            pass
        case _:
            raise Bad("topic_unknown", f"topics of devices begin with {ROOT}/<key>/")
    for level in (key, gateway):
        if level is not None and not is_key(level):
            raise Bad(
                "topic_unknown",
                f"{level[:70]!r} is no device key: lower case letters, digits, - and _, at most 63",
            )
    return gateway, key, rest
