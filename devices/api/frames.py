"""devices/<key>/frames/: the journal in the order of seq, as long poll; the live socket's twin for plain HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import close_old_connections, connection
from drf_spectacular.utils import extend_schema, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.response import Response

from devices import address, groups, quota, registry, telemetry, values
from devices.api.asked import Shape, Strict, Waiting, query, user_of
from devices.api.pages import MAX_PAGE, PAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.contrib.auth.models import User
    from rest_framework.request import Request

logger = logging.getLogger(__name__)

# Proxies end silent requests after 30 to 60 s.
MAX_WAIT_S: Final = 25
# As in live.md: a doorbell may be lost, so the journal is looked at this often in any case.
HEAL_S: Final = 5.0


class FramesAsked(Strict):
    """Where to begin, how much to read, and how long to wait for it."""

    after = serializers.IntegerField(default=0, min_value=0, max_value=values.MAX_COUNTER)
    limit = serializers.IntegerField(default=PAGE, min_value=1, max_value=MAX_PAGE)
    wait = serializers.FloatField(default=0, min_value=0, max_value=MAX_WAIT_S, help_text="s, for the first frame")


Gap = inline_serializer(
    "Gap",
    {
        "from": serializers.IntegerField(),
        "to": serializers.IntegerField(help_text="included"),
        "cause": serializers.ChoiceField(["retention"]),
    },
    allow_null=True,
    help_text="Frames behind `after` that cannot be had: they were deleted; or `after` was beyond the newest frame, as "
    "the journal is another than the one that you knew.",
)


class FramesShape(Shape):
    """Frames are [seq, ts, {metric: value}, flags]. Ask on with `after=next`.

    When that is null, with the last seq; or, where there are no frames, with `head`.
    """

    frames = serializers.SerializerMethodField()
    gap = Gap
    head = serializers.IntegerField(help_text="seq of the newest frame")
    next = serializers.IntegerField(allow_null=True, help_text="the last seq, when there are more already")

    @extend_schema_field(serializers.ListField(child=serializers.ListField(child=serializers.JSONField())))
    def get_frames(self, answer: dict[str, Any]) -> list[groups.FrameRow]:
        """Rows of the journal."""
        rows: list[groups.FrameRow] = answer["frames"]
        return rows


class Frames(Waiting):
    """The journal of a device."""

    for_links = True

    http_method_names = ["get", "head"]

    @extend_schema(parameters=[FramesAsked], responses=FramesShape)
    async def get(self, request: Request, key: str) -> Response:
        """Read frames behind `after`; with `wait`, wait for the first that comes."""
        asked = query(request, FramesAsked)
        deadline = time.monotonic() + asked["wait"]
        # Refuses before anything of the device is joined.
        answer = await _read(user_of(request), key, asked)
        if _has_news(answer) or asked["wait"] == 0:
            return Response(answer)
        with quota.places.held(("user", user_of(request).pk), ("address", address.of(request._request))):  # noqa: SLF001  the framework's own
            return await self._wait(request, key, asked, deadline)

    async def _wait(self, request: Request, key: str, asked: dict[str, Any], deadline: float) -> Response:
        async with _doorbell(key) as rung:
            # Joined before this read: what is committed from now on rings.
            answer = await _read(user_of(request), key, asked)
            while not _has_news(answer) and (left := deadline - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(rung.wait(), min(left, HEAL_S))
                rung.clear()
                answer = await _read(user_of(request), key, asked)
        return Response(answer)


@sync_to_async
def _read(user: User, key: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Read the journal. Who may see it is asked each time: a permission may be withdrawn while somebody waits."""
    try:
        device = registry.find(user, key)
        rows = telemetry.after(device.pk, asked["after"], asked["limit"] + 1)
    finally:
        if not connection.in_atomic_block:
            close_old_connections()  # back to the pool: the wait may be long
    after = asked["after"]
    # Frames may have come between the two queries; the head never stands behind what is told.
    head = max(device.head.seq, rows[-1][0] if rows else 0)
    frames = _unbroken(rows)[: asked["limit"]]
    more = len(frames) < len(rows)
    return {
        "frames": frames,
        "gap": _gap(after, frames[0][0] if frames else head + 1),
        "head": head,
        "next": frames[-1][0] if more else None,
    }


def _unbroken(rows: list[groups.FrameRow]) -> list[groups.FrameRow]:
    """Return the rows up to the first hole among them: what is missing there is told by the next answer."""
    held = (at for at, row in enumerate(rows) if row[0] != rows[0][0] + at)
    return rows[: next(held, len(rows))]


def _gap(after: int, first: int) -> dict[str, Any] | None:
    """Say what lies between a cursor and the first frame that there is behind it; or beyond the newest of all."""
    if after >= first:
        return {"from": first, "to": after, "cause": "retention"}
    return {"from": after + 1, "to": first - 1, "cause": "retention"} if first > after + 1 else None


def _has_news(answer: dict[str, Any]) -> bool:
    return bool(answer["frames"] or answer["gap"])


@asynccontextmanager
async def _doorbell(key: str) -> AsyncIterator[asyncio.Event]:
    """Join a device's group and give what is set when frames of it were committed.

    Where the layer is down nothing rings, and the looks at the journal between are all there is.
    """
    layer, rung = get_channel_layer(), asyncio.Event()
    assert layer is not None
    try:
        channel = await layer.new_channel()
        await layer.group_add(groups.device_group(key), channel)
    except Exception as error:  # noqa: BLE001  whatever the layer raises, the row is the truth
        logger.warning("no doorbell of %s: %s", key, error)
        yield rung
        return
    listener = asyncio.create_task(_listen(channel, rung), name=f"long poll of {key}")
    try:
        await groups.announce({"type": "device.watch", "device": key})
        yield rung
    finally:
        listener.cancel()
        leaving = layer.group_discard(groups.device_group(key), channel)
        for failed in await asyncio.gather(leaving, listener, return_exceptions=True):
            if isinstance(failed, Exception):
                logger.warning("the doorbell of %s broke: %s", key, failed)


async def _listen(channel: str, rung: asyncio.Event) -> None:
    layer = get_channel_layer()
    assert layer is not None
    while True:
        message = await layer.receive(channel)
        if message["type"] == "device.frames":
            rung.set()
