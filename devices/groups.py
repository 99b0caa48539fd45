"""The groups of the channel layer: their names, the shapes of their messages, and `announce`, the only sender.

A group message is a doorbell: the row is the truth, and losing any message delays, never loses. Every member of a
group has a method for every message type (Channels: `type` with dots as underscores).
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NotRequired, TypedDict

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from devices import bulk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

# What concerns no single device: devices made, changed, deleted. The bridges and the web processes are in it.
REGISTRY: Final = "registry"
# How the bridges are. The web processes are in it.
HUB: Final = "hub"

SAY_EVERY_S: Final = 10.0
# A layer that hangs costs whoever announces this much, once for all that it has to say.
PATIENCE_S: Final = 2.0

# [seq, ts in ms, {metric: value}, flags]; flags: telemetry.LATE | CLOCK | RETAINED
FrameRow = tuple[int, int, dict[str, Any], int]


class Frames(TypedDict):
    """Frames of one device were committed; `prev` is the seq before the first.

    hops   when the newest of them was received by the bridge, committed, and announced (ms); not of what is replayed
    """

    type: Literal["device.frames"]
    device: str
    prev: int
    frames: list[FrameRow]
    hops: NotRequired[list[int]]


class State(TypedDict):
    """A device's presence changed; `since` in ms."""

    type: Literal["device.state"]
    device: str
    presence: str
    because: str
    since: int


class Watch(TypedDict):
    """Somebody looks at this device: announce its frames for the next minute."""

    type: Literal["device.watch"]
    device: str


class Order(TypedDict):
    """A command waits for this device; the bridge reads the row."""

    type: Literal["device.order"]
    device: str
    command: str


class CommandState(TypedDict):
    """A command entered a state; `at` in ms; `by` is the user who gave it."""

    type: Literal["device.command_state"]
    command: str
    device: str
    name: str
    args: Any
    state: str
    proof: str
    at: int
    by: str
    message: str
    progress: float | None


class Settings(TypedDict):
    """Something about a device's settings changed: wanted, sent, reported or announced. Read the rows."""

    type: Literal["device.settings"]
    device: str


class Summary(TypedDict):
    """Newest values and presence of devices of one fleet that changed (to the fleet's group, conflated)."""

    type: Literal["fleet.summary"]
    fleet: str
    devices: dict[str, dict[str, Any]]


class FleetWatch(TypedDict):
    """Somebody looks at this fleet: send its summaries for the next minute."""

    type: Literal["fleet.watch"]
    fleet: str


class Registered(TypedDict):
    """A device was made, changed or deleted; read the registry again."""

    type: Literal["registry.changed"]
    device: str


class Passed(TypedDict):
    """What a bridge has counted since it began; only `waiting` ever falls.

    heard       messages from the broker that were taken in, whatever became of them
    batched     readings beyond the first of their message
    frames      stored
    duplicates  readings that were stored before
    rejects     refused for what they are: whole messages, or single readings of one
    refused     messages over their device's limit
    others      messages without readings (status, descriptions, answers, our own), and retained values, which are shown
                and not stored
    announced   frames that the channel layer took
    unwatched   frames that nobody watches
    lost        frames that the channel layer did not take; who watches finds them in the database
    waiting     frames that are still to be announced

    heard + batched = frames + duplicates + rejects + refused + others
    frames = announced + unwatched + lost + waiting
    """

    heard: int
    batched: int
    frames: int
    duplicates: int
    rejects: int
    refused: int
    others: int
    announced: int
    unwatched: int
    lost: int
    waiting: int


class Pulse(TypedDict):
    """How a bridge is: said when that changes, and every 5 s. Times in ms.

    began          when it took up its duty; the first pulse comes once it hears the groups of the devices
    counts         what it has counted since then
    hearing        whether it reaches the broker
    holding_since  since when it cannot store, None while it can; `held` messages wait for it, `because` says why
    """

    type: Literal["hub.pulse"]
    bridge: str
    began: int
    counts: Passed
    hearing: bool
    holding_since: int | None
    held: int
    because: str
    at: int


Message = Frames | State | Watch | Order | CommandState | Settings | Summary | FleetWatch | Registered | Pulse


def device_group(key: str) -> str:
    """Name the group of a device."""
    return f"device.{key}"


def fleet_group(slug: str) -> str:
    """Name the group of a fleet."""
    return f"fleet.{slug}"


def group_of(message: Message) -> str:
    """Tell where a message goes."""
    if message["type"] == "registry.changed":
        return REGISTRY
    if message["type"] == "hub.pulse":
        return HUB
    named: Mapping[str, object] = message
    return fleet_group(str(named["fleet"])) if "fleet" in named else device_group(str(named["device"]))


async def announce(*messages: Message) -> list[Message]:
    """Send each message to its group; return those that the layer did not take.

    A layer that is down delays what is live; it never stops what is stored.
    """
    layer: Any = get_channel_layer()
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    step = bulk.at_once(layer)
    lost: list[Message] = []
    for at in range(0, len(messages), step):
        some = messages[at : at + step]
        try:
            async with asyncio.timeout_at(deadline):
                await _send(layer, some)
        except Exception as error:  # noqa: BLE001  whatever the layer raises, the row is the truth
            _losses.note(len(some), error, time.monotonic())
            lost += some
    return lost


async def _send(layer: Any, messages: Sequence[Message]) -> None:  # noqa: ANN401  its types know no groups
    for message in messages:
        _stamp(message)
    if len(messages) > 1:
        await bulk.publish(layer, [(group_of(message), message) for message in messages])
    else:
        await layer.group_send(group_of(messages[0]), messages[0])


def _stamp(message: Message) -> None:
    if message["type"] == "device.frames" and (hops := message.get("hops")):
        hops[2] = time.time_ns() // 1_000_000


class Losses:
    """Says that announcements are lost, in a line now and then: with Redis away there are thousands."""

    def __init__(self) -> None:
        """Nothing was lost yet."""
        self._count = 0
        self._said_at = float("-inf")

    def note(self, count: int, error: Exception, now: float) -> None:
        """Count so many more, and say it if nothing was said for a while; `now` in s."""
        self._count += count
        if now - self._said_at >= SAY_EVERY_S:
            logger.warning("%d announcements lost, the channel layer is away: %r", self._count, error)
            self._count = 0
            self._said_at = now


_losses: Final = Losses()


def announce_on_commit(*messages: Message) -> None:
    """Ring once the rows that the messages tell of are committed; for the services, which are synchronous."""
    transaction.on_commit(partial(async_to_sync(announce), *messages))
