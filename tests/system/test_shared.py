"""Several bridges side by side: on Mosquitto's shared subscriptions, and on topics dealt out as a cluster does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import pytest

from bridge import mqtt
from bridge.book import Book
from bridge.listener import Listener
from bridge.threads import Threads
from devices import registry
from devices.dialects import native
from devices.intake import Stored
from devices.models import Fleet, Frame, Head, Metric
from tests import services
from tests.hub import Production, eventually, running_production
from tests.system.clients import Paho
from tests.system.stands import PATIENCE_S, Stand
from tests.system.test_standby import publishing

KEYS: Final = ("pump-1", "pump-2", "pump-3")
COUNT: Final = 200


@pytest.fixture
async def book(ask: Callable[..., Any]) -> AsyncIterator[Book]:
    def prepare() -> None:
        fleet = Fleet.objects.create(slug="greenhouse", name="Greenhouse")
        for key in KEYS:
            registry.create(key, fleet)

    await ask(prepare)
    threads = Threads("book", 1)
    made = Book(None, threads)
    await made.reload()
    yield made
    threads.end()


class Counting(Listener):
    """A bridge's listener that counts what it has stored."""

    def __init__(self, broker: Stand, name: str, book: Book) -> None:
        self.frames = 0
        super().__init__(mqtt.MqttUrl.parse(broker.service.url), f"Bridge-{name}-in", book, self.count)

    async def count(self, stored: Stored) -> None:
        self.frames += stored.frames


@asynccontextmanager
async def listening(*listeners: Counting) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for listener in listeners:
            tasks.create_task(listener.run())
            stack.callback(listener.stop)
        async with asyncio.timeout(PATIENCE_S):
            for listener in listeners:
                await listener.ready.wait()
        yield


async def until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await look():  # noqa: ASYNC110  rows ring no bell
            await asyncio.sleep(0.02)


@pytest.mark.django_db(transaction=True)
async def test_of_a_share_each_message_is_stored_by_one(
    broker: Stand, book: Book, ask: Callable[..., Any], settings: Any
) -> None:
    settings.BRIDGE_SHARE = "hub"
    one, two = Counting(broker, "one", book), Counting(broker, "two", book)
    async with broker.hub(identifier="device") as device, listening(one, two):
        for number in range(COUNT):
            await device.publish(f"hub/{KEYS[number % 3]}/telemetry/n", str(number))
        await until(lambda: ask(lambda: Frame.objects.count() >= COUNT))
    assert await ask(lambda: sorted(frame.values["n"] for frame in Frame.objects.all())) == list(range(COUNT))
    assert one.frames + two.frames == COUNT
    assert min(one.frames, two.frames) > 0, "Mosquitto deals them out in turn"


@pytest.mark.django_db(transaction=True)
async def test_what_is_kept_at_the_broker_reaches_each_bridge_of_a_share(
    broker: Stand, book: Book, ask: Callable[..., Any], settings: Any
) -> None:
    """Shared subscriptions get no retained messages (MQTT 5, 4.8.2; Mosquitto does as much for 3.1.1)."""
    settings.BRIDGE_SHARE = "hub"
    async with broker.hub(identifier="device") as device:
        await device.publish("hub/pump-1/status", "online", retain=True)
        await device.publish("hub/pump-1/meta", '{"metrics": {"flow": {"unit": "l/s"}}}', retain=True)
    async with listening(Counting(broker, "late", book)):
        await until(lambda: ask(lambda: Head.objects.filter(device__key="pump-1", presence="online").exists()))
        await until(lambda: ask(lambda: Metric.objects.filter(name="flow", unit="l/s").exists()))


@pytest.mark.django_db(transaction=True)
async def test_a_bridge_that_joins_a_share_hears_no_longer_what_it_heard_alone(
    broker: Stand, book: Book, ask: Callable[..., Any], settings: Any
) -> None:
    """The session remembers its old subscription, and what was queued for it."""
    async with broker.hub(identifier="device") as device:
        async with listening(Counting(broker, "main", book)):
            await device.publish("hub/pump-1/telemetry/n", "1")
        await device.publish("hub/pump-1/telemetry/n", "2")
        settings.BRIDGE_SHARE = "hub"
        async with listening(Counting(broker, "main", book), Counting(broker, "two", book)):
            for number in range(3, COUNT):
                await device.publish("hub/pump-1/telemetry/n", str(number))
            await until(lambda: ask(lambda: Frame.objects.count() >= COUNT - 1))
    assert await ask(lambda: sorted(frame.values["n"] for frame in Frame.objects.all())) == list(range(1, COUNT))


@pytest.mark.django_db(transaction=True)
async def test_where_topics_are_dealt_out_each_devices_order_is_kept(
    broker: Stand, book: Book, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cluster does that hashes by topic: all of a device goes to one bridge, and to another than another's."""
    one, two = Counting(broker, "one", book), Counting(broker, "two", book)
    dealt = iter([("hub/pump-1/#", "hub/pump-3/#"), ("hub/pump-2/#",)])
    monkeypatch.setattr(native, "filters", lambda _share: next(dealt))
    async with broker.hub(identifier="device") as device, listening(one, two):
        for number in range(COUNT):
            for key in KEYS:
                await device.publish(f"hub/{key}/telemetry/n", str(number))
        await until(lambda: ask(lambda: Frame.objects.count() >= 3 * COUNT))
    for key in KEYS:
        stored = await ask(
            lambda key=key: [f.values["n"] for f in Frame.objects.filter(device__key=key).order_by("seq")]
        )
        assert stored == list(range(COUNT))
    assert sorted([one.frames, two.frames]) == [COUNT, 2 * COUNT]


# --- as processes


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """Two bridges of a share, on everything that production has."""
    try:
        with running_production(tmp_path_factory.mktemp("shared"), bridges=2, BRIDGE_SHARE="hub") as running:
            yield running
    except services.Missing as missing:
        pytest.skip(str(missing))


def test_nothing_is_lost_and_nothing_doubled_and_accounts_are_kept_in_turn(shared: Production) -> None:
    with publishing(shared, "first") as first, publishing(shared, "second") as second:
        for _ in range(5):
            first.send(40)
            second.send(40)
        first.check()
        second.check()
    for bridge in shared.bridges:
        assert "cannot bring the broker's accounts" not in bridge.said()


def test_an_order_is_sent_by_one_of_them_and_its_answer_is_taken(shared: Production) -> None:
    device = shared.add_device("ordered")
    with Paho(shared, device) as client:
        client.said("status", "online", retain=True)
        eventually(lambda: shared.ask("GET", f"devices/{device.key}/")["presence"]["state"] == "online")
        for number in range(10):
            given = shared.ask("POST", f"devices/{device.key}/commands/", json={"name": "led", "args": number})
            heard = client.heard()
            assert heard.topic == f"hub/{device.key}/cmd/led/{given['id']}"
            client.said(f"ack/{given['id']}", "ok")
            eventually(lambda cid=given["id"]: shared.ask("GET", f"commands/{cid}/")["state"] == "succeeded")
        assert client._inbox.empty(), "each order came once"


def test_presence_is_what_was_said_last(shared: Production) -> None:
    """Each of them hears each announcement, once or twice: to say it again changes nothing."""
    device = shared.add_device("present")
    with Paho(shared, device) as client:
        for word in ("online", "offline", "online"):
            client.said("status", word, retain=True)
            eventually(lambda word=word: shared.ask("GET", f"devices/{device.key}/")["presence"]["state"] == word)


def test_what_was_dealt_to_one_that_died_waits_for_it(shared: Production) -> None:
    with publishing(shared, "patient") as device:
        device.send(100)
        dead = shared.bridges[1]
        dead.kill()
        device.send(100)
        dead.start()
        device.send(100)
        device.check()
