"""bridge.mqtt on real brokers: pins what it takes from aiomqtt's and paho's private parts (facts 9 to 14)."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bridge import mqtt
from bridge.accounts import Account
from devices import wire
from hub import embedded
from tests import services
from tests.services import ROOT
from tests.system.stands import PATIENCE_S, Stand

FILTER = "hub/#"
PUMP = Account(key="pump-1", secret="s" * 40, version=1)


def address(stand: Stand) -> mqtt.MqttUrl:
    return mqtt.MqttUrl.parse(stand.service.url)


@asynccontextmanager
async def listening(stand: Stand, *, subscribe: bool = True) -> AsyncIterator[mqtt.Inbound]:
    async with mqtt.Inbound(address(stand), "Bridge-test-in") as inbound:
        if subscribe:
            await inbound.subscribe([FILTER])
        yield inbound


async def heard(inbound: mqtt.Inbound, count: int) -> list[wire.Message]:
    """So many messages."""
    found: list[wire.Message] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            found += await inbound.receive(count - len(found))
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is private rings no bell
            await asyncio.sleep(0.01)


def numbers(messages: Sequence[wire.Message]) -> list[int]:
    return [int(message.payload) for message in messages]


def publish(stand: Stand, payloads: Sequence[int], qos: int = 1) -> None:
    """Publish numbers, many at once, by a client of no importance."""
    url = address(stand)
    client = paho.Client(CallbackAPIVersion.VERSION2, "Test-publisher")
    client.username_pw_set(url.username, url.password)
    client.max_inflight_messages_set(1000)
    client.connect(url.host, url.port)
    client.loop_start()
    infos = [client.publish("hub/pump-1/telemetry/n", str(payload), qos) for payload in payloads]
    for info in infos:
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published()
    client.disconnect()
    client.loop_stop()


def cut(connection: mqtt.Inbound | mqtt.Outbound) -> None:
    """End a connection as a broken network does."""
    sock = connection._paho.socket()
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
async def broker(stand: Stand) -> Stand:
    """Each kind of broker, with the hub's account and one device's."""
    await stand.reconcile(PUMP)
    return stand


@pytest.fixture
async def only_mosquitto(mosquitto: services.Service) -> Stand:
    stand = Stand(mosquitto)
    await stand.reconcile(PUMP)
    return stand


# --- Inbound


async def test_what_was_not_acknowledged_comes_again_as_repetition(broker: Stand) -> None:
    async with listening(broker) as inbound:
        publish(broker, [1, 2, 3])
        first = await heard(inbound, 3)
        inbound.ack(first[:1])
        await until(lambda: not inbound._paho._out_packet)
        cut(inbound)
    async with listening(broker) as again:
        repeated = await heard(again, 2)
        assert sorted(numbers(repeated)) == [2, 3]
        assert all(message.dup for message in repeated)
        again.ack(repeated)
        publish(broker, [4])
        assert numbers(await heard(again, 1)) == [4]


async def test_an_acknowledgement_reaches_no_other_generation_of_the_connection(broker: Stand) -> None:
    async with listening(broker) as old:
        publish(broker, [1, 2])
        held = await heard(old, 2)
        cut(old)
        with pytest.raises(mqtt.DisconnectedError):
            await heard(old, 1)
        async with listening(broker) as new:
            assert sorted(numbers(await heard(new, 2))) == [1, 2]
            old.ack(held)
            cut(new)
    async with listening(broker) as third:
        assert sorted(numbers(await heard(third, 2))) == [1, 2]


async def test_the_session_outlives_the_process(broker: Stand) -> None:
    async with listening(broker):
        pass
    publish(broker, range(10))
    async with listening(broker, subscribe=False) as later:
        found = await heard(later, 10)
        assert numbers(found) == list(range(10))
        later.ack(found)


async def test_the_broker_bounds_what_is_in_flight(broker: Stand) -> None:
    limit = in_flight(broker)
    async with listening(broker) as inbound:
        publish(broker, range(limit + 500))
        held = await heard(inbound, limit)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await inbound.receive(1)
        inbound.ack(held)
        rest = await heard(inbound, 500)
        inbound.ack(rest)
    assert sorted(numbers(held + rest)) == list(range(limit + 500))


def in_flight(stand: Stand) -> int:
    if isinstance(stand.service, services.Nats):
        return embedded.MAX_ACK_PENDING
    lines = (ROOT / "mosquitto/mosquitto.conf").read_text().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith("max_inflight_messages ")]
    return int(value)


async def test_a_flood_is_left_in_the_socket_and_costs_no_acknowledged_message(
    broker: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt.inbound, "BACKLOG", 200)
    async with listening(broker) as inbound:
        await asyncio.to_thread(publish, broker, range(1000, 6000), 0)
        await until(lambda: inbound._paused)
        await asyncio.to_thread(publish, broker, range(100))
        assert len(inbound._backlog) < 400  # one read of the socket may go beyond
        kept: list[int] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(kept) < 100:
                messages = await inbound.receive(100)
                inbound.ack(messages)
                kept += [number for number in numbers(messages) if number < 1000]
        assert not inbound._paused
    assert sorted(kept) == list(range(100))


async def test_who_finishes_gets_what_was_read_and_then_nothing(broker: Stand) -> None:
    async with listening(broker) as inbound:
        publish(broker, [1, 2, 3])
        first = await heard(inbound, 1)
        await until(lambda: len(inbound._backlog) == 2)
        inbound.finish()
        assert numbers(first + await inbound.receive(10)) == [1, 2, 3]
        assert await inbound.receive(10) == []


async def test_a_refused_subscription_is_an_error(broker: Stand) -> None:
    url = mqtt.MqttUrl(
        scheme="mqtt", host="127.0.0.1", port=broker.service.port, username="pump-1", password=PUMP.secret
    )
    async with mqtt.Inbound(url, "pump-1") as inbound:
        with pytest.raises(mqtt.DisconnectedError):
            await inbound.subscribe(["hub/other/cmd/#"])


async def test_a_broker_that_is_away_is_an_error_that_says_so() -> None:
    nowhere = mqtt.MqttUrl(scheme="mqtt", host="127.0.0.1", port=services.free_port())
    with pytest.raises(mqtt.DisconnectedError):
        async with mqtt.Inbound(nowhere, "Bridge-test-in"):
            pass
    with pytest.raises(mqtt.DisconnectedError):
        async with mqtt.outbound(nowhere, "Bridge-test-out"):
            pass


# --- Outbound


async def test_sent_is_what_the_broker_acknowledged(broker: Stand) -> None:
    async with listening(broker) as inbound, mqtt.outbound(address(broker), "Bridge-test-out") as outbound:
        await outbound.publish("hub/pump-1/cmd/led/c1", b"1", qos=1, retain=False)
        assert numbers(await heard(inbound, 1)) == [1]


async def test_each_broker_is_spoken_to_in_the_newest_version_it_has(broker: Stand) -> None:
    async with mqtt.outbound(address(broker), "Bridge-test-out") as outbound:
        assert outbound._v5 is not isinstance(broker.service, services.Nats)


async def test_what_the_broker_refuses_was_not_sent(only_mosquitto: Stand) -> None:
    async with mqtt.outbound(address(only_mosquitto), "Bridge-test-out") as outbound:
        with pytest.raises(mqtt.NotSentError, match="0x87"):
            await outbound.publish("elsewhere/led", b"1", qos=1, retain=False)


async def test_what_nobody_listens_to_was_not_sent(only_mosquitto: Stand) -> None:
    async with mqtt.outbound(address(only_mosquitto), "Bridge-test-out") as outbound:
        with pytest.raises(mqtt.NotSentError, match="not subscribed"):
            await outbound.publish("hub/nobody/cmd/led/c1", b"1", qos=1, retain=False)


async def test_nobody_knows_of_a_publish_whose_broker_dies_before_it_answers(broker: Stand) -> None:
    async with mqtt.outbound(address(broker), "Bridge-test-out") as outbound:
        os.kill(broker.service.pid, signal.SIGSTOP)
        publishing = asyncio.create_task(outbound.publish("hub/pump-1/cmd/led/c1", b"1", qos=1, retain=False))
        await asyncio.sleep(0)
        await asyncio.to_thread(broker.service.kill)
        with pytest.raises(mqtt.UnsureError):
            await publishing


async def test_on_a_connection_that_is_gone_nothing_is_sent(broker: Stand) -> None:
    gone = asyncio.Event()
    async with mqtt.outbound(address(broker), "Bridge-test-out") as outbound:
        outbound.when_closed(gone.set)
        assert outbound.is_open
        broker.service.kill()
        async with asyncio.timeout(PATIENCE_S):
            await gone.wait()
        assert not outbound.is_open
        with pytest.raises(mqtt.NotSentError):
            await outbound.publish("hub/pump-1/cmd/led/c1", b"1", qos=1, retain=False)
