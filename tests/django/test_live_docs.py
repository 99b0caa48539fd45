"""docs/protocol/live.md is true: its messages are read by the hub, or have the fields of those that the hub sends."""

import re
from typing import Any, Literal

import msgspec
import pytest
from django.contrib.auth.models import User

from dashboard import protocol
from dashboard.fanout import Fanout
from devices import groups
from devices.models import Device, Fleet, Frame, Head, Membership
from hub.env import CHECKOUT
from tests.django.live import NOW, publish, run, signed_in, store

pytest_plugins = ("tests.django.live_fixtures",)

PAGE = (CHECKOUT / "docs/protocol/live.md").read_text(encoding="utf-8")
TOLD = ("ok", "data", "live", "lag", "gap", "state", "cmd_state", "fleet", "err", "end", "welcome", "pong", "hub")


def examples(who: Literal["client", "hub"]) -> list[str]:
    blocks = re.findall(rf"^```json {who}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("text", examples("client"))
def test_a_clients_example_is_read(text: str) -> None:
    protocol.parse(text.replace("…", ""))


def test_each_message_has_an_example() -> None:
    assert {msgspec.json.decode(text)["type"] for text in examples("client")} == set(protocol.FORMS)
    assert {msgspec.json.decode(text)["type"] for text in examples("hub")} == set(TOLD)


def shape(message: dict[str, Any]) -> object:
    """What a message looks like: its fields, and inside of devices those of the first one."""
    fields = set(message) - {"more"}
    inner = message.get("devices")
    first = next(iter(inner.values())) if isinstance(inner, dict) and inner else None
    limits = message.get("limits")
    return fields, set(first) if isinstance(first, dict) else type(first), set(limits) if limits else None


@pytest.mark.django_db(transaction=True)
async def test_the_hub_says_what_the_page_shows(
    hub: Fanout, bob: User, pump: Device, greenhouse: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store("pump-1", 3)
    await run(Frame.objects.filter(seq=1).delete)
    async with signed_in(bob) as live:
        await live.words()
        await live.sub("nobody")
        await live.until("err")
        await live.sub("pump-1", since={"cursor": {"pump-1": 0}})
        await live.until("live")
        pulse = {"hearing": True, "holding_since": NOW, "held": 1, "because": "its disk is full", "at": NOW}
        await groups.announce({"type": "hub.pulse", "bridge": "main", **pulse})  # type: ignore[typeddict-item]
        await live.until("hub")
        await live.say("cmd", id="c", device="pump-1", name="relay", args="on")
        await live.until("cmd_state")
        monkeypatch.setattr(protocol, "MAX_BEHIND", 1)
        await publish("pump-1", 3)
        await live.until("lag")
        await live.until_row(6)
        await live.say("sub", id="f", fleet="greenhouse")
        await live.until("fleet")
        await run(Head.objects.filter(pk=pump.pk).delete)
        await hub.check_once()
        await run(Membership.objects.all().delete)
        await hub.check_once()
        await live.until("end")
    said = [shape(message) for message in live.heard]
    for text in examples("hub"):
        assert shape(msgspec.json.decode(text)) in said, text


def test_the_page_has_the_limits_that_hold() -> None:
    welcome = next(text for text in examples("hub") if '"welcome"' in text)
    shown, real = msgspec.json.decode(welcome), msgspec.json.decode(protocol.welcome("alice", 1_790_000_000_000))
    assert shown == real
    numbers = [value for name, value in vars(protocol.Close).items() if not name.startswith("_")]
    assert all(f"| {number} |" in PAGE for number in numbers)
