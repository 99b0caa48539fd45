"""Who comes in, from which page, and what closes the socket."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from dashboard import protocol, reads
from dashboard.fanout import Fanout
from devices.models import Device, Membership
from tests.django.live import Live, by_cookie, by_token, publish, run, signed_in, token

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub")]


# --- who


async def test_a_token_in_the_header_or_in_hello_is_greeted(alice: User) -> None:
    async with Live(await run(by_token, alice)) as live:
        assert (await live.hear())["user"] == "alice"
    async with Live() as live:
        await live.say("ping")
        assert await live.hear() == {"type": "pong"}
        await live.say("hello", token=await run(token, alice))
        welcome = await live.hear()
        assert (welcome["type"], welcome["user"], welcome["v"]) == ("welcome", "alice", 1)


@pytest.mark.parametrize("wrong", ["nonsense", "", "é", "\x00", "x" * 10_000])
async def test_a_wrong_token_is_shown_the_door(wrong: str) -> None:
    async with Live([(b"authorization", f"Token {wrong}".encode("latin-1"))]) as live:
        assert await live.code() == 4401
    async with Live() as live:
        await live.say("hello", token=wrong)
        assert await live.code() == 4401


async def test_a_deactivated_users_token_and_cookie_open_nothing(alice: User) -> None:
    headers, cookie = await run(by_token, alice), await run(by_cookie, alice)
    await run(User.objects.update, is_active=False)
    async with Live(headers) as live:
        assert await live.code() == 4401
    async with Live(cookie) as live:
        await live.say("sub", id="a", devices=["pump-1"])
        assert await live.code() == 4401


@pytest.mark.parametrize("first", [{"type": "sub", "id": "a", "fleet": "x"}, {"type": "credit", "n": 1}, {"type": "?"}])
async def test_nobody_gets_anything_before_hello(first: dict[str, Any]) -> None:
    async with Live() as live:
        await live.wire.send_to(text_data=json.dumps(first))
        assert await live.code() == 4401


async def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HELLO_TIMEOUT_S", 0.01)
    async with Live() as live:
        assert await live.code() == 4408


async def test_who_said_hello_in_time_stays(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HELLO_TIMEOUT_S", 0.1)
    secret = await run(token, alice)
    async with Live() as live:
        await live.say("hello", token=secret)
        await live.until("welcome")
        assert await live.wire.receive_nothing(timeout=0.15)


async def test_nobody_becomes_another_on_the_way(alice: User, charlie: User) -> None:
    async with signed_in(alice) as live:
        await live.say("hello", token=await run(token, charlie))
        assert (await live.until("err"))["code"] == "bad_message"
        await live.say("hello", token="wrong")
        await live.until("err")
        await live.say("ping")
        await live.until("pong")


async def test_withdrawn_access_ends_what_was_begun(hub: Fanout, alice: User, vera: User, pump: Device) -> None:
    async with signed_in(vera) as live:
        await live.sub("pump-1", id="a")
        await live.say("sub", id="f", fleet="greenhouse")
        await live.until("fleet")
        await hub.permits.look_once()
        await run(Membership.objects.filter(user=vera).delete)
        await hub.permits.look_once()
        ends = [message for message in await live.words() if message["type"] == "end"]
        assert ends == [{"type": "end", "id": id_, "reason": "permission_revoked"} for id_ in ("a", "f")]
        await publish("pump-1")
        await live.words()
        assert not live.rows
        await live.sub("pump-1", id="a")
        assert (await live.until("err"))["code"] == "device_unknown"


async def test_a_user_who_is_no_more_is_shown_the_door(hub: Fanout, alice: User, bob: User) -> None:
    async with signed_in(alice) as live, signed_in(bob) as other:
        await run(User.objects.filter(pk=alice.pk).update, is_active=False)
        await hub.permits.look_once()
        assert await live.code() == 4401
        await other.words()


# --- what closes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 4400),
        ("[]", 4400),
        ('{"type":"x"', 4400),
        ("[" * 60_000, 4400),
        ('{"type":"cmd","id":"c","device":"d","name":"n","args":' + "[" * 60_000, 4400),
        ('{"type":"unsub","id":"\ud800"}', 4400),
        (json.dumps({"type": "unsub", "id": "x" * 65_536}), 4413),
        (json.dumps({"type": "unsub", "id": "💧" * 16_384}, ensure_ascii=False), 4413),
    ],
)
async def test_what_is_no_message_closes_the_socket(alice: User, text: str, code: int) -> None:
    async with signed_in(alice) as live:
        await live.wire.send_to(text_data=text)
        assert await live.code() == code


async def test_bytes_close_the_socket(alice: User) -> None:
    async with signed_in(alice) as live:
        await live.wire.send_to(bytes_data=b'{"type":"ping"}')
        assert await live.code() == 4400


async def test_a_message_as_long_as_allowed_is_read(alice: User) -> None:
    async with signed_in(alice) as live:
        body = '{"type":"unsub","id":"%s"}'
        await live.wire.send_to(text_data=body % ("x" * (protocol.MAX_MESSAGE - len(body) + 2)))
        assert (await live.until("err"))["code"] == "bad_message"


async def test_too_many_messages_close_the_socket(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "RATE", 0.01)
    async with signed_in(alice) as live:
        for _ in range(protocol.BURST):
            await live.say("ping")
        for _ in range(protocol.BURST):
            await live.until("pong")
        await live.say("ping")
        assert await live.code() == 4429
        assert live.heard[-1] == {
            "type": "err",
            "id": "",
            "code": "too_many_requests",
            "message": "Too many requests; come back in 20000 s.",
            "retry": True,
            "retry_after_s": 20_000,
        }


async def test_too_many_subscriptions_close_the_socket(
    alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signed_in(alice) as live:
        for index in range(protocol.MAX_SUBSCRIPTIONS - 1):
            await live.sub("pump-1", id=f"s{index}")
        await live.say("sub", id="fleet", fleet="greenhouse")
        await live.until("fleet")
        await live.say("unsub", id="s0")
        await live.sub("pump-1", id="s0")
        await live.until("live", lambda message: message["id"] == "s0")
        await live.words()
        await live.sub("pump-1", id="one more")
        assert await live.code() == 4429


@pytest.mark.parametrize("second", [{"devices": ["pump-1"]}, {"fleet": "greenhouse"}])
@pytest.mark.parametrize("first", [{"devices": ["pump-1"]}, {"fleet": "greenhouse"}])
async def test_an_id_that_is_in_use_closes_the_socket(
    alice: User, pump: Device, first: dict[str, Any], second: dict[str, Any]
) -> None:
    async with signed_in(alice) as live:
        await live.say("sub", id="a", **first)
        await live.say("sub", id="a", **second)
        assert await live.code() == 4409


async def test_a_refused_id_is_free_again(alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        await live.sub("nobody")
        await live.until("err")
        await live.say("sub", id="a", fleet="nowhere")
        await live.until("err")
        await live.sub("pump-1")
        await live.until("live")


def fail(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    return raise_it


async def test_a_bug_closes_the_socket_and_leaves_nothing(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signed_in(alice) as live:
        monkeypatch.setattr(reads, "_recent_commands", fail(ZeroDivisionError()))
        await live.sub("pump-1")
        assert await live.code() == 4500
    assert not hub.feeds["pump-1"].subscribers
    assert not hub.sessions


async def test_with_the_database_away_sub_may_be_tried_again(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signed_in(alice) as live:
        with monkeypatch.context() as patched:
            patched.setattr(reads, "_recent_commands", fail(OperationalError("locked")))
            await live.sub("pump-1")
            error = await live.until("err")
            assert (error["id"], error["code"], error["retry"]) == ("a", "unavailable", True)
        assert not hub.feeds["pump-1"].subscribers
        await live.sub("pump-1")
        await live.until("live")


async def test_a_failing_read_of_history_closes_the_socket(
    alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1")
        await live.until("live")
        monkeypatch.setattr("dashboard.stream.rows.part_of", fail(ZeroDivisionError()))
        await publish("pump-1")
        assert await live.code() == 4500


@pytest.mark.parametrize("id_", ['a"b', "\\", "é💧", "\n", "x" * 128])
async def test_an_id_may_be_any_short_text(alice: User, pump: Device, id_: str) -> None:
    async with signed_in(alice) as live:
        await live.sub("pump-1", id=id_)
        await live.until("live", lambda message: message["id"] == id_)
        await publish("pump-1")
        assert await live.until_row(1, sub=id_) == [1]


# --- what may not be seen does not exist


@pytest.mark.parametrize("more", [{}, {"since": {"cursor": {"kettle": 1}}}])
async def test_another_fleets_device_answers_like_none(
    alice: User, kettle: Device, pump: Device, more: dict[str, Any]
) -> None:
    async with signed_in(alice) as live:
        for keys in (["kettle"], ["kettlf"], ["pump-1", "kettle"], ["pump-1", "kettlf"]):
            await live.sub(*keys, **more)
        answers = [json.dumps(await live.until("err")) for _ in range(4)]
        assert answers[0] == answers[2] == answers[1].replace("kettlf", "kettle")
        assert answers[1] == answers[3]


@pytest.mark.parametrize("key", ["Ä", "a/b", "#", "pump-1\n", "x" * 100, "' OR 1=1"])
async def test_what_is_no_key_is_unknown(alice: User, pump: Device, key: str) -> None:
    async with signed_in(alice) as live:
        await live.sub(key)
        assert (await live.until("err"))["code"] == "device_unknown"


LEFT = """
import asyncio, atexit, os, django
loop = asyncio.new_event_loop()
atexit.register(lambda: print("waiting:", len(asyncio.all_tasks(loop))))  # the first to come is the last to go
os.environ["DJANGO_SETTINGS_MODULE"] = "hub.settings"
django.setup()
from dashboard import fanout

async def serve():
    fanout.here().start()
    await asyncio.sleep(0)
    print("waiting:", len(asyncio.all_tasks()) - 1)

loop.run_until_complete(serve())
"""


def test_a_server_that_leaves_its_loop_leaves_nothing_waiting(tmp_path: Path) -> None:
    environ = os.environ | {"HUB_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LEFT], env=environ, capture_output=True, text=True, check=True)
    before, after, *_ = done.stdout.split("\n")
    assert before.startswith("waiting: ")
    assert before != after == "waiting: 0"
