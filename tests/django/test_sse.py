"""Server-sent events: the live protocol's twin over plain HTTP, with the same messages and the same cursors."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.db import OperationalError, connections
from rest_framework.test import APIClient

from dashboard import protocol, reads, sender, sse
from dashboard.fanout import Fanout
from devices import registry
from devices.errors import Refusal
from devices.models import Device, Frame, Membership, Token
from hub.asgi import application
from tests import asyncapi
from tests.django.live import PATIENCE_S, Headers, by_cookie, by_token, publish, run, settle, signed_in, store

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub")]


class Event(NamedTuple):
    """One event, as it was written."""

    kind: str
    id: str
    message: dict[str, Any]


class Stream:
    """Reads a stream part by part, as the server is asked for them. What it does not read stays where it is."""

    def __init__(self, query: str, headers: Headers) -> None:
        path, method = "/api/v1/stream", "GET"
        scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "scheme": "http"}
        named = [*dict([(b"host", b"testserver"), *headers]).items()]
        self.room = asyncio.Semaphore(0)
        self.answer = ApplicationCommunicator(
            self._slowly, {**scope, "query_string": query.encode(), "headers": named, "client": ("127.0.0.1", 9)}
        )
        self.heard: list[Event] = []
        self.silences = 0
        self.status = 0

    async def _slowly(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve to one who takes one part after the other."""

        async def sent(message: Any) -> None:
            await send(message)
            if message.get("more_body"):
                await self.room.acquire()

        await application(scope, receive, sent)

    async def __aenter__(self) -> Self:
        await self.answer.send_input({"type": "http.request", "body": b"", "more_body": False})
        start = await self.answer.receive_output(PATIENCE_S)
        self.status = start["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.answer.future.done():
            await self.answer.send_input({"type": "http.disconnect"})
            await self.answer.wait(PATIENCE_S)

    async def part(self) -> str:
        """Take one event, or comment: what is long comes in pieces."""
        text = ""
        while not text.endswith("\n\n"):
            message = await self.answer.receive_output(PATIENCE_S)
            assert message["type"] == "http.response.body"
            if not message.get("more_body"):
                raise StopAsyncIteration
            self.room.release()
            text += message["body"].decode()
        return text

    async def next(self) -> Event:
        while True:
            text = await self.part()
            if text.startswith("retry: "):
                assert 1000 <= int(text.removeprefix("retry: ")) <= 5000
            elif text == ":\n\n":
                self.silences += 1
            else:
                break
        fields = dict(line.split(": ", 1) for line in text.strip().split("\n"))
        event = Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
        assert event.message["type"] == event.kind
        asyncapi.expect("hub", event.message)
        self.heard.append(event)
        return event

    async def until(self, kind: str) -> Event:
        while (event := await self.next()).kind != kind:
            pass
        return event

    async def until_row(self, seq: int, key: str = "pump-1") -> list[int]:
        while seq not in self.rows(key):
            await self.next()
        return self.rows(key)

    def rows(self, key: str = "pump-1") -> list[int]:
        parts = [one.message["devices"].get(key, {"frames": []}) for one in self.heard if one.kind == "data"]
        return [row[0] for part in parts for row in part["frames"]]

    async def over(self) -> list[str]:
        """Read to the end; return the kinds of what came."""
        before = len(self.heard)
        try:
            while True:
                await self.next()
        except StopAsyncIteration:
            return [event.kind for event in self.heard[before:]]


@asynccontextmanager
async def stream(user: User, query: str, *headers: tuple[bytes, bytes]) -> AsyncIterator[Stream]:
    async with Stream(query, [*await run(by_token, user), *headers]) as opened:
        assert opened.status == 200, await opened.answer.receive_output(PATIENCE_S)
        yield opened


async def test_history_then_live_as_on_the_socket(vera: User, pump: Device) -> None:
    await store("pump-1", 3)
    async with signed_in(vera) as socket:
        await socket.sub("pump-1", id="devices", since={"cursor": {"pump-1": 1}})
        await socket.until("live")
    async with stream(vera, "device=pump-1&cursor=pump-1:1") as live:
        await live.until("live")
        assert [one.message for one in live.heard] == socket.heard[1:]  # but for the welcome
        assert [(one.kind, one.id) for one in live.heard] == [
            ("ok", "pump-1:1"),
            ("state", ""),
            ("device", ""),
            ("data", "pump-1:3"),
            ("live", ""),
        ]
        await publish("pump-1", 2)
        assert await live.until_row(5) == [2, 3, 4, 5]
        assert live.heard[-1].id == "pump-1:5"
        assert live.headers["content-type"].startswith("text/event-stream")
        assert live.headers["cache-control"] == "no-store"


async def test_who_comes_back_with_the_last_id_gets_what_was_missed(vera: User, pump: Device, alice: User) -> None:
    await run(registry.create, "pump-2", pump.fleet)
    await store("pump-1", 2)
    await store("pump-2", 2)
    query = "device=pump-1&device=pump-2&since_s=0"
    async with stream(vera, query) as live:
        await live.until("live")
        await publish("pump-2", 1)
        await live.until_row(3, "pump-2")
        last = live.heard[-1].id
        assert last == "pump-1:2,pump-2:3"
    await store("pump-1", 2)
    await store("pump-2", 1)
    async with stream(vera, query, (b"last-event-id", last.encode())) as live:
        assert (await live.until("ok")).message["recovered"] is True
        await live.until("live")
        assert (live.rows("pump-1"), live.rows("pump-2")) == ([3, 4], [4])


async def test_what_cannot_be_had_is_told(vera: User, pump: Device) -> None:
    await store("pump-1", 4)
    await Frame.objects.filter(seq__lte=3).adelete()
    async with stream(vera, "device=pump-1&cursor=pump-1:1") as live:
        gap = (await live.until("gap")).message
        assert (gap["from"], gap["to"], gap["cause"]) == (2, 3, "retention")
        assert await live.until_row(4) == [4]


async def test_only_what_is_asked_for_comes(vera: User, pump: Device) -> None:
    async with stream(vera, "device=pump-1&metrics=a&metrics=b%2Cc&mode=latest") as live:
        await live.until("live")
        await publish("pump-1", 1, **{"a": 1, "b,c": 2, "d": 3})
        [row] = (await live.until("data")).message["devices"]["pump-1"]["frames"]
        assert row[2] == {"a": 1, "b,c": 2}


async def test_presence_and_registration_come_as_they_change(hub: Fanout, vera: User, pump: Device) -> None:
    async with stream(vera, "device=pump-1") as live:
        assert (await live.until("state")).message["presence"] == "never"
        await live.until("live")
        await publish("pump-1")
        assert (await live.until("state")).message["presence"] == "online"
        await run(registry.change, pump, {"name": "Pump one"})
        assert (await live.until("device")).message["name"] == "Pump one"


async def test_a_fleet_is_followed_alone_or_beside_devices(vera: User, pump: Device) -> None:
    await store("pump-1", 2)
    async with stream(vera, "fleet=greenhouse") as live:
        assert (await live.until("fleet")).message["devices"]["pump-1"]["seq"] == 2
        assert [one.id for one in live.heard] == ["", ""]
    async with stream(vera, "fleet=greenhouse&device=pump-1") as live:
        await live.until("fleet")
        assert [one.message["id"] for one in live.heard if one.kind == "ok"] == ["devices", "fleet"]


async def test_credit_comes_back_by_itself(vera: User, pump: Device, no_pace: None) -> None:
    async with stream(vera, "device=pump-1") as live:
        await live.until("live")
        for index in range(2 * protocol.CREDIT):
            await publish("pump-1")
            assert (await live.until_row(index + 1))[-1] == index + 1
        assert live.rows() == list(range(1, 2 * protocol.CREDIT + 1))


# --- who may


async def refused(query: str, headers: Headers) -> tuple[int, dict[str, Any]]:
    async with Stream(query, headers) as answer:
        body = await answer.answer.receive_output(PATIENCE_S)
        return answer.status, json.loads(body["body"])


async def test_whoever_is_not_signed_in_is_refused_as_by_rest(pump: Device) -> None:
    status, body = await refused("device=pump-1", [])
    assert (status, body["code"]) == (401, "not_authenticated")
    status, body = await refused("device=pump-1", [(b"authorization", b"Token x")])
    assert (status, body["code"]) == (401, "not_authenticated")


async def test_a_session_opens_it_too(vera: User, pump: Device) -> None:
    headers = await run(by_cookie, vera, accept="text/event-stream")
    async with Stream("device=pump-1", headers) as live:
        assert live.status == 200
        await live.until("live")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("device=pump-1", "device_unknown"),
        ("fleet=greenhouse", "fleet_unknown"),
        ("device=kettle&device=%20-", "device_unknown"),
    ],
)
async def test_what_may_not_be_seen_is_refused_before_it_begins(
    query: str, code: str, charlie: User, pump: Device, kettle: Device
) -> None:
    status, body = await refused(query, await run(by_token, charlie))
    assert (status, body["code"]) == (404, code)


MANY = "&".join(f"device=d{index}" for index in range(sse.MAX_DEVICES + 1))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "device"),
        ("device=pump-1&since_s=-1", "since_s"),
        ("device=pump-1&since_s=5&cursor=pump-1:5", "cursor"),
        ("device=pump-1&cursor=pump-1", "cursor"),
        ("device=pump-1&cursor=pump-2:5", "cursor"),
        (f"device=pump-1&cursor=pump-1:{2**63}", "cursor"),
        ("device=pump-1&mode=some", "mode"),
        ("device=pump-1&sicne=5", "sicne"),
        (MANY, "device"),
    ],
)
async def test_a_wrong_parameter_is_named(query: str, field: str, vera: User, pump: Device) -> None:
    status, body = await refused(query, await run(by_token, vera))
    assert (status, body["code"]) == (400, "invalid")
    assert field in json.dumps(body["fields"])


async def test_it_can_only_be_read(vera: User) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=(await run(by_token, vera))[0][1].decode())
    answer = await run(client.post, "/api/v1/stream", {})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_a_withdrawn_permission_ends_it(hub: Fanout, vera: User, pump: Device) -> None:
    async with stream(vera, "device=pump-1&fleet=greenhouse") as live:
        await live.until("fleet")
        await Membership.objects.filter(user=vera).adelete()
        assert [one for one in await live.over() if one == "end"] == ["end", "end"]
    assert not hub.sessions


async def test_a_deleted_token_ends_it(hub: Fanout, vera: User, pump: Device) -> None:
    async with stream(vera, "device=pump-1") as live:
        await live.until("live")
        await Token.objects.all().adelete()
        assert "data" not in await live.over()


# --- coming and going


async def test_silence_is_filled_with_a_comment(vera: User, pump: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.01)
    async with stream(vera, "device=pump-1") as live:
        await live.until("live")
        assert await live.part() == ":\n\n"
        assert await live.part() == ":\n\n"
        await publish("pump-1")
        await live.until_row(1)


async def test_who_watches_holds_no_connection_to_the_database(
    vera: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, initial = [], sse.Stream.initial

    def remembered(view: Any, *args: Any) -> None:
        initial(view, *args)
        opened.append(connections["default"])  # this thread's

    monkeypatch.setattr(sse.Stream, "initial", remembered)
    async with stream(vera, "device=pump-1") as live:
        await live.until("live")
        assert [one.connection for one in opened] == [None]


async def test_who_goes_leaves_nothing_behind(hub: Fanout, vera: User, pump: Device) -> None:
    async with stream(vera, "device=pump-1&fleet=greenhouse") as live:
        await live.until("fleet")
        assert hub.sessions
    assert not hub.sessions
    assert not hub.feeds["pump-1"].subscribers
    assert not hub.fleets["greenhouse"].followers
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "event stream"]


async def test_who_goes_before_the_first_event_leaves_nothing_behind(hub: Fanout, vera: User, pump: Device) -> None:
    async with stream(vera, "device=pump-1"):
        pass
    assert not hub.sessions
    assert "pump-1" not in hub.feeds or not hub.feeds["pump-1"].subscribers


async def test_a_reader_that_stops_costs_little_and_catches_up(
    hub: Fanout, vera: User, pump: Device, no_pace: None
) -> None:
    async with stream(vera, "device=pump-1") as live:
        await live.until("live")
        await publish("pump-1")
        [visitor] = hub.sessions
        await live.answer.receive_output(PATIENCE_S)  # the part is taken off the wire, but no room is made for more
        for _ in range(50):
            await publish("pump-1", 10, note="x" * 1000)
            await settle()
        assert isinstance(visitor, sse.Visitor)
        assert visitor.sender._waiting < 20_000
        live.room.release()
        assert (await live.until_row(501))[-500:] == list(range(2, 502))


async def test_a_reader_that_takes_nothing_is_cut_off(
    hub: Fanout, vera: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CREDIT_TIMEOUT_S", 0.1)
    async with stream(vera, "device=pump-1") as live:
        await live.until("live")
        await publish("pump-1")
        await live.answer.receive_output(PATIENCE_S)
        await publish("pump-1", 2)
        [visitor] = hub.sessions
        assert isinstance(visitor, sse.Visitor)
        async with asyncio.timeout(PATIENCE_S):
            while visitor.sender.closing is None:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)
        live.room.release()
        assert await live.over() == []
    assert not hub.sessions


async def test_a_device_that_goes_while_it_begins_is_an_error_in_it(
    vera: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise Refusal("device_unknown", "gone", 404)

    def away(*_: Any) -> None:
        raise OperationalError("no connection")

    for failing, code in ((gone, "device_unknown"), (away, "unavailable")):
        monkeypatch.setattr(reads, "_standings", failing)
        async with stream(vera, "device=pump-1") as live:
            assert (await live.until("err")).message["code"] == code
            assert await live.over() == []


async def test_who_is_signed_out_and_takes_nothing_is_cut_off(hub: Fanout, vera: User, pump: Device) -> None:
    async with stream(vera, "device=pump-1") as live:
        await live.until("live")
        [visitor] = hub.sessions
        assert isinstance(visitor, sse.Visitor)
        cut = asyncio.Event()
        visitor.pipe._abandon = cut.set
        await publish("pump-1")
        await live.answer.receive_output(PATIENCE_S)  # and makes no room for more
        await run(lambda: User.objects.filter(pk=vera.pk).update(is_active=False))
        async with asyncio.timeout(PATIENCE_S):
            await cut.wait()
        live.room.release()
        assert await live.over() == []


async def test_what_goes_wrong_behind_a_good_beginning_is_told(
    vera: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr(sender, "PARTING_S", PATIENCE_S)
    monkeypatch.setattr(reads, "marks", away)
    async with stream(vera, "device=pump-1&fleet=greenhouse") as live:
        assert (await live.until("err")).message["code"] == "unavailable"
        assert await live.over() == []
