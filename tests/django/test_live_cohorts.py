"""Many who watch the same are told with one breath; who takes nothing is left behind, bounded, and comes back whole."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from dashboard import cohorts, protocol, rows, sender
from dashboard.fanout import Fanout
from dashboard.parcel import Parcel
from devices import groups, registry, telemetry
from devices.models import Device
from tests.django.live import Live, publish, run, settle, signed_in, store

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = [pytest.mark.django_db(transaction=True)]


class Gate:
    """A pipe that the test fills and empties."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    @property
    def open(self) -> bool:
        return self._open.is_set()

    async def passed(self) -> None:
        await self._open.wait()

    def write(self, text: str) -> bool:
        """Leave it to the socket."""
        return False

    def close(self) -> None:
        self._open.clear()

    def empty(self) -> None:
        self._open.set()


async def watching(live: Live, *keys: str) -> None:
    await live.sub(*keys, id="a")
    await live.until("live")
    await settle()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The phases of all data messages that were put together."""
    phases: list[str] = []
    original = rows.data

    def data(phase: str, parts: Any, **more: Any) -> str:
        phases.append(phase)
        return original(phase, parts, **more)

    monkeypatch.setattr(rows, "data", data)
    return phases


@pytest.mark.usefixtures("no_pace")
async def test_one_message_is_put_together_for_all_who_watch_the_same(
    hub: Fanout, alice: User, pump: Device, encoded: list[str]
) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(signed_in(alice)) for _ in range(5)]
        for live in sockets:
            await watching(live, "pump-1")
        assert len(hub.cohorts) == 1
        assert len(hub.feeds["pump-1"].streams) == 1
        for seq in range(1, 11):
            await publish("pump-1")
            for live in sockets:
                assert await live.until_row(seq) == list(range(1, seq + 1))
        assert encoded == ["live"] * 10
    await settle()
    assert not len(hub.cohorts)
    assert not hub.feeds["pump-1"].streams


async def test_who_watches_something_else_or_otherwise_has_a_stream_of_its_own(
    hub: Fanout, alice: User, pump: Device
) -> None:
    async with signed_in(alice) as live:
        await watching(live, "pump-1")
        for id_, more in (("m", {"metrics": ["temp"]}), ("l", {"mode": "latest"})):
            await live.sub("pump-1", id=id_, **more)
            await live.until("live")
        await live.sub("pump-1", id="same")
        await live.until("live")
        await settle()
        assert len(hub.cohorts) == 3
        await publish("pump-1", temp=1, other=2)
        for id_ in ("a", "m", "l", "same"):
            await live.until_row(1, sub=id_)


@pytest.mark.usefixtures("no_pace")
async def test_one_without_credit_is_left_behind_and_is_back_with_everything_in_order(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "KEPT", 4)  # what it misses is in the database alone
    async with signed_in(alice) as live, signed_in(alice) as slow:
        slow.credits = False
        await watching(live, "pump-1")
        await watching(slow, "pump-1")
        last = protocol.CREDIT + 20
        for seq in range(1, last + 1):
            await publish("pump-1")
            await live.until_row(seq)
        assert len(hub.feeds["pump-1"].streams) == 2  # the slow one stands alone
        await slow.until_row(protocol.CREDIT)
        await slow.words()
        assert slow.rows["a", "pump-1"] == list(range(1, protocol.CREDIT + 1))
        slow.credits = True
        await slow.say("credit", n=protocol.CREDIT)
        assert await slow.until_row(last) == list(range(1, last + 1))
        await settle()
        assert len(hub.feeds["pump-1"].streams) == 1
        await publish("pump-1")
        assert await slow.until_row(last + 1) == await live.until_row(last + 1)


@pytest.mark.usefixtures("no_pace")
async def test_one_whose_pipe_is_full_is_left_behind_and_is_back_with_everything_in_order(
    hub: Fanout, alice: User, pump: Device
) -> None:
    gate = Gate()
    async with signed_in(alice) as live, signed_in(alice, gate=gate) as slow:
        await watching(live, "pump-1")
        await watching(slow, "pump-1")
        gate.close()
        for seq in range(1, 30):
            await publish("pump-1")
            await live.until_row(seq)
        [socket] = [one for one in hub.sessions if one.sender.gate is gate]  # type: ignore[attr-defined]
        assert socket.sender._waiting < 1000  # type: ignore[attr-defined]
        assert slow.wire.output_queue.empty()
        gate.empty()
        assert await slow.until_row(29) == list(range(1, 30))
        await settle()
        assert len(hub.feeds["pump-1"].streams) == 1


async def test_words_for_one_who_takes_nothing_are_bounded(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MAX_WAITING", 2000)
    gate = Gate()
    async with signed_in(alice) as other, signed_in(alice, gate=gate) as live:
        await watching(other, "pump-1")
        await watching(live, "pump-1")
        gate.close()
        for since in range(100):
            because = f"it sent data {since}"
            await groups.announce(
                {"type": "device.state", "device": "pump-1", "presence": "online", "because": because, "since": since}
            )
        assert await live.code() == 4408
        await other.until("state", lambda state: state["since"] == 99)


async def test_one_who_is_signed_out_while_the_pipe_is_full_is_closed_at_once(
    hub: Fanout, alice: User, pump: Device
) -> None:
    gate = Gate()
    async with signed_in(alice, gate=gate) as live:
        await watching(live, "pump-1")
        gate.close()
        await live.say("ping")
        await settle()
        await run(lambda: User.objects.filter(pk=alice.pk).update(is_active=False))
        assert await live.code() == 4401


async def test_who_takes_nothing_for_too_long_is_closed(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    async with signed_in(alice, gate=gate) as live:
        await watching(live, "pump-1")
        monkeypatch.setattr(protocol, "CREDIT_TIMEOUT_S", 0.1)
        gate.close()
        await live.say("ping")
        assert await live.code() == 4408


async def test_a_fleet_s_slow_follower_is_told_the_newest_and_not_all(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        live.credits = False
        await live.say("sub", id="f", fleet="greenhouse")
        await live.until("fleet")
        for value in range(protocol.CREDIT + 50):
            await store("pump-1", temp=value)
            devices = await run(telemetry.summaries, ["pump-1"])
            await groups.announce({"type": "fleet.summary", "fleet": "greenhouse", "devices": devices})
            await settle()
        await live.until("fleet", lambda fleet: fleet["devices"]["pump-1"]["seq"] == protocol.CREDIT - 1)
        assert [message for message in await live.words() if message["type"] == "fleet"] == []
        await live.say("credit", n=1)
        told = (await live.until("fleet"))["devices"]["pump-1"]
        assert (told["seq"], told["values"]) == (protocol.CREDIT + 50, {"temp": protocol.CREDIT + 49})


@pytest.mark.usefixtures("no_pace")
async def test_a_cohort_that_fails_closes_its_sockets_and_no_others(
    hub: Fanout, alice: User, pump: Device, kettle: Device, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signed_in(root) as live, signed_in(root) as other:
        await watching(live, "pump-1")
        await watching(other, "kettle")
        original = rows.data

        def data(phase: str, parts: Any, **more: Any) -> str:
            if "pump-1" in parts:
                raise ZeroDivisionError
            return original(phase, parts, **more)

        monkeypatch.setattr(rows, "data", data)
        await publish("pump-1")
        assert await live.code() == 4500
        await publish("kettle")
        await other.until_row(1, "kettle")


@pytest.mark.usefixtures("no_pace")
async def test_a_cohort_that_all_have_fallen_behind_of_ends(hub: Fanout, alice: User, pump: Device) -> None:
    async with signed_in(alice) as live:
        live.credits = False
        await watching(live, "pump-1")
        for seq in range(1, protocol.CREDIT + 3):
            await publish("pump-1")
            await live.words()
            if seq <= protocol.CREDIT:
                await live.until_row(seq)
        await settle()
        assert not len(hub.cohorts)
        assert len(hub.feeds["pump-1"].streams) == 1  # its own
        live.credits = True
        await live.say("credit", n=protocol.CREDIT)
        await live.until_row(protocol.CREDIT + 2)
        await settle()
        assert len(hub.cohorts) == 1
    await settle()
    assert not len(hub.cohorts)
    assert not hub.feeds["pump-1"].streams


@pytest.mark.usefixtures("no_pace")
async def test_a_cohort_that_cannot_read_tries_again_and_nobody_is_closed(
    hub: Fanout, alice: User, pump: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(registry.create, "pump-2", pump.fleet)
    original = telemetry.after
    failed = 0

    def after(pk: int, seq: int, limit: int) -> Any:
        nonlocal failed
        failed += 1
        if failed < 3:
            raise OperationalError("no connection")
        return original(pk, seq, limit)

    monkeypatch.setattr(cohorts, "RETRY_S", 0.01)
    monkeypatch.setattr(telemetry, "after", after)
    async with signed_in(alice) as live, signed_in(alice) as other:
        for one in (live, other):
            await watching(one, "pump-1", "pump-2")
        assert len(hub.cohorts) == 1
        await store("pump-2")  # and its doorbell is lost
        await groups.announce(*await store("pump-1"), *await store("pump-2"))  # one is at hand, the other to be read
        for one in (live, other):
            assert await one.until_row(2, "pump-2") == [1, 2]
            assert one.rows["a", "pump-1"] == [1]
        assert failed == 3


class Reading:
    """A source that reads for as long as the test likes."""

    id, live, feeds = "own", True, {}

    def __init__(self) -> None:
        self.due = {"pump-1": None}
        self.parcel: asyncio.Future[Parcel] = asyncio.get_running_loop().create_future()

    async def next_parcel(self) -> Parcel:
        self.due = {}
        return await self.parcel

    def cross_seam(self) -> bool:
        return False

    def settle(self) -> None:
        pass

    leave = settle


class Heard(list[str]):
    async def send(self, text_data: str) -> None:
        self.append(text_data)

    async def close(self, code: int) -> None:
        raise AssertionError(code)


async def test_the_last_credit_is_not_lent_a_second_time_while_a_subscription_reads() -> None:
    socket, source, parcel = Heard(), Reading(), Parcel()
    parcel.seal("live")
    out = sender.Sender(socket)
    out.sources["own"] = source  # type: ignore[assignment]
    out.window.left = 1
    turn = asyncio.create_task(out.turn())
    await settle()
    assert not out.offer("cohort", parcel)
    source.parcel.set_result(parcel)
    await turn
    assert (len(socket), out.window.left) == (1, 0)


async def test_credit_for_what_brings_nothing_comes_back() -> None:
    socket, source = Heard(), Reading()
    source.parcel.set_result(Parcel())
    out = sender.Sender(socket)
    out.sources["own"] = source  # type: ignore[assignment]
    await out.turn()
    assert (socket, out.window.left) == ([], protocol.CREDIT)
