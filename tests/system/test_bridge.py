"""The bridge's steps, each called once, on a real broker and a real database."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from typing import Any, get_args, get_type_hints

import pytest
from django.db import connection, connections
from msgspec import structs

from bridge import mqtt, sender
from bridge.lead import Alone
from bridge.listener import Listener
from bridge.threads import now_ms
from bridge.worker import Worker
from dashboard.fanout import Fanout
from devices import commands, groups, registry, wire
from devices.batch import sort
from devices.dialects import native
from devices.intake import Stored, store
from devices.models import Command, CommandEvent, Device, Fleet, Frame, Head
from tests.system.stands import PATIENCE_S, Stand

pytestmark = pytest.mark.django_db(transaction=True)

READING = "hub/pump-1/telemetry"


@pytest.fixture
async def worker(broker: Stand, ask: Callable[..., Any]) -> AsyncIterator[Worker]:
    """A bridge that does nothing by itself, and knows one device, which is online."""

    def prepare() -> None:
        device, _ = registry.create("pump-1", Fleet.objects.create(slug="greenhouse", name="Greenhouse"))
        Head.objects.filter(pk=device.pk).update(presence="online")

    await ask(prepare)
    made = Worker(mqtt.MqttUrl.parse(broker.service.url), name="steps")
    await made.book.reload()
    yield made
    for threads in (made.threads, made.listener._thread):
        threads.end()


def message(payload: str, topic: str = READING, **how: Any) -> wire.Message:
    return wire.Message(topic=topic, payload=payload.encode(), received_at=now_ms(), **how)


class Witness:
    """Stands where the connection stands, and looks at the database from outside at the moment of the PUBACK."""

    caught_up = True

    def __init__(self, inbound: mqtt.Inbound, log: list[Any]) -> None:
        self._inbound = inbound
        self._log = log
        self.acknowledged: list[wire.Message] = []
        self.waiting = inbound.waiting

    def ack(self, messages: Sequence[wire.Message]) -> None:
        def committed() -> int:
            try:
                return Frame.objects.count()
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as outside:
            self._log.append(("acknowledged", outside.submit(committed).result()))
        self.acknowledged += messages
        self._inbound.ack(messages)


# --- store, acknowledge, announce


async def test_what_is_acknowledged_is_committed_and_what_is_told_is_acknowledged(
    broker: Stand, worker: Worker
) -> None:
    log: list[Any] = []

    async def tell(stored: Stored) -> None:
        log.append(("told", stored.frames))

    listener = Listener(worker.listener.url, "Bridge-steps-in", worker.book, tell)
    async with mqtt.Inbound(listener.url, listener.client_id) as inbound, broker.hub() as device:
        await inbound.subscribe(native.FILTERS)
        await device.publish(READING, '{"t": 1}')
        await device.publish(READING, '{"t": 2}')
        messages: list[wire.Message] = []
        while len(messages) < 2:
            messages += await inbound.receive(2)
        witness: Any = Witness(inbound, log)
        await listener.take(witness, messages)
    listener._thread.end()
    assert log == [("acknowledged", 2), ("told", 2)]


async def test_more_in_flight_than_is_read_ahead_does_not_keep_the_bridge_from_subscribing_again(
    broker: Stand, worker: Worker, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.mqtt.inbound.BACKLOG", 20)
    listener = worker.listener
    async with broker.hub() as device:
        async with mqtt.Inbound(listener.url, listener.client_id) as before:
            await before.subscribe(native.FILTERS)
            for number in range(200):
                await device.publish(READING, json.dumps({"t": number}))
            await until(lambda: before.waiting > 0)
        listening = asyncio.create_task(listener.run())
        try:
            await asyncio.wait_for(listener.ready.wait(), PATIENCE_S)
            listener.stop()
            await listening
        finally:
            listening.cancel()
    assert await ask(Frame.objects.count) == 200


@pytest.mark.parametrize("name", ["devices_frame", "devices_head"])
async def test_while_the_database_is_away_messages_are_held_and_then_it_goes_on_by_itself(
    broker: Stand, worker: Worker, ask: Callable[..., Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[Any] = []
    async with mqtt.Inbound(worker.listener.url, "Bridge-steps-in") as inbound:
        await ask(run, f"ALTER TABLE {name} RENAME TO elsewhere")
        try:
            witness: Any = Witness(inbound, log)
            taking = asyncio.create_task(worker.listener.take(witness, [message('{"t": 1}', qos=1, mid=1)]))
            await until(lambda: "holding them unacknowledged" in caplog.text)
            assert not taking.done()
            assert log == []
        finally:
            await ask(run, f"ALTER TABLE elsewhere RENAME TO {name}")
        assert await taking
    assert log == [("acknowledged", 1)]
    assert await ask(Frame.objects.count) == 1


@pytest.mark.parametrize(
    ("pragma", "because"),
    [
        ("max_page_count = 1", "the database's disk is full"),  # SQLite takes what is there already for the least
        ("query_only = 1", "the database is read-only"),
    ],
)
async def test_a_full_or_read_only_sqlite_is_named_and_left_alone_until_it_takes_rows_again(
    worker: Worker, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, pragma: str, because: str
) -> None:
    log: list[Any] = []
    options = connections.settings["default"]["OPTIONS"]
    page = json.dumps({f"text{number}": "x" * 1000 for number in range(50)})
    await ask(run, "VACUUM")  # no room is left inside the file
    with monkeypatch.context() as full:
        full.setitem(options, "init_command", f"{options['init_command']} PRAGMA {pragma};")
        async with mqtt.Inbound(worker.listener.url, "Bridge-steps-in") as inbound:
            witness: Any = Witness(inbound, log)
            messages = [message(page, qos=1, mid=number) for number in range(1, 4)]
            taking = asyncio.create_task(worker.listener.take(witness, messages))
            await until(lambda: worker.listener.holding is not None)
            assert (worker.pulse()["because"], worker.pulse()["held"]) == (because, 3)
            assert log == []
            full.undo()
            assert await taking
    assert (worker.listener.holding, worker.pulse()["holding_since"]) == (None, None)
    assert await ask(Frame.objects.count) == 3


async def test_what_came_before_another_may_have_led_comes_again_and_what_cannot_is_stored(
    worker: Worker, ask: Callable[..., Any]
) -> None:
    log: list[Any] = []
    lead = Alone()
    listener = Listener(worker.listener.url, "Bridge-steps-in", worker.book, worker.tell, lead)
    lead.term = 1
    async with mqtt.Inbound(listener.url, listener.client_id) as inbound:
        witness: Any = Witness(inbound, log)
        twice = message('{"t": 1}', qos=1, mid=1)
        assert await listener.take(witness, [twice, message('{"t": 2}')])
    listener._thread.end()
    assert await ask(lambda: [frame.values for frame in Frame.objects.all()]) == [{"t": 2}]
    assert twice not in witness.acknowledged
    assert listener._ending


def run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is looked at rings no bell
            await asyncio.sleep(0.01)


async def test_a_batch_that_comes_again_is_stored_once(worker: Worker, ask: Callable[..., Any]) -> None:
    """The commit happened, and its answer was lost: the messages are stored again as repetitions."""
    first = message('{"t": 1}', qos=1, mid=7)
    await worker.listener._thread.run(store_now, [first])
    await worker.listener._thread.run(store_now, [structs.replace(first, dup=True)])
    assert await ask(Frame.objects.count) == 1


def store_now(messages: list[wire.Message]) -> Stored:
    return store(sort(messages, native.read, registry.directory()), now_ms())


async def test_a_device_that_is_newer_than_the_directory_is_heard(worker: Worker, ask: Callable[..., Any]) -> None:
    await ask(lambda: registry.create("newer", Fleet.objects.get(slug="greenhouse")))
    batch = await worker.listener._sorted([message('{"t": 1}', "hub/newer/telemetry")])
    assert len(batch.events) == 1
    assert not batch.rejects


# --- watching


def frames(count: int = 1) -> Stored:
    rows: list[groups.FrameRow] = [(number, number, {"t": number}, 0) for number in range(1, count + 1)]
    return Stored(
        announcements=[{"type": "device.frames", "device": "pump-1", "prev": 0, "frames": rows}], frames=count
    )


async def test_nothing_is_announced_while_nobody_watches(worker: Worker) -> None:
    await worker.tell(frames())
    assert worker.announcer.due(time.monotonic()) == []


async def test_who_watches_hears_of_it(worker: Worker) -> None:
    await worker.relay_one({"type": "device.watch", "device": "pump-1"})
    await worker.tell(frames(3))
    (told,) = worker.announcer.due(time.monotonic())
    assert told["type"] == "device.frames"
    assert [row[0] for row in told["frames"]] == [1, 2, 3]


async def test_what_was_told_is_counted_and_goes_with_the_pulse(worker: Worker) -> None:
    await worker.tell(frames())
    await worker.relay_one({"type": "device.watch", "device": "pump-1"})
    await worker.tell(frames(3))
    counts = worker.pulse()["counts"]
    assert (counts["frames"], counts["unwatched"], counts["waiting"], counts["announced"]) == (4, 1, 3, 0)
    await worker.announcer.announce(worker.announcer.due(time.monotonic()))
    counts = worker.pulse()["counts"]
    assert (counts["waiting"], counts["announced"], counts["lost"]) == (0, 3, 0)


@pytest.mark.parametrize("groups_are_there", [True, False])
async def test_the_first_pulse_waits_for_the_groups_but_not_for_ever(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, groups_are_there: bool
) -> None:
    """Who hears of a new duty rings `watch` at once: before we are in the groups, nobody would hear it."""
    said: asyncio.Queue[groups.Message] = asyncio.Queue()

    async def announce(*messages: groups.Message) -> list[groups.Message]:
        for message in messages:
            said.put_nowait(message)
        return []

    monkeypatch.setattr(groups, "announce", announce)
    monkeypatch.setattr("bridge.worker.PULSE_S", 60.0 if groups_are_there else 0.05)
    pulsating = asyncio.create_task(worker._pulsate())
    for _ in range(20):
        await asyncio.sleep(0)
    assert said.empty()
    if groups_are_there:
        worker._in_groups.set()
    async with asyncio.timeout(PATIENCE_S):
        first = await said.get()
    pulsating.cancel()
    assert first["type"] == "hub.pulse"
    assert first["began"] == worker.tally.began


# --- commands


@pytest.fixture
def order(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Queue a command, and return its id. Nobody relays, so its doorbell is lost."""

    async def issue(**how: Any) -> str:
        def issued() -> str:
            device = Device.objects.get(key="pump-1")
            command, _ = commands.issue(device, "led", "on", user=None, now=now_ms(), **how)
            return command.pk

        cid: str = await ask(issued)
        return cid

    return issue


def state(cid: str) -> str:
    return Command.objects.get(pk=cid).state


def log_of(cid: str) -> list[str]:
    return list(CommandEvent.objects.filter(command=cid).values_list("state", flat=True))


async def send(worker: Worker) -> None:
    """Send what waits, once."""
    assert worker.sender.outbound
    worker.sender.ring()
    await worker.sender.fly(worker.sender.outbound, await worker.sender.claim())


async def test_a_lost_doorbell_is_healed_by_the_sweep(
    broker: Stand, worker: Worker, ask: Callable[..., Any], order: Callable[..., Any]
) -> None:
    cid = await order()
    async with broker.hub(identifier="device") as device, mqtt.outbound(worker.sender.url, "Bridge-out") as outbound:
        await device.subscribe("hub/pump-1/cmd/#")
        worker.sender.outbound = outbound
        sending = asyncio.create_task(worker.sender._send_while_open(outbound))
        await worker.sweep_once(slow=False)
        assert await device.heard() == (f"hub/pump-1/cmd/led/{cid}", "on")
        worker.sender.stop()
        await sending
    assert await ask(log_of, cid) == ["queued", "sent"]


async def test_of_two_bridges_one_sends(
    broker: Stand, worker: Worker, ask: Callable[..., Any], order: Callable[..., Any]
) -> None:
    cid = await order()
    rival = Worker(worker.sender.url, name="rival")
    async with (
        broker.hub(identifier="device") as device,
        mqtt.outbound(worker.sender.url, "Bridge-out") as worker.sender.outbound,
        mqtt.outbound(worker.sender.url, "Bridge-rival-out") as rival.sender.outbound,
    ):
        await device.subscribe("hub/pump-1/cmd/#")
        await asyncio.gather(send(worker), send(rival))
        await device.publish("hub/pump-1/cmd/marker", "")
        heard = [await device.heard(), await device.heard()]
    rival.threads.end()
    assert [topic for topic, _ in heard] == [f"hub/pump-1/cmd/led/{cid}", "hub/pump-1/cmd/marker"]
    assert await ask(log_of, cid) == ["queued", "sent"]


async def test_what_the_device_does_not_listen_to_stays_queued(
    worker: Worker, ask: Callable[..., Any], order: Callable[..., Any]
) -> None:
    cid = await order()
    async with mqtt.outbound(worker.sender.url, "Bridge-out") as worker.sender.outbound:
        await send(worker)
    assert await ask(state, cid) == "queued"
    assert (await ask(Command.objects.get, pk=cid)).claimed_at is None


async def test_what_broke_off_is_unknown_and_not_repeated(
    broker: Stand, worker: Worker, ask: Callable[..., Any], order: Callable[..., Any]
) -> None:
    cid = await order()
    async with mqtt.outbound(worker.sender.url, "Bridge-out") as worker.sender.outbound:
        os.kill(broker.service.pid, signal.SIGSTOP)
        sending = asyncio.create_task(send(worker))
        published = worker.sender.outbound._pending
        await until(lambda: bool(published))
        await asyncio.to_thread(broker.service.kill)
        await sending
        assert await ask(log_of, cid) == ["queued", "unknown"]
        await send(worker)
    assert await ask(state, cid) == "unknown"


async def test_what_broke_off_goes_out_again_under_its_id_to_who_remembers(
    broker: Stand,
    worker: Worker,
    ask: Callable[..., Any],
    order: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await ask(Device.objects.update, remembers=256)
    cid = await order()
    async with mqtt.outbound(worker.sender.url, "Bridge-out") as worker.sender.outbound:
        os.kill(broker.service.pid, signal.SIGSTOP)
        sending = asyncio.create_task(send(worker))
        published = worker.sender.outbound._pending
        await until(lambda: bool(published))
        await asyncio.to_thread(broker.service.kill)
        await sending
    assert await ask(log_of, cid) == ["queued"]
    await asyncio.to_thread(broker.service.start)
    monkeypatch.setattr("devices.commands.sending.AGAIN_MS", 0)
    async with (
        broker.hub(identifier="device") as device,
        mqtt.outbound(worker.sender.url, "Bridge-out") as worker.sender.outbound,
    ):
        await device.subscribe("hub/pump-1/cmd/#")
        await send(worker)
        assert await device.heard() == (f"hub/pump-1/cmd/led/{cid}", "on")
    assert await ask(log_of, cid) == ["queued", "sent"]
    assert (await ask(Command.objects.get, pk=cid)).sends == 2


def issue_for_many(count: int) -> list[str]:
    """A command for each of so many devices that are online, and the ids in the order of their issue."""
    registry.create_many([registry.draft(f"d-{number}", Fleet.objects.get())[0] for number in range(count)])
    Head.objects.update(presence="online")
    devices = list(Device.objects.exclude(key="pump-1").order_by("pk"))
    commands.issue_many(devices, "led", "on", user=None, now=now_ms(), ttl_s=60)
    return list(Command.objects.order_by("created_at", "pk").values_list("pk", flat=True))


async def test_many_commands_go_out_in_the_order_of_their_issue_and_all_are_noted(
    broker: Stand, worker: Worker, ask: Callable[..., Any], order: Callable[..., Any]
) -> None:
    given = [await order() for _ in range(45)]
    others = await ask(issue_for_many, 30)
    async with broker.hub(identifier="device") as device, mqtt.outbound(worker.sender.url, "Bridge-out") as outbound:
        await device.subscribe("hub/+/cmd/#")
        worker.sender.outbound = outbound
        sending = asyncio.create_task(worker.sender._send_while_open(outbound))
        for number in range(30):
            await worker.device_order({"type": "device.order", "device": f"d-{number}", "command": ""})
        await worker.sweep_once(slow=False)
        heard = [(await device.heard())[0] for _ in range(75)]
        worker.sender.stop()
        await sending
    assert [topic.rpartition("/")[2] for topic in heard if "pump-1" in topic] == given
    assert len({topic for topic in heard if "pump-1" not in topic}) == len(others) - len(given) == 30
    assert set(await ask(lambda: [*Command.objects.values_list("state", "sends")])) == {("sent", 1)}


async def test_a_bridge_takes_no_more_than_the_broker_answers(
    broker: Stand, worker: Worker, ask: Callable[..., Any]
) -> None:
    """What it had taken besides would be in doubt, were the broker to go away; and would be in memory until then."""
    await ask(issue_for_many, 60)
    async with mqtt.outbound(worker.sender.url, "Bridge-out") as outbound:
        worker.sender.outbound = outbound
        os.kill(broker.service.pid, signal.SIGSTOP)
        sending = asyncio.create_task(worker.sender._send_while_open(outbound))
        worker.sender.ring()
        await until(lambda: len(outbound._pending) == sender.WINDOW)
        for _ in range(3):
            await worker.sweep_once(slow=False)
        assert await ask(Command.objects.exclude(claimed_at=None).count) == sender.WINDOW
        await asyncio.to_thread(broker.service.kill)
        worker.sender.stop()
        await sending
    states = await ask(lambda: [*Command.objects.values_list("state", flat=True)])
    assert (states.count("unknown"), states.count("queued")) == (sender.WINDOW, 60 - sender.WINDOW)


async def test_what_is_over_when_its_turn_comes_does_not_go_out(
    worker: Worker, ask: Callable[..., Any], order: Callable[..., Any]
) -> None:
    cid = await order(ttl_s=1)
    async with mqtt.outbound(worker.sender.url, "Bridge-out") as outbound:
        worker.sender.outbound = outbound
        worker.sender.ring()
        (taken,) = await worker.sender.claim()
        await worker.sender.fly(outbound, [structs.replace(taken, expires_at=now_ms())])
    assert await ask(state, cid) == "queued"
    assert (await ask(Command.objects.get, pk=cid)).claimed_at is None


async def test_a_claim_whose_bridge_died_ends_as_unknown(
    worker: Worker, ask: Callable[..., Any], order: Callable[..., Any]
) -> None:
    cid = await order()
    assert await ask(commands.claim, None, now_ms() - commands.ORPHAN_MS - 1)
    await worker.sweep_once(slow=True)
    assert await ask(log_of, cid) == ["queued", "unknown"]


# --- the end


async def test_who_is_asked_to_end_stores_what_was_read_and_sends_what_was_begun(
    broker: Stand, worker: Worker, ask: Callable[..., Any]
) -> None:
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(PATIENCE_S):
        await worker.ready.wait()
    async with broker.hub(identifier="device") as device:
        for number in range(50):
            await device.publish(READING, f'{{"boot": 1, "seq": {number}, "t": 1}}')
        await until(lambda: bool(worker.listener.hearing))
        worker.stopping.set()
        async with asyncio.timeout(PATIENCE_S):
            await running
        stored = await ask(Frame.objects.count)
        # What the broker still has comes to the next one; nothing is lost between the two.
        async with mqtt.Inbound(worker.listener.url, worker.listener.client_id) as later:
            rest: list[wire.Message] = []
            while stored + len(rest) < 50:
                rest += await later.receive(50)
            later.ack(rest)
    assert stored + len(rest) == 50


# --- the contract


@pytest.mark.parametrize("member", [Worker, Fanout])
@pytest.mark.parametrize("shape", get_args(groups.Message), ids=lambda shape: shape.__name__)
def test_every_member_has_a_method_for_every_message(member: type, shape: type) -> None:
    """Channels ends whoever gets a type that it does not know."""
    (type_,) = get_args(get_type_hints(shape)["type"])
    assert list(signature(getattr(member, type_.replace(".", "_"))).parameters)[1:]
