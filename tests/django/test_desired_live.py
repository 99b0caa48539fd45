"""Settings over REST and the live socket: who may, what is answered, what those who watch are told, and when."""

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from dashboard import reads
from dashboard.fanout import Fanout
from devices import desired, learning, tokens, wire
from devices.models import Device, Setting
from tests.django.live import NOW, Live, run, settle, signed_in

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/v1/devices/pump-1/settings/"
SPECS = {"interval_s": {"type": "number", "min": 1, "max": 3600, "unit": "s"}}


def learn() -> None:
    learning.learn(wire.Announce(device="pump-1", settings=SPECS))


def reports(**kept: Any) -> None:
    desired.report([wire.Report(device="pump-1", values=kept, received_at=NOW)], NOW)


async def ringing(what: Any, *args: Any, **kwargs: Any) -> None:
    """Do it in a thread from which it can ring."""
    await sync_to_async(what)(*args, **kwargs)


def names(message: dict[str, Any]) -> list[str]:
    return [row["name"] for row in message["settings"]]


# --- REST


def test_what_is_announced_is_listed_before_anybody_wants_it(vera: User, pump: Device, api: Any) -> None:
    learn()
    assert api(vera).get(URL).json() == {
        "version": 0,
        "settings": [
            {
                "name": "interval_s", "spec": SPECS["interval_s"], "desired": None, "reported": None, "version": 0,
                "answered": 0, "by": "", "at": None, "sent_at": None, "reported_at": None, "state": "own",
            }
        ],
    }  # fmt: skip


def test_an_operator_changes_one_and_the_others_stay(bob: User, pump: Device, api: Any) -> None:
    client = api(bob)
    client.patch(URL, {"desired": {"a": 1, "b": 2}})
    told = client.patch(URL, {"desired": {"a": None}, "version": 1}).json()
    assert told["version"] == 2
    assert [(row["name"], row["desired"], row["by"]) for row in told["settings"]] == [
        ("a", None, "bob"),
        ("b", 2, "bob"),
    ]


def test_a_conflict_names_who_changed_what(alice: User, bob: User, pump: Device, api: Any) -> None:
    api(alice).patch(URL, {"desired": {"a": 1}})
    refused = api(bob).patch(URL, {"desired": {"a": 2}, "version": 0})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert refused.json()["fields"]["a"].startswith("was set to 1 by alice at ")


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"desired": {}}, {"desired": None}, {"desired": [1]}, {"desired": {"a": {}}}, {"desired": {"a+": 1}},
        {"desired": {"a": 1}, "version": -1}, {"desired": {"a": 1}, "version": "x"}, {"desired": {"a": 1}, "x": 1},
    ],
)  # fmt: skip
def test_what_is_no_change_is_refused(bob: User, pump: Device, api: Any, asked: Any) -> None:
    refused = api(bob).patch(URL, asked)
    assert (refused.status_code, refused.json()["code"]) in [(400, "invalid"), (400, "bad_value")]
    assert not Setting.objects.exists()


# --- the live socket


async def test_who_watches_is_told_all_first_and_then_what_changes(hub: Fanout, vera: User, pump: Device) -> None:
    await run(learn)
    await run(reports, interval_s=10, mode="eco")
    async with signed_in(vera) as live:
        await live.sub("pump-1")
        first = await live.until("settings")
        assert (first["device"], first["version"], names(first)) == ("pump-1", 0, ["interval_s", "mode"])
        await ringing(desired.want, pump, {"interval_s": 30}, None, NOW)
        told = await live.until("settings")
        assert (told["version"], names(told), told["settings"][0]["state"]) == (1, ["interval_s"], "waiting")
        await ringing(reports, interval_s=30)
        assert (await live.until("settings"))["settings"][0]["state"] == "kept"


async def test_a_device_without_settings_is_told_nothing_of_them(hub: Fanout, vera: User, pump: Device) -> None:
    async with signed_in(vera) as live:
        await live.sub("pump-1")
        await live.until("live")
        assert "settings" not in {message["type"] for message in live.heard}
        await ringing(learn)
        assert names(await live.until("settings")) == ["interval_s"]


async def test_the_check_finds_what_no_doorbell_told_of(hub: Fanout, vera: User, pump: Device) -> None:
    async with signed_in(vera) as live:
        await live.sub("pump-1")
        await live.until("live")
        # Past the service: nothing rings.
        row = {"device": pump, "name": "a", "desired": 1, "version": 1, "by": "bob", "at": reads.now_ms()}
        await run(Setting.objects.create, **row)
        await hub.check_once()
        assert names(await live.until("settings")) == ["a"]
        await hub.check_once()
        assert await live.words() == []


async def test_strangers_and_replays_are_told_nothing(
    hub: Fanout, charlie: User, vera: User, pump: Device, kettle: Device
) -> None:
    await run(reports, a=1)
    async with signed_in(charlie) as stranger, signed_in(vera) as live:
        await stranger.sub("kettle")
        await stranger.until("live")
        await live.sub("pump-1", replay={"from": NOW, "to": NOW + 1000, "speed": 1000})
        await live.until("end")
        await ringing(desired.want, pump, {"a": 2}, None, NOW)
        await settle()
        assert [message["type"] for message in await stranger.words()] == []
        assert "settings" not in {message["type"] for message in live.heard}


async def test_who_follows_a_link_is_told_nothing_of_settings(
    hub: Fanout, alice: User, vera: User, pump: Device
) -> None:
    await run(reports, a=1)
    _, secret = await run(tokens.share, alice, [pump], "For the plumber", timedelta(days=1))
    async with Live() as visitor, signed_in(vera) as live:
        await visitor.say("hello", token=secret)
        await visitor.until("welcome")
        for one in (visitor, live):
            await one.sub("pump-1")
            await one.until("live")
        await ringing(desired.want, pump, {"a": 2}, None, NOW)
        await live.until("settings", lambda message: message["version"] == 1)
        assert "settings" not in {message["type"] for message in [*visitor.heard, *await visitor.words()]}
