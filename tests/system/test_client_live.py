"""The Python client against the real hub: complete through cuts, slow without harm, honest about what it knows."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from telemetry_hub import errors, items, live
from tests.hub import Hub, Production, eventually
from tests.system.clients import Paho, Publisher
from tests.system.test_path import NewDevice

both = pytest.mark.parametrize("anywhere", ["demo"], indirect=True)
restartable = pytest.mark.parametrize("anywhere", ["production"], indirect=True)
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def connected(hub: Hub, user: str | None = None) -> live.Hub:
    return live.connect(hub.url, token=hub.token(user), give_up_s=PATIENCE_S)


async def take(watch: AsyncIterator[Any], count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(watch) for _ in range(count)]


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not look():  # noqa: ASYNC110  what is looked at is nobody's event
            await asyncio.sleep(0.01)


@both
async def test_history_and_live_come_in_one_stream(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        for n in range(3):
            client.said("telemetry", {"n": n})
        eventually(lambda: len(anywhere.frames(device.key)) == 3)
        async with connected(anywhere) as hub:
            watch = hub.watch(device.key, since=timedelta(hours=1))
            rows = await take(watch, 3)
            await asyncio.sleep(0)
            client.said("telemetry", {"n": 3})
            rows += await take(watch, 1)
            assert [(row.seq, row.values, row.phase) for row in rows] == [
                (1, {"n": 0}, "history"),
                (2, {"n": 1}, "history"),
                (3, {"n": 2}, "history"),
                (4, {"n": 3}, "live"),
            ]
            assert abs(rows[-1].time - datetime.now(UTC)) < timedelta(minutes=1)
            assert watch.cursor == {device.key: 4}


@both
async def test_a_program_that_logs_everything_does_not_log_its_token(
    anywhere: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with connected(anywhere):
        logging.getLogger("a.program").debug("it is connected")
    assert "it is connected" in caplog.text
    assert anywhere.token() not in caplog.text


@both
async def test_another_program_goes_on_at_the_cursor(anywhere: Hub, new_device: NewDevice) -> None:
    device, quiet = new_device(), new_device()
    with Paho(anywhere, device) as client, Paho(anywhere, quiet) as other:
        async with connected(anywhere) as hub:
            watch = hub.watch(device.key, since={device.key: 0})
            client.said("telemetry", {"n": 1})
            await take(watch, 1)
            cursor = {**watch.cursor, quiet.key: 0}
        client.said("telemetry", {"n": 2})
        other.said("telemetry", {"n": 3})
        async with connected(anywhere) as hub:
            rows = await take(hub.watch(device.key, quiet.key, since=cursor), 2)
            assert {(row.device, row.seq, row.values["n"]) for row in rows} == {(device.key, 2, 2), (quiet.key, 1, 3)}


@both
async def test_only_the_metrics_that_are_wanted_come(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        async with connected(anywhere) as hub:
            watch = hub.watch(device.key, metrics=["temp"], since={device.key: 0})
            for values in ({"temp": 1, "hum": 2}, {"hum": 3}, {"temp": 4}):
                client.said("telemetry", values)
            assert [row.values for row in await take(watch, 2)] == [{"temp": 1}, {"temp": 4}]
            assert watch.cursor == {device.key: 3}


@both
async def test_a_command_is_told_with_its_proofs(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        client.said("status", "online")
        async with connected(anywhere) as hub:
            command = await hub.command(device.key, "relay", "on", key="once")
            twin = await hub.command(device.key, "relay", "on", key="once")
            order = await asyncio.to_thread(client.heard)
            assert order.topic.endswith(f"cmd/relay/{command.id}")
            client.said(f"ack/{command.id}", "ok")
            async with asyncio.timeout(PATIENCE_S):
                states = [state async for state in command]
                assert (await command.settled()).state == "succeeded"
                assert (await twin.settled()).state == "succeeded"
            assert {"queued", "sent", "succeeded"} <= {state.state for state in states}
            assert all(state.proof for state in states)
            again = await hub.command(device.key, "relay", "on", key="once")
            assert (again.id, again.new) == (command.id, False)
            async with asyncio.timeout(PATIENCE_S):
                assert (await again.settled()).state == "succeeded"


@both
async def test_what_else_happens_is_heard_as_events(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    async with connected(anywhere) as hub:
        events = hub.events()
        watch = hub.watch(device.key)
        with Paho(anywhere, device) as client:
            client.said("status", "online")
            async with asyncio.timeout(PATIENCE_S):
                async for event in events:
                    match event:
                        case items.Presence(device=key, presence="online"):
                            assert key == device.key
                            break
        watch.close()
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


@both
async def test_a_fleet_is_summarised(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    async with connected(anywhere) as hub:
        fleet = hub.fleet("main")
        found = await _summary(fleet, lambda one: one.device == device.key)
        assert found.presence == "never"
        with Paho(anywhere, device) as client:
            client.said("telemetry", {"n": 7})
            found = await _summary(fleet, lambda one: one.device == device.key and one.seq > 0)
            assert found.values == {"n": 7}
        anywhere.ask("DELETE", f"devices/{device.key}/")
        async with asyncio.timeout(PATIENCE_S):
            while await anext(fleet) != items.Gone(device.key):
                pass


async def _summary(fleet: AsyncIterator[Any], wanted: Callable[[items.Summary], bool]) -> items.Summary:
    async with asyncio.timeout(PATIENCE_S):
        async for one in fleet:
            if isinstance(one, items.Summary) and wanted(one):
                return one
    raise AssertionError


@both
async def test_what_was_comes_again_to_its_end_or_on_into_now(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    start = datetime.now(UTC) - timedelta(seconds=1)
    with Paho(anywhere, device) as client:
        for n in range(3):
            client.said("telemetry", {"n": n})
        eventually(lambda: len(anywhere.frames(device.key)) == 3)
        async with connected(anywhere) as hub:
            async with asyncio.timeout(PATIENCE_S):
                ended = hub.replay(device.key, start=start, end=datetime.now(UTC), speed=1000)
                assert [(row.seq, row.phase) async for row in ended] == [(1, "replay"), (2, "replay"), (3, "replay")]
            watch = hub.replay(device.key, start=start, speed=1000)
            assert [row.seq for row in await take(watch, 3)] == [1, 2, 3]
            await until(lambda: hub._state.subs[watch.name].phase == "live")
            client.said("telemetry", {"n": 3})
            assert [(row.seq, row.phase) for row in await take(watch, 1)] == [(4, "live")]


@both
async def test_what_rest_can_change_a_call_can(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    async with connected(anywhere) as hub:
        answer = await hub.call("PATCH", f"devices/{device.key}/", {"name": "Pump one"})
        assert answer.ok
        assert answer.body["name"] == "Pump one"
        assert anywhere.ask("GET", f"devices/{device.key}/")["name"] == "Pump one"
        refused = await hub.call("DELETE", "devices/nobody/")
        assert (refused.status, refused.ok) == (404, False)
        with pytest.raises(errors.Refused) as no_call:
            await hub.call("GET", "devices/")
        assert no_call.value.code == "bad_message"


@both
async def test_errors_say_what_to_do(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    async with connected(anywhere) as hub:
        with pytest.raises(errors.Refused, match="no device 'nobody'") as refused:
            await anext(hub.watch("nobody"))
        assert refused.value.code == "device_unknown"
        with pytest.raises(errors.Refused):
            await anext(hub.fleet("nowhere"))
        with pytest.raises(errors.Refused):
            await hub.command("nobody", "relay")
        with pytest.raises(ValueError, match="bytes"):
            await hub.command(device.key, "relay", "x" * 70_000)
        with pytest.raises(ValueError, match="JSON compliant"):
            await hub.command(device.key, "relay", float("nan"))
    with pytest.raises(errors.Closed):
        hub.watch(device.key)


@both
async def test_a_wrong_token_ends_it_and_a_new_one_is_asked_for_once(anywhere: Hub) -> None:
    with pytest.raises(errors.NotSignedIn, match="token"):
        async with live.connect(anywhere.url, token="wrong"):
            pass
    given = iter(["wrong", anywhere.token()])

    async def renewed() -> str:
        return next(given)

    async with live.connect(anywhere.url, token=renewed):
        pass
    asked: list[str] = []
    with pytest.raises(errors.NotSignedIn):
        async with live.connect(anywhere.url, token=lambda: asked.append("") or "wrong"):  # type: ignore[func-returns-value]
            pass
    assert len(asked) == 2


async def test_a_hub_that_is_not_there_is_waited_for_as_long_as_is_wished() -> None:
    began = time.monotonic()
    with pytest.raises(errors.Unreachable, match=r"no hub answers at ws://127\.0\.0\.1:9/ws/v1/live/"):
        async with live.connect("http://127.0.0.1:9", token="t", give_up_s=0.5):
            pass
    assert time.monotonic() - began < 5


@both
async def test_a_device_that_may_not_be_seen_any_more_ends_the_watch(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    async with connected(anywhere) as hub:
        watch = hub.watch(device.key, since={device.key: 0})
        with Paho(anywhere, device) as client:
            client.said("telemetry", {"n": 1})
            await take(watch, 1)
        anywhere.ask("DELETE", f"devices/{device.key}/")
        with pytest.raises(errors.Revoked):
            await take(watch, 1)


@both
async def test_a_watch_that_nobody_holds_leaves_the_hub(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    async with connected(anywhere) as hub:
        with Paho(anywhere, device) as client:
            client.said("telemetry", {"n": 1})
            async for _ in hub.watch(device.key, since={device.key: 0}):
                break
            client.said("telemetry", {"n": 2})
            await until(lambda: not hub._state.subs)


@both
async def test_a_program_that_wants_a_lot_at_once_is_not_cut_off_for_it(anywhere: Hub) -> None:
    """The hub takes 200 messages at once and 50 a second; more closes the socket with 4429."""
    async with connected(anywhere) as hub:
        events = hub.events()
        asked = [hub.command(f"nobody-{number}", "relay") for number in range(250)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {errors.Refused}
        assert not events._kept


# --- cuts


@restartable
async def test_a_hub_that_is_restarted_and_killed_costs_no_row_and_doubles_none(
    anywhere: Production, production: Production, new_device: NewDevice
) -> None:
    device, quiet = new_device("steady"), new_device("quiet")
    (web,) = production.webs
    rows: list[Any] = []
    async with connected(production) as hub:
        events = hub.events()
        watch = hub.watch(device.key, quiet.key, since=timedelta(hours=1))

        async def follow() -> None:
            async for row in watch:
                rows.append(row)  # noqa: PERF401  it is looked at meanwhile

        async def flows(more: int) -> None:
            wanted = len(rows) + more
            await until(lambda: len(rows) >= wanted)

        following = asyncio.create_task(follow())
        with Publisher(production, device) as publisher:
            await flows(30)
            await asyncio.to_thread(web.kill)
            with Paho(production, quiet) as client:
                await asyncio.to_thread(client.said, "telemetry", {"n": 0})  # while nobody is connected
            web.start()  # in the main thread: the child ends with the thread that started it
            await flows(50)
            await asyncio.to_thread(web.stop)
            web.start()
            await flows(50)
            published = await asyncio.to_thread(publisher.finish)
        await until(lambda: len(rows) > published)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert [row.seq for row in rows if row.device == device.key] == list(range(1, published + 1))
        assert [row.seq for row in rows if row.device == quiet.key] == [1]
        cuts = []
        async with asyncio.timeout(PATIENCE_S):
            while [event.up for event in cuts].count(True) < 2:
                event = await anext(events)
                cuts += [event] if isinstance(event, items.Connection) else []
        assert False in [event.up for event in cuts]


@restartable
async def test_a_command_is_asked_after_across_a_restart(
    anywhere: Production, production: Production, new_device: NewDevice
) -> None:
    device = new_device()
    (web,) = production.webs
    async with connected(production) as hub:
        command = await hub.command(device.key, "relay", "on", ttl_s=120)  # it waits: the device is offline
        await asyncio.to_thread(web.kill)
        giving = asyncio.create_task(hub.command(device.key, "relay", "off", ttl_s=120))
        with Paho(production, device) as client:
            client.said("status", "online")
            client.said(f"ack/{(await asyncio.to_thread(client.heard)).topic.rpartition('/')[2]}", "ok")
            web.start()
            second = await giving
            client.said(f"ack/{(await asyncio.to_thread(client.heard)).topic.rpartition('/')[2]}", "ok")
            async with asyncio.timeout(PATIENCE_S):
                assert (await command.settled()).state == "succeeded"
                assert (await second.settled()).state == "succeeded"
        assert len(production.ask("GET", f"devices/{device.key}/commands/")["results"]) == 2


@restartable
async def test_a_call_that_a_cut_left_open_is_not_made_again(
    anywhere: Production, production: Production, new_device: NewDevice
) -> None:
    device = new_device()
    (web,) = production.webs
    async with connected(production) as hub:
        os.kill(web._child.pid, 19)  # type: ignore[union-attr]  # stopped: it takes the call and does not answer
        asking = asyncio.create_task(hub.call("PATCH", f"devices/{device.key}/", {"name": "Once"}))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(web.kill)
        web.start()
        with pytest.raises(errors.NoAnswer, match="whether it was done is not known"):
            await asking


# --- a slow consumer


@both
async def test_a_slow_consumer_slows_the_hub_and_gets_everything(anywhere: Hub, new_device: NewDevice) -> None:
    device, neighbour = new_device(), new_device()
    with Publisher(anywhere, device) as publisher, Paho(anywhere, neighbour) as other:
        async with connected(anywhere) as hub:
            slow = hub.watch(device.key, since={device.key: 0})
            first = await take(slow, 1)
            quick = hub.watch(neighbour.key, since={neighbour.key: 0})
            # Credit for 32 messages at 20 a second, and 5 s of patience with who takes nothing.
            await until(lambda: hub._state.subs[slow.name].phase == "paused")
            held = len(slow._parcels)
            assert 0 < held <= 33
            other.said("telemetry", {"n": 1})
            assert (await take(quick, 1))[0].seq == 1
            published = await asyncio.to_thread(publisher.finish)
            assert len(slow._parcels) == held
            rows = first + await take(slow, published - 1)
            assert [row.seq for row in rows] == list(range(1, published + 1))
