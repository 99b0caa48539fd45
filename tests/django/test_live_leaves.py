"""Nothing is left of sockets that came and went, whatever they did and however they went."""

import asyncio
import gc
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User

from dashboard import calls, cohorts, consumers, fleets, permits, protocol, replay, sender, sse, stream
from dashboard.fanout import Fanout
from devices.models import Device
from hub.asgi import application
from tests.django.live import NOW, PATIENCE_S, Live, by_token, publish, run, settle

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_pace")]

KINDS = (
    consumers.LiveConsumer,
    consumers.Ear,
    calls.Line,
    sender.Sender,
    cohorts.Cohort,
    cohorts.Subscription,
    fleets.Follower,
    stream.Stream,
    replay.Replay,
    sse.Visitor,
    permits.Pass,
    asyncio.Task,
)
SOCKETS = 8
# How far each comes before it goes: through its greeting, its answer, or all of it.
ROUNDS = 5


def there() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), KINDS))


async def subscribes(live: Live, number: int) -> None:
    """Do one of many things, more or less of it."""
    asked: tuple[dict[str, Any], ...] = (
        {"kind": "sub", "id": "a", "devices": ["pump-1"]},
        {"kind": "sub", "id": "a", "devices": ["pump-1"], "metrics": ["temp"], "since": {"last_s": 3600}},
        {"kind": "sub", "id": "a", "devices": ["pump-1"], "mode": "latest", "since": {"cursor": {"pump-1": 0}}},
        {"kind": "sub", "id": "a", "devices": ["pump-1"], "replay": {"from": NOW, "speed": 1}},
        {"kind": "sub", "id": "a", "fleet": "greenhouse"},
        {"kind": "cmd", "id": "a", "device": "pump-1", "name": "reboot"},
        {"kind": "call", "id": "a", "method": "PATCH", "path": "devices/pump-1/", "body": {"name": "Pump"}},
        {"kind": "sub", "id": "a", "devices": ["kettle"]},
    )
    await live.say(**asked[number % len(asked)])


async def comes_and_goes(headers: list[tuple[bytes, bytes]], number: int, stays: int) -> None:
    """Open a socket, and go: at once, in the middle of it, without credit, or after all was told."""
    async with Live(headers) as live:
        live.credits = stays % 2 == 1
        await live.until("welcome")
        await subscribes(live, number)
        await settle(stays * 10)
        if stays > 2:
            for _ in range(4):
                await publish("pump-1")
                await settle()
            await live.say("ping")
            while (await live.hear())["type"] != "pong":
                pass
        if stays > 3:
            await live.say("unsub", id="a")


async def reads_events(headers: list[tuple[bytes, bytes]], stays: int) -> None:
    path = {"path": "/api/v1/stream", "query_string": b"device=pump-1&fleet=greenhouse"}
    asked = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "client": ("127.0.0.1", 9)}
    answer = ApplicationCommunicator(application, {**asked, **path, "headers": [(b"host", b"testserver"), *headers]})
    await answer.send_input({"type": "http.request", "body": b"", "more_body": False})
    for _ in range(stays):
        await answer.receive_output(PATIENCE_S)
    await answer.send_input({"type": "http.disconnect"})
    with suppress(asyncio.CancelledError):
        await answer.wait(PATIENCE_S)


async def all_come_and_go(user: User) -> None:
    headers = await run(by_token, user)
    for stays in range(ROUNDS):
        await asyncio.gather(*(comes_and_goes(headers, number, stays) for number in range(SOCKETS)))
        await reads_events(headers, stays)


async def test_nothing_is_left_of_sockets_that_came_and_went(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CREDIT", 2)  # some fall behind, and go as they are
    await publish("pump-1", 50)
    await all_come_and_go(alice)  # what is made once is there
    await hub.permits.look_once()
    await settle(100)
    before = there()
    for _ in range(2):
        await all_come_and_go(alice)
    await hub.permits.look_once()
    with suppress(TimeoutError):  # what threads were doing when its socket went is done to its end
        async with asyncio.timeout(PATIENCE_S):
            while there() - before:  # noqa: ASYNC110  nothing tells of garbage
                await asyncio.sleep(0.01)
    assert there() - before == Counter()
    assert not hub.sessions
    assert not len(hub.cohorts)
    assert not any(feed.subscribers or feed.streams for feed in hub.feeds.values())
    assert not any(fleet.followers for fleet in hub.fleets.values())
    await hub.check_once()
    await hub.check_once()
    assert not hub.feeds
    assert not hub.fleets
