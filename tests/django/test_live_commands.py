"""Commands over the live socket: who may give them, what is answered, and that no state of them stays unheard."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from dashboard import reads
from dashboard.fanout import Fanout
from devices import commands, groups
from devices.commands import issuing
from devices.models import Command, CommandEvent, Device
from tests.django.live import Live, run, settle, signed_in

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub")]


async def give(live: Live, device: str = "pump-1", **fields: Any) -> None:
    await live.say("cmd", **{"id": "c", "device": device, "name": "relay", "args": "on", **fields})


async def test_an_operator_gives_a_command_and_hears_of_it_without_a_subscription(
    hub: Fanout, bob: User, pump: Device
) -> None:
    async with signed_in(bob) as live:
        await give(live)
        ok = await live.until("ok")
        assert (ok["id"], ok["state"], ok["new"]) == ("c", "queued", True)
        await live.words()
        await run(commands.cancel, ok["command"], reads.now_ms(), "alice")
        last = await live.until("cmd_state", lambda message: message["state"] == "cancelled")
        assert (last["command"], last["device"], last["by"]) == (ok["command"], "pump-1", "alice")
    told = [message["state"] for message in live.heard if message["type"] == "cmd_state"]
    assert told == ["queued", "cancelled"]


async def test_everybody_who_watches_hears_of_it_and_nobody_else(
    bob: User, vera: User, charlie: User, pump: Device, kettle: Device
) -> None:
    async with signed_in(bob) as live, signed_in(vera) as watcher, signed_in(charlie) as stranger:
        await watcher.sub("pump-1", id="a")
        await watcher.sub("pump-1", id="b")
        await watcher.until("live", lambda message: message["id"] == "b")
        await stranger.sub("kettle")
        await stranger.until("live")
        await give(live)
        await watcher.until("cmd_state")
        assert [message["type"] for message in await watcher.words()] == []  # once, though it has two subscriptions
        assert [message["type"] for message in await stranger.words()] == []


async def test_a_viewer_is_told_to_ask_a_manager(vera: User, pump: Device) -> None:
    async with signed_in(vera) as live:
        await give(live)
        error = await live.until("err")
        assert (error["id"], error["code"], error["retry"]) == ("c", "forbidden", False)
        assert "operator" in error["message"]
    assert not await run(Command.objects.count)


async def test_a_dangerous_command_is_given_once_it_is_confirmed_and_its_reason_is_told(
    bob: User, pump: Device
) -> None:
    pump.commands = {"relay": {"type": "bool", "dangerous": True}}
    await run(pump.save)
    async with signed_in(bob) as live:
        await give(live)
        assert (await live.until("err"))["code"] == "confirmation_needed"
        await give(live, confirm=True, reason="the tank is full")
        told = await live.until("cmd_state")
        assert (told["state"], told["reason"], told["sends"]) == ("queued", "the tank is full", 0)
        assert told["expires_at"] > told["at"]


@pytest.mark.parametrize("known", ["kettle", "nobody"])
async def test_a_foreign_device_answers_like_none(bob: User, kettle: Device, known: str) -> None:
    async with signed_in(bob) as live:
        await give(live, known)
        assert await live.until("err") == {
            "type": "err",
            "id": "c",
            "code": "device_unknown",
            "message": f"There is no device '{known}', or you may not see it.",
            "retry": False,
        }


async def test_a_repeated_key_gives_the_first_command(bob: User, pump: Device) -> None:
    async with signed_in(bob) as live:
        await give(live, key="k")
        first = await live.until("ok")
        await give(live, key="k")
        second = await live.until("ok")
        assert (second["command"], second["new"]) == (first["command"], False)
    assert await run(Command.objects.count) == 1


async def test_one_too_many_may_be_tried_again(bob: User, pump: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuing, "MAX_WAITING", 1)
    async with signed_in(bob) as live:
        await give(live)
        await live.until("ok")
        await give(live)
        error = await live.until("err")
        assert (error["code"], error["retry"]) == ("too_many_waiting", True)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"args": "perhaps"}, "bad_args"),
        ({"name": "explode"}, "command_unknown"),
        ({"name": "setpoint", "args": 10**400}, "bad_args"),
        ({"ttl_s": 0}, "invalid"),
        ({"ttl_s": 10**30}, "invalid"),
    ],
)
async def test_a_wrong_command_is_refused_and_the_socket_lives(
    bob: User, pump: Device, fields: dict[str, Any], code: str
) -> None:
    async with signed_in(bob) as live:
        await give(live, **fields)
        assert (await live.until("err"))["code"] == code
        await live.words()


@pytest.mark.parametrize("args", [10**400, {"a": [10**30]}, "\x00", {"\x00": 1}, [[[[[[[[[[[[1]]]]]]]]]]]]])
async def test_arguments_that_could_not_be_said_again_are_refused(bob: User, pump: Device, args: Any) -> None:
    await run(Device.objects.update, commands={})  # a device that announced nothing takes whatever is given
    async with signed_in(bob) as live:
        await give(live, args=args)
        assert (await live.until("err"))["code"] == "bad_args"
        await live.sub("pump-1")
        await live.until("live")


async def test_open_commands_are_shown_to_who_comes(bob: User, vera: User, pump: Device) -> None:
    async with signed_in(bob) as live:
        await give(live, args="off")
        ok = await live.until("ok")
    async with signed_in(vera) as live:
        await live.sub("pump-1")
        state = await live.until("cmd_state")
        assert (state["command"], state["state"], state["args"], state["by"]) == (ok["command"], "queued", False, "bob")
        await live.until("live")


async def test_a_state_that_no_doorbell_told_of_is_found(hub: Fanout, bob: User, pump: Device) -> None:
    def behind_our_back(cid: str) -> None:
        Command.objects.filter(pk=cid).update(state="sent", changed_at=reads.now_ms())
        CommandEvent.objects.create(command_id=cid, state="sent", at=reads.now_ms(), proof="the broker took it")

    async with signed_in(bob) as live:
        await give(live)
        cid = (await live.until("ok"))["command"]
        await live.words()
        await run(behind_our_back, cid)
        await hub.check_once()
        state = await live.until("cmd_state", lambda message: message["state"] == "sent")
        assert state["proof"] == "the broker took it"
        await hub.check_once()
        assert await live.words() == []


async def test_a_check_that_is_overtaken_by_a_doorbell_does_not_tell_what_was_before(
    hub: Fanout, bob: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_slowly(read: Any, *args: Any, **kwargs: Any) -> Any:
        found = await run(read, *args, **kwargs)
        if read is reads.changes:
            monkeypatch.setattr(reads, "run", run)
            await run(commands.cancel, cid, reads.now_ms(), "bob")
            await groups.announce(
                {"type": "device.state", "device": "pump-1", "presence": "online", "because": "new", "since": 9}
            )
            await settle()
        return found

    async with signed_in(bob) as live:
        await live.sub("pump-1")
        await give(live)
        cid = (await live.until("ok", lambda message: "command" in message))["command"]
        await live.words()
        monkeypatch.setattr(reads, "run", run_slowly)
        await hub.check_once()
        told = [message.get("state") or message.get("because") for message in await live.words()]
        assert told == ["cancelled", "new"]
