"""The listener between a connection and a real database: what is charged, held, acknowledged and stored."""

import threading
from collections.abc import AsyncIterator, Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from bridge import mqtt
from bridge.book import Book
from bridge.listener import MOST, Listener
from bridge.mqtt import inbound as inbound_module
from bridge.threads import Threads, now_ms
from devices import registry, wire
from devices.intake import Stored
from devices.models import Event, Fleet, Frame, Reject

pytestmark = pytest.mark.django_db(transaction=True)

URL = mqtt.MqttUrl.parse("mqtt://hub:secret@127.0.0.1:1")


class Connection:
    """Stands where the connection stands."""

    def __init__(self, *, caught_up: bool = True) -> None:
        self.caught_up = caught_up
        self.waiting = 0
        self.acknowledged: list[wire.Message] = []

    def ack(self, messages: Iterable[wire.Message]) -> None:
        self.acknowledged += messages


@pytest.fixture
async def told() -> list[Stored]:
    return []


@pytest.fixture
async def listener(settings: Any, ask: Callable[..., Any], told: list[Stored]) -> AsyncIterator[Listener]:
    """A listener that knows one device, which may send 10 frames a second and 20 at once."""
    settings.HUB_RATE, settings.HUB_BURST = 10, 20
    await ask(lambda: registry.create("tank", Fleet.objects.create(slug="cellar", name="Cellar")))
    threads = Threads("test-book", 1)
    book = Book(None, threads)
    await book.reload()

    async def tell(stored: Stored) -> None:
        told.append(stored)

    made = Listener(URL, "nobody", book, tell)
    yield made
    made._thread.end()
    threads.end()


def message(payload: str, level: str = "telemetry", **how: Any) -> wire.Message:
    return wire.Message(topic=f"hub/tank/{level}", payload=payload.encode(), received_at=now_ms(), **how)


# --- limits


async def test_what_the_broker_kept_is_not_charged_however_many_frames_a_message_has(
    listener: Listener, ask: Callable[..., Any]
) -> None:
    connection: Any = Connection(caught_up=False)
    await listener.take(connection, [message("[" + ",".join(['{"t":1}'] * 500) + "]")])
    connection.caught_up = True
    await listener.take(connection, [message("1", "telemetry/t") for _ in range(20)])
    assert (await ask(Frame.objects.count), await ask(Reject.objects.count)) == (520, 0)


async def test_a_frame_that_was_over_the_limit_is_stored_when_it_comes_again(
    listener: Listener, ask: Callable[..., Any], told: list[Stored]
) -> None:
    connection: Any = Connection()
    sent = [message(f'{{"boot":1,"seq":{n},"t":1}}', qos=1, mid=n) for n in range(1, 101)]
    await listener.take(connection, sent)
    kept = await ask(Frame.objects.count)
    assert kept < 100
    assert connection.acknowledged == sent
    assert (told[0].receipts[0].seq, len(told[0].rejects)) == (kept, 100 - kept)
    connection.caught_up = False
    await listener.take(connection, sent)
    assert (told[1].frames, told[1].duplicates, told[1].receipts[0].seq) == (100 - kept, kept, 100)


async def test_a_flood_that_begins_with_the_connection_is_no_backlog_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound_module, "MOST_KEPT", 30)
    inbound = mqtt.Inbound(URL, "nobody")
    seen = []
    for _ in range(5):
        arrive(inbound, 20)
        await inbound.receive(10)
        seen.append(inbound.caught_up)
    assert seen == [False, False, False, True, True]


def arrive(inbound: mqtt.Inbound, count: int, payload: bytes = b"1") -> None:
    for mid in range(1, count + 1):
        came: Any = SimpleNamespace(
            _topic=b"hub/tank/telemetry/t", payload=payload, qos=1, retain=False, dup=False, mid=mid
        )
        inbound._arrived(came)


async def test_large_messages_come_in_small_batches_and_in_order() -> None:
    inbound = mqtt.Inbound(URL, "nobody")
    arrive(inbound, 40, b"x" * 65_536)
    taken = [await inbound.receive(MOST) for _ in range(3)]
    assert [len(some) for some in taken] == [16, 16, 8]
    assert [one.mid for some in taken for one in some] == list(range(1, 41))


# --- a COMMIT whose answer is lost


@pytest.fixture
def answer_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next COMMIT succeeds, and its answer never arrives."""
    commit = BaseDatabaseWrapper.commit
    left = ["one"]

    def lost(self: BaseDatabaseWrapper) -> None:
        commit(self)
        if left and threading.current_thread().name.startswith("bridge-store"):
            left.pop()
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(BaseDatabaseWrapper, "commit", lost)


async def test_what_was_committed_without_our_knowing_is_not_stored_again(
    listener: Listener, ask: Callable[..., Any], told: list[Stored], answer_lost: None
) -> None:
    connection: Any = Connection()
    sent = [
        message('{"boot":1,"seq":1,"t":1}'),
        message(f'{{"ts":{now_ms()},"t":2}}'),
        message("3", "telemetry/t", qos=1, mid=1),
        message('[{"t":4},{"t":4}]', qos=1, mid=2),
        message("online", "status", qos=1, mid=3),
    ]
    await listener.take(connection, sent)
    assert connection.acknowledged == sent
    assert await ask(Frame.objects.count) == 5
    assert (told[0].frames, told[0].duplicates) == (0, 5)
    assert [receipt.seq for receipt in told[0].receipts] == [1]
    assert listener.holding is None
    assert await ask(lambda: list(Event.objects.values_list("state", flat=True))) == ["online"]
