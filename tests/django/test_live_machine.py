"""A machine that does whatever can be done to a live hub, in any order; its clients have to end with what is stored.

The hub is the real one but for its threads and its clock: the consumer behind ASGI, fan-out, cohorts, permits, reads
and the journal on the test's database, the layer in memory. The client is the Python client's pure core. Nothing runs
but where a rule lets it: what the hub has begun may be half done when the next thing happens.

500 runs of 50 steps: `pytest tests/django/test_live_machine.py --hypothesis-profile=whole`.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from channels.generic import websocket
from channels.layers import channel_layers, get_channel_layer
from django.contrib.auth.models import User
from django.db import connections, transaction
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dashboard import fanout, permits, protocol, reads, rows
from devices import groups, telemetry, wire
from devices.models import Device, Fleet, Frame, Head, Membership
from tests.django.conftest import make_user
from tests.django.live import NOW, token
from tests.django.live_clients import KEYS, Client

# Small bounds, so that few steps reach them; no pace and no timers, so that nothing happens by itself.
SMALL = {
    protocol: {"CREDIT": 3, "MAX_BEHIND": 40, "PACE_S": 0.0, "RATE": 1e9},
    reads: {"MAX_BEHIND": 40},
    rows: {"KEPT": 6, "CHUNK": 5, "CHUNK_SIZE": 400},
    fanout: {"CHECK_S": 1e9},
    permits: {"TICK_S": 1e9},
}
# As long as whatever the hub has begun may take, with nothing to wait for.
LONG = 60
MOSTLY = st.sampled_from([True, True, True, False])


async def inline(do: Callable[..., Any], *args: Any) -> Any:
    """A read that takes its time, and in which all else may happen, on the test's own connection."""
    await asyncio.sleep(0)
    found = do(*args)
    await asyncio.sleep(0)
    return found


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Machine(RuleBasedStateMachine):
    """One hub, one user, two clients. `world` has who is there before it begins."""

    world: tuple[Fleet, User, str]

    def __init__(self) -> None:
        super().__init__()
        self.fleet, self.user, secret = self.world
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.loop = asyncio.new_event_loop()
        self.heads = dict.fromkeys(KEYS, 0)
        self.first = dict.fromkeys(KEYS, 1)
        self.pks = dict(Device.objects.values_list("key", "pk"))
        self.bells: list[groups.Message] = []
        self.permitted = True
        self.withdrawn = False
        self.begun: list[asyncio.Task[None]] = []
        self.pace, self.attentive = 0, False
        self.run(self._open(secret))

    async def _open(self, secret: str) -> None:
        channel_layers.backends.clear()
        since = {"cursor": dict.fromkeys(KEYS, 0)}
        every, newest = {"devices": list(KEYS), "since": since}, {"devices": ["p"], "mode": "latest", "since": None}
        self.quick = Client(secret, rows=every)
        self.other = Client(secret, rows=every, newest=newest, fleet={"fleet": self.fleet.slug})
        self.clients = [self.quick, self.other]

    @initialize(pace=st.sampled_from([LONG, 10, 3, 0]), attentive=MOSTLY, settled=MOSTLY)
    def live(self, pace: int, *, attentive: bool, settled: bool) -> None:
        """How fast this hub is, how closely its clients listen, and whether all is well at first."""
        self.pace, self.attentive = pace, attentive
        if settled:
            self.settle()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it, and let as much time pass as each step takes here."""
        found = self.loop.run_until_complete(work)
        self.loop.run_until_complete(turns(self.pace))
        return found

    @property
    def hub(self) -> fanout.Fanout:
        async def here() -> fanout.Fanout:
            return fanout.here()

        found: fanout.Fanout = self.run(here())
        return found

    @invariant()
    def somebody_listens(self) -> None:
        """No rule, but what happens after each where clients listen closely."""
        for client in self.clients if self.attentive else ():
            client.hear(99)

    # -- devices, and the bridge

    @rule(key=st.sampled_from(KEYS), count=st.sampled_from([1, 2, 3, 7, 60]), told=st.sampled_from(["rung", "late"]))
    def publish(self, key: str, count: int, told: str) -> None:
        """Frames are stored; the doorbell rings, now or later or never."""
        start, self.heads[key] = self.heads[key] + 1, self.heads[key] + count
        frames = [
            wire.Frame(device=key, values={"t": seq}, received_at=NOW + seq, ts=NOW + seq)
            for seq in range(start, start + count)
        ]
        recorded = telemetry.record(frames, NOW + start)
        (message,) = recorded.frames
        if told == "rung":
            summary = telemetry.summary("", Head.objects.get(device__key=key))
            told_to_all: groups.Summary = {"type": "fleet.summary", "fleet": self.fleet.slug, "devices": {key: summary}}
            self.run(groups.announce(message, *recorded.states, told_to_all))
        else:
            self.bells.append(message)

    @precondition(lambda self: self.bells)
    @rule(which=st.integers(0, 9), once=st.booleans())
    def ring_late(self, which: int, *, once: bool) -> None:
        """Late, in the wrong order, and maybe not for the last time."""
        bell = self.bells[which % len(self.bells)]
        if once:
            self.bells.remove(bell)
        self.run(groups.announce(bell))

    @rule(key=st.sampled_from(KEYS), left=st.sampled_from([30, 10, 0]))
    def prune(self, key: str, left: int) -> None:
        """All but the newest are deleted."""
        self.first[key] = max(self.first[key], self.heads[key] + 1 - left)
        Frame.objects.filter(device_id=self.pks[key], seq__lt=self.first[key]).delete()

    # -- the hub

    @rule(count=st.sampled_from([1, 2, 5, LONG]))
    def turn(self, count: int) -> None:
        """Time passes."""
        self.run(turns(count))

    @rule()
    def check(self) -> None:
        """The periodic check begins."""
        self.begin(self.hub.check_once())

    @rule()
    def look(self) -> None:
        """The look at who may still be here begins."""
        self.begin(self.hub.permits.look_once())

    @rule(how=st.sampled_from(["flush", "kill"]))
    def fail(self, how: str) -> None:
        """The layer forgets all groups and messages; or the web process dies, and nobody says good-bye."""
        self.run(self._forget() if how == "flush" else self._die())

    async def _forget(self) -> None:
        layer: Any = get_channel_layer()
        layer.groups.clear()
        for queue in layer.channels.values():
            while not queue.empty():
                queue.get_nowait()

    async def _die(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turns(3)
        self.begun = []
        del fanout._here[self.loop]
        for client in self.clients:
            client.again()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.begun.append(self.loop.create_task(work))

    # -- who may see it

    @rule()
    def revoke_or_grant(self) -> None:
        if not self.permitted:
            self.grant()
            return
        Membership.objects.filter(user=self.user).delete()
        self.permitted, self.withdrawn = False, True

    def grant(self) -> None:
        Membership.objects.create(user=self.user, fleet=self.fleet, role="viewer")
        self.permitted = True

    @precondition(lambda self: not self.permitted)
    @rule()
    def look_after_a_withdrawal(self) -> None:
        """Once it has looked, nothing more is shown."""
        for _ in range(2):  # who was joining in the meantime is left to the second
            self.run(self.hub.permits.look_once())
            self.turn(LONG)
            for client in self.clients:
                client.hear(99)
        self.turn(LONG)
        for client in self.clients:
            client.hear(99)
            assert not [name for name, sub in client.state.subs.items() if sub.asked]

    # -- the clients

    @rule(who=st.integers(0, 1), count=st.sampled_from([1, 2, 5, 99]))
    def hear(self, who: int, count: int) -> None:
        self.run(self._with(who, lambda client: client.hear(count)))

    @rule(rounds=st.integers(1, 6), count=st.sampled_from([3, 10, LONG]))
    def converse(self, rounds: int, count: int) -> None:
        """Question and answer, for a while."""
        for _ in range(rounds):
            for client in self.clients:
                client.hear(99)
            self.turn(count)

    @rule(who=st.integers(0, 1))
    def cut(self, who: int) -> None:
        def cut(client: Client) -> None:
            client.wire.cut()
            client.again()

        self.run(self._with(who, cut))

    @rule(who=st.integers(0, 1), after=st.integers(1, 60), key=st.sampled_from(KEYS))
    def come_back_while_something_happens(self, who: int, after: int, key: str) -> None:
        """Frames come somewhere between a cut and the moment in which all is well again."""
        self.cut(who)
        for _ in range(after):
            self.clients[who].hear(1)
            self.loop.run_until_complete(turns(1))
        self.publish(key, 1, "rung")

    @rule(slow=st.booleans())
    def slow(self, *, slow: bool) -> None:
        """One of them gives no credit back for a while."""
        self.other.slow = slow

    @precondition(lambda self: self.other.owed)
    @rule(count=st.integers(1, 3))
    def credit(self, count: int) -> None:
        self.other.credit(min(count, self.other.owed))

    @precondition(lambda self: self.permitted and (self.quick.ended or self.other.ended))
    @rule()
    def resume(self) -> None:
        for client in self.clients:
            client.resume()

    async def _with(self, who: int, act: Callable[[Client], None]) -> None:
        act(self.clients[who])

    # -- what holds

    @invariant()
    def nothing_fails(self) -> None:
        for task in [task for task in self.begun if task.done()]:
            self.begun.remove(task)
            task.result()
        assert not ERRORS, ERRORS

    @invariant()
    def nothing_ends_without_a_reason(self) -> None:
        ends = {code for client in self.clients for code in client.ended.values()}
        assert ends <= ({"permission_revoked", "device_unknown", "fleet_unknown"} if self.withdrawn else set())

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.settle()
                self.verify()
        finally:
            self.run(self._close())
            self.loop.close()
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)
            ERRORS.clear()

    async def _close(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turns(3)
        fanout._here.pop(self.loop, None)

    def settle(self) -> None:
        """All is quiet: the user may see everything, the clients take everything, the checks come."""
        if not self.permitted:
            self.grant()
        self.other.slow = False
        for _ in range(100):
            for client in self.clients:
                client.resume()
                client.hear(99)
            self.turn(LONG)
            if all(client.has_all(self.heads) for client in self.clients):
                return
            self.run(self.hub.check_once())
        raise AssertionError(f"it never comes to rest: {[client.state.subs for client in self.clients]}, {self.heads}")

    def verify(self) -> None:
        self.nothing_fails()
        assert dict(Head.objects.values_list("device__key", "seq")) == self.heads
        for client in self.clients:
            assert (client.state.counts.holes, client.state.counts.known) == (0, 0)
            for key in KEYS:
                told = client.gone[key] | client.skipped[key]
                assert set(client.rows[key]) | told == set(range(1, self.heads[key] + 1))
                # Nothing is given up that could be had, unless it was too far behind.
                assert all(seq < self.first[key] for seq in told) or self.heads[key] > protocol.MAX_BEHIND


ERRORS: list[str] = []


class Complaints(logging.Handler):
    """What the hub logs as an error is one."""

    def emit(self, record: logging.LogRecord) -> None:
        ERRORS.append(record.getMessage() + "".join(logging.Formatter().format(record).splitlines(keepends=True)[-6:]))


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who is there before each run, and a hub in which nothing happens by itself."""
    fleet = Fleet.objects.create(slug="greenhouse", name="Greenhouse")
    user = make_user("vera", "viewer", fleet)
    for key in KEYS:
        Device.objects.create(key=key, fleet=fleet)
    for device in Device.objects.all():
        Head.objects.get_or_create(device=device)
    Machine.world = fleet, user, token(user)
    # There is one thread, and one connection for all of its tasks: each run is rolled back, and the same each time.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    monkeypatch.setattr(connections, "_connections", SimpleNamespace(default=connections["default"]))
    monkeypatch.setattr(connections["default"], "close", lambda: None)
    monkeypatch.setattr(websocket, "aclose_old_connections", partial(asyncio.sleep, 0))
    complaints = Complaints(logging.ERROR)
    logging.getLogger("dashboard").addHandler(complaints)
    with ExitStack() as stack:
        stack.enter_context(patch.object(reads, "run", inline))
        stack.enter_context(patch.object(permits, "_in_thread", inline))
        for module, values in SMALL.items():
            stack.enter_context(patch.multiple(module, **values))
        yield
    logging.getLogger("dashboard").removeHandler(complaints)
    channel_layers.backends.clear()


def test_clients_end_with_exactly_what_is_stored(world: None) -> None:
    run_state_machine_as_test(Machine)
