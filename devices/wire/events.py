"""PURE. What a message says, as values: the shapes in which every dialect speaks to the rest of the hub."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from devices.values import Value  # msgspec reads the annotations at run time

AckStatus = Literal["received", "succeeded", "failed", "rejected", "expired"]
# What an update goes through at the device, in this order.
Step = Literal["", "downloading", "downloaded", "verified", "installing", "restarting"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One MQTT message as it arrived. `received_at` in ms since the epoch; `mid` 0 for QoS 0.

    away_ms   of one that comes again: for how long nobody heard the broker before it came
    """

    topic: str
    payload: bytes
    received_at: int
    qos: int = 0
    retain: bool = False
    dup: bool = False
    mid: int = 0
    away_ms: int = 0


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """The readings that a device sent together.

    device       key of the device
    values       metric → value, at least one
    received_at  ms, when the hub got it
    ts           ms as the device gave it, or None for "at arrival"
    boot, n      the device's own counters, when it numbers its frames
    mark         64-bit identity, to tell a duplicate; None when there is nothing to tell it by
    mark_ms      how far back a frame with the same mark is a duplicate; 0: not looked up (the mark is only kept)
    retained     the broker kept it: it tells a state, not a reading at arrival
    past         it is taken in long after it came: no sign that the device is there now
    """

    device: str
    values: dict[str, Value]
    received_at: int
    ts: int | None = None
    boot: int | None = None
    n: int | None = None
    mark: int | None = None
    mark_ms: int = 0
    retained: bool = False
    past: bool = False


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """The device (or its last will) says that it is online or offline. `sleep_s`: how long it is silent on purpose."""

    device: str
    online: bool
    received_at: int
    sleep_s: int | None = None
    fw: str = ""
    retained: bool = False


class Announce(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says about itself. Only what is given changes.

    metrics   name → {"unit"?, "class"?}
    commands  name → {"type": one of COMMAND_TYPES, "min"?, "max"?, "step"?, "unit"?, "options"?, "dangerous"?}
    settings  name → the same, of the types that have a value
    remembers how many of the last commands it knows again and does not carry out twice; None: not said
    """

    device: str
    name: str = ""
    model: str = ""
    fw: str = ""
    metrics: dict[str, dict[str, str]] = {}
    commands: dict[str, dict[str, Any]] = {}
    settings: dict[str, dict[str, Any]] = {}
    remembers: int | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a device keeps to. `version`: of the desired state that it had then; None: it does not say.

    values    setting → value; of what is not in it nothing is known
    """

    device: str
    values: dict[str, Value]
    received_at: int
    version: int | None = None


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """A device's answer to a command. `progress` from 0 to 1; `step`: where an update stands."""

    device: str
    cid: str
    status: AckStatus
    received_at: int
    value: Value | None = None
    message: str = ""
    progress: float | None = None
    step: Step = ""


Event = Frame | Presence | Announce | Ack | Report
