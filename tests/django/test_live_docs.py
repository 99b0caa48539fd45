"""docs/protocol/live.md is true: its messages are read by the hub, or have the fields of those that the hub sends."""

import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from django.contrib.auth.models import User

from dashboard import protocol
from dashboard.fanout import Fanout
from devices import groups
from devices.models import Device, Fleet, Frame
from hub.env import CHECKOUT
from tests import asyncapi
from tests.django.live import NOW, Live, publish, run, signed_in, store

pytest_plugins = ("tests.django.live_fixtures",)

PAGE = (CHECKOUT / "docs/protocol/live.md").read_text(encoding="utf-8")
PAGES = sorted((CHECKOUT / "docs/protocol").glob("*.md"))


def examples(who: Literal["client", "hub"]) -> list[str]:
    blocks = re.findall(rf"^```json {who}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("text", examples("client"))
def test_a_clients_example_is_read(text: str) -> None:
    protocol.parse(text)


@pytest.mark.parametrize("who", ["client", "hub"])
def test_each_message_has_an_example_and_each_is_as_asyncapi_says(who: Literal["client", "hub"]) -> None:
    shown = [msgspec.json.decode(text) for text in examples(who)]
    assert {message["type"] for message in shown} == set(asyncapi.of_type(who))
    for message in shown:
        asyncapi.expect(who, message)


def shape(message: dict[str, Any]) -> object:
    """What a message looks like: its fields, and inside of devices those of the first one."""
    fields = set(message) - {"more"}
    inner = message.get("devices")
    first = next(iter(inner.values())) if isinstance(inner, dict) and inner else None
    limits = message.get("limits")
    return fields, set(first) if isinstance(first, dict) else type(first), set(limits) if limits else None


@pytest.mark.django_db(transaction=True)
async def test_the_hub_says_what_the_page_shows(
    hub: Fanout, alice: User, pump: Device, greenhouse: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store("pump-1", 3)
    await run(Frame.objects.filter(seq=1).delete)
    async with signed_in(alice) as live:
        await watch(live, monkeypatch)
        await change(live)
        await live.say("sub", id="f", fleet="greenhouse")
        await live.until("fleet")
        await run(pump.delete)
        await hub.check_once()
        live.heard, before = [], live.heard
        await all_of(live, "fleet", "end")
    said = [shape(message) for message in [*before, *live.heard]]
    for text in examples("hub"):
        assert shape(msgspec.json.decode(text)) in said, text


async def all_of(live: Live, *kinds: str) -> None:
    """Take messages until there was one of each of these types, in any order."""
    while not {message["type"] for message in live.heard}.issuperset(kinds):
        await live.hear()


async def watch(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """History with a gap, live, a lag, a replay."""
    await live.words()
    await live.sub("nobody")
    await live.until("err")
    await live.sub("pump-1", since={"cursor": {"pump-1": 0}})
    await live.until("live")
    await publish("pump-1")
    await live.until_row(4)
    monkeypatch.setattr(protocol, "MAX_BEHIND", 1)
    await publish("pump-1", 3)
    await live.until("lag")
    await live.until_row(7)
    await live.sub("pump-1", id="r", replay={"from": NOW, "to": NOW + 60_000, "speed": 1000})
    await live.until("end")


async def change(live: Live) -> None:
    """A command, a call, a bridge that cannot store, and what of it is told."""
    await live.say("cmd", id="c", device="pump-1", name="relay", args="on")
    await live.until("cmd_state")
    await live.say("call", id="k", method="PATCH", path="devices/pump-1/", body={"name": "Pump one"})
    await all_of(live, "answer", "device")
    await live.say(
        "call", id="s", method="PATCH", path="devices/pump-1/settings/", body={"desired": {"interval_s": 30}}
    )
    await live.until("settings")
    pulse = {"hearing": True, "holding_since": NOW, "held": 1, "because": "its disk is full", "at": NOW}
    await groups.announce({"type": "hub.pulse", "bridge": "main", **pulse})  # type: ignore[typeddict-item]
    await live.until("hub")
    await live.say("path")
    await live.until("path")


def test_the_page_has_the_limits_that_hold() -> None:
    welcome = next(text for text in examples("hub") if '"welcome"' in text)
    shown, real = msgspec.json.decode(welcome), msgspec.json.decode(protocol.welcome("alice", 1_790_000_000_000))
    assert shown == real
    numbers = [value for name, value in vars(protocol.Close).items() if not name.startswith("_")]
    assert all(f"| {number} |" in PAGE for number in numbers)


def test_the_events_on_the_page_are_messages_with_the_cursor_behind_them() -> None:
    (block,) = re.findall(r"^```\n(event: .*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
    for event in block.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in event.splitlines())
        message = msgspec.json.decode(fields["data"])
        asyncapi.expect("hub", message)
        assert message["type"] == fields["event"]
        if message["type"] == "data":
            cursor = [f"{key}:{part['frames'][-1][0]}" for key, part in message["devices"].items()]
            assert fields["id"] == ",".join(cursor)


def test_the_page_has_the_codes_of_asyncapi() -> None:
    (err,) = asyncapi.of_type("hub")["err"]
    table = PAGE.split("\n## Errors\n")[1].split("\n## ")[0]
    rows = "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == set(err.schema["properties"]["code"]["enum"])
    closed = {code for code in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE) for code in code.split(", ")}
    assert closed - {"1006"} == set(asyncapi.document()["channels"]["live"]["x-close-codes"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, _, heading in (target.partition("#") for target in re.findall(r"\]\(([^)]+)\)", text)):
        if file.startswith(("/", "http")):
            continue
        other = page.parent / file if file else page
        assert other.is_file(), file
        headings = [
            re.sub(r"[^\w -]", "", line).strip().lower() for line in other.read_text().splitlines() if "#" in line
        ]
        assert not heading or heading.replace("-", " ") in headings, heading
