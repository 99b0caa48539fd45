"""Every message of the live socket, and its twins, × another fleet's things, while that fleet lives on.

The kinds and their fields are read off the protocol: one that nothing here says fails.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, get_args

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient

from dashboard import protocol
from dashboard.fanout import Fanout
from devices import commands, desired, jobs, registry, standing
from devices.models import Device
from tests.django import canaries, routes
from tests.django.canaries import FOREIGN, MARK, NOTHING, OWN, Names
from tests.django.live import Live, by_token, publish, run, settle, signed_in
from tests.django.test_sse import Stream

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = pytest.mark.django_db(transaction=True)

NOW: Final = 1_790_000_000_000
# What a device has sent before.
FRAMES: Final = 3
# What it sends, and what happens to it, while others ask.
TURNS: Final = 6


def said(names: Names) -> dict[str, list[dict[str, Any]]]:
    """Return what can be said of what is called so: each kind, with all its fields, in each of its modes."""
    key, ours = names.key, OWN.key
    return {
        "hello": [{"token": names.token}],
        "sub": [
            {"devices": [key]},
            {"devices": [names.gateway, key]},
            {"devices": [ours, key]},
            {"devices": [key], "mode": "latest"},
            {"devices": [key], "metrics": [names.metric]},
            {"devices": [key], "since": {"last_s": 3600}},
            {"devices": [key], "since": {"cursor": {key: 1}}},
            {"devices": [key], "replay": {"from": NOW - 1000, "speed": 1000}},
            {"devices": [key], "replay": {"from": NOW - 1000, "to": NOW + 9000}},
            {"fleet": names.slug},
        ],
        "unsub": [{}],
        "cmd": [
            {
                "device": key,
                "name": "relay",
                "args": True,
                "ttl_s": 60,
                "key": "once",
                "reason": "why",
                "confirm": True,
            },
            {"device": key, "name": f"{names.metric}-order"},
        ],
        "call": [],  # below: each address
        "credit": [{"n": 1}],
        "path": [{}],
        "ping": [{}],
    }


@pytest.fixture
async def planted(hub: Fanout, db: None) -> dict[str, User]:
    """The two fleets, and who is in them."""

    def plant() -> dict[str, User]:
        canaries.plant(FOREIGN)
        canaries.plant(OWN)
        User.objects.create_user("stranger")
        return {user.username: user for user in User.objects.all()}

    people: dict[str, User] = await run(plant)
    return people


@asynccontextmanager
async def living(key: str) -> AsyncIterator[None]:
    """Have a device send, be renamed and be told things, all the while; until the end of it has been."""

    def once(turn: int) -> None:
        device = Device.objects.get(key=key)
        registry.change(device, {"name": f"{MARK}-name-{turn}"})
        commands.issue(device, "relay", True, user=None, now=NOW + turn, key=f"turn-{turn}")
        manager = User.objects.get(username=f"{MARK}-manager")
        jobs.start(jobs.Asked(fleet=device.fleet, name="relay", args=True), manager, NOW + turn)
        desired.want(device, {f"{MARK}-setting": f"{MARK}-{turn}"}, None, NOW + turn)
        standing.cut(device.pk, f"{MARK}-because-{turn}", NOW + turn)

    async def live(turn: int) -> None:
        await publish(key, 1, **{FOREIGN.metric: canaries.NUMBER + turn})
        await sync_to_async(once)(turn)

    async def go_on() -> None:
        for turn in range(1, TURNS):
            await live(turn)

    await live(0)
    async with asyncio.TaskGroup() as group:
        group.create_task(go_on())
        yield
    await settle()


async def heard(live: Live, kind: str, **fields: Any) -> list[dict[str, Any]]:
    """Say something, and return all that is said until it is answered."""
    before = len(live.heard)
    await live.say(kind, **fields)
    ends = {"answer", "err"} if kind == "call" else {"pong"}
    if kind not in {"call", "ping"}:
        await live.say("ping")
    while (await live.hear())["type"] not in ends:
        pass
    return live.heard[before:]


def renamed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was said of nothing as if it had been said of the foreign fleet."""
    text = json.dumps(messages)
    for name, instead in zip(NOTHING.values(), FOREIGN.values(), strict=True):
        text = text.replace(name, instead)
    found: list[dict[str, Any]] = json.loads(text)
    return found


def expect_nothing_foreign(messages: list[dict[str, Any]], words: object) -> None:
    told = canaries.foreign_words(json.dumps(messages), json.dumps(words))
    assert not told, (told, words, messages)


def test_each_kind_of_message_is_tried_with_each_of_its_fields() -> None:
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(protocol.ClientMessage)}
    table = said(FOREIGN)
    assert table.keys() == kinds.keys(), "say in said() what a message of this kind may name"
    for tag, kind in kinds.items():
        if tag != "call":
            tried = {field for one in table[tag] for field in one}
            assert tried == set(kind.__struct_fields__) - {"id"}, f"say in said() what {tag} may name in these fields"


@pytest.mark.parametrize("who", ["yours-manager", "stranger"])
async def test_what_is_anothers_is_answered_on_the_socket_like_none(who: str, planted: dict[str, User]) -> None:
    about, instead = said(FOREIGN), said(NOTHING)
    async with signed_in(planted[who]) as live, living(FOREIGN.key):
        pairs = [(kind, *pair) for kind in about for pair in zip(about[kind], instead[kind], strict=True)]
        for kind, fields, others in pairs:
            named = {} if kind in {"hello", "credit", "path", "ping"} else {"id": "a"}
            there = await heard(live, kind, **named, **fields)
            not_there = await heard(live, kind, **named, **others)
            expect_nothing_foreign(there, fields)
            if kind != "path":  # it counts
                assert there == renamed(not_there)
    expect_nothing_foreign(live.heard, about)


def changing() -> list[tuple[str, str, Any, Any]]:
    """Return what can be called: method, and the paths and bodies that name the foreign fleet, and nothing."""
    found = []
    for route in routes.routes():
        if not route.is_api or route.name == "stream":
            continue
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            if routes.described(route, method):
                found += [
                    (method, case.told, case.asked(FOREIGN, OWN), case.asked(NOTHING, OWN))
                    for case in routes.cases(route, method)
                ]
    return found


async def test_what_is_anothers_is_answered_to_calls_like_none(planted: dict[str, User]) -> None:
    before = await run(canaries.fingerprint)
    calls = [one for one in changing() if " " in one[1] and one[1] not in routes.TELLING]  # what names something
    assert len(calls) > 30
    headers = [(b"host", b"testserver"), *await run(by_token, planted["yours-manager"])]
    async with Live(headers) as live:
        await live.until("welcome")
        for method, _, *requests in calls:
            there, not_there = [
                await heard(
                    live, "call", id="k", method=method, path=request.target.removeprefix("/api/v1/"), body=request.body
                )
                for request in requests
            ]
            expect_nothing_foreign(there, requests[0].words)
            assert there == renamed(not_there)
            assert there[-1]["type"] == "answer"
    assert await run(canaries.fingerprint) == before


async def test_who_follows_their_own_hears_nothing_of_others(planted: dict[str, User]) -> None:
    viewer = planted["yours-viewer"]
    headers = await run(by_token, viewer)
    async with (
        signed_in(viewer) as live,
        Stream(f"device={OWN.key}&fleet={OWN.slug}", headers) as stream,
    ):
        await live.sub(OWN.key, OWN.gateway)
        await live.say("sub", id="f", fleet=OWN.slug)
        await live.until("fleet")
        await stream.until("live")
        client, sent = AsyncClient(), {"headers": {"authorization": headers[0][1].decode()}}
        polling = asyncio.create_task(client.get(f"/api/v1/devices/{OWN.key}/frames/?after=3&wait=20", **sent))
        async with living(FOREIGN.key):
            await live.words()
        await publish(OWN.key)
        await live.until_row(4, OWN.key)
        await stream.until_row(4, OWN.key)
        polled = await polling
    assert polled.json()["head"] == 4
    expect_nothing_foreign([*live.heard, *(event.message for event in stream.heard), polled.json()], "")


async def test_the_owner_hears_all_of_it(planted: dict[str, User]) -> None:
    async with signed_in(planted[f"{MARK}-manager"]) as live:
        for number, fields in enumerate(said(FOREIGN)["sub"]):
            if OWN.key in fields.get("devices", ()):
                continue
            answer = await heard(live, "sub", id=f"a{number}", **fields)
            assert canaries.foreign_words(json.dumps(answer), ""), fields
        answer = await heard(live, "cmd", id="c", **said(FOREIGN)["cmd"][0])
        assert "ok" in {message["type"] for message in answer}
        async with living(FOREIGN.key):
            pass
        await live.until_row(FRAMES + TURNS, FOREIGN.key, "a0")
