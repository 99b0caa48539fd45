"""Commands against all that may happen to them: operators, bridges that crash, brokers, devices, answers and time."""

from collections import defaultdict, deque
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final

from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices import commands, lifecycle, registry, telemetry, wire
from devices.dialects import Order
from devices.errors import Refusal
from devices.models import Command, CommandEvent, Device, Fleet
from tests.django.orders import NOW

# What each device remembers. The second never answers, but for what Hypothesis has it say.
REMEMBERS: Final = {"forgetful": 0, "mute": 0, "wise": 3}
DEVICES: Final = tuple(REMEMBERS)
STEPS: Final = ("downloading", "verified", "restarting")

bridge = st.integers(0, 1)
device = st.sampled_from(DEVICES)
which = st.integers(0, 7)
ttls = st.sampled_from([1, 10, 60, 600])
statuses = st.sampled_from(["received", "received", "succeeded", "failed", "rejected", "expired"])
work = st.lists(
    st.one_of(
        st.tuples(st.just("issue"), st.sampled_from(["alice", "bob"]), device, ttls),
        st.tuples(st.just("issue"), st.sampled_from(["alice", "bob"]), st.just("wise"), ttls),
        st.tuples(st.just("cancel"), st.sampled_from(["alice", "bob"]), which),
        st.tuples(st.just("claim"), bridge, st.one_of(st.none(), device), st.integers(1, 4)),
        st.tuples(st.just("claim"), bridge, st.none(), st.integers(1, 4)),
        st.tuples(st.just("publish"), bridge),
        st.tuples(st.just("send"), bridge, st.sampled_from([1, 6_000, 12_000])),
        st.tuples(st.just("send"), bridge, st.sampled_from([1, 6_000, 12_000])),
        st.tuples(st.just("refuse"), bridge),
        st.tuples(st.just("note"), bridge, st.sampled_from(["sent", "sent", "lost"])),
        st.tuples(st.just("crash"), bridge),
        st.tuples(st.just("deliver"), device),
        st.tuples(st.just("answer"), which, statuses, st.sampled_from(["", *STEPS])),
        st.tuples(st.just("answer"), which, statuses, st.just("")),
        st.tuples(st.just("lie"), device, which),
        st.tuples(st.just("read"), device, st.booleans()),
        st.tuples(st.just("come"), device, st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1, 1000, 5_000, 12_000, 31_000])),
        st.tuples(st.just("sweep")),
    ),
    min_size=10,
    max_size=50,
)


class Bridge:
    """What a bridge has in hand, in its memory alone: a crash between any two steps loses it."""

    def __init__(self) -> None:
        self.claimed: deque[Order] = deque()
        self.published: list[Order] = []


class World:
    """The hub's commands, and beside them what bridges, broker and devices really did."""

    def __init__(self, bridges: int) -> None:
        fleet = Fleet.objects.create(slug="model", name="Model")
        self.now = NOW
        for key, remembers in REMEMBERS.items():
            registry.create(key, fleet)
            Device.objects.filter(key=key).update(remembers=remembers)
            self.come(key, online=True)
        self.bridges = [Bridge() for _ in range(bridges)]
        self.on_the_wire: defaultdict[str, deque[str]] = defaultdict(deque)
        self.publishes: list[tuple[str, int]] = []
        self.memory: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=3))
        self.done: list[str] = []

    def ids(self) -> list[str]:
        return list(Command.objects.order_by("created_at", "pk").values_list("pk", flat=True))

    # -- people

    def issue(self, _by: str, key: str, ttl_s: int) -> None:
        commands.issue(Device.objects.get(key=key), "led", True, user=None, now=self.now, ttl_s=ttl_s)

    def cancel(self, by: str, number: int) -> None:
        cids = self.ids()
        if number < len(cids) and commands.cancel(cids[number], self.now, by):
            assert cids[number] not in dict(self.publishes)

    # -- bridges

    def claim(self, number: int, key: str | None, limit: int) -> None:
        here = self.bridges[number % len(self.bridges)]
        orders = commands.claim(None if key is None else frozenset([key]), self.now, limit)
        assert len(orders) <= limit
        here.claimed += orders

    def publish(self, number: int) -> None:
        here = self.bridges[number % len(self.bridges)]
        if not here.claimed:
            return
        order = here.claimed.popleft()
        if self.now >= order.expires_at:
            commands.unsent([order], self.now)
            return
        self.publishes.append((order.cid, self.now))
        self.on_the_wire[order.device].append(order.cid)
        here.published.append(order)

    def send(self, number: int, later_ms: int) -> None:
        """All of it, as it goes where nothing happens in between."""
        self.wait(later_ms)
        self.claim(number, None, 4)
        while self.bridges[number % len(self.bridges)].claimed:
            self.publish(number)
        self.note(number, "sent")

    def refuse(self, number: int) -> None:
        """The broker does not take it, for sure."""
        here = self.bridges[number % len(self.bridges)]
        if here.claimed:
            commands.unsent([here.claimed.popleft()], self.now)

    def note(self, number: int, how: str) -> None:
        here = self.bridges[number % len(self.bridges)]
        getattr(commands, how)(here.published, self.now)
        here.published = []

    def crash(self, number: int) -> None:
        self.bridges[number % len(self.bridges)] = Bridge()

    # -- devices

    def deliver(self, key: str) -> None:
        if self.on_the_wire[key]:
            cid = self.on_the_wire[key].popleft()
            if not (REMEMBERS[key] and cid in self.memory[key]):
                self.done.append(cid)
                self.memory[key].append(cid)

    def answer(self, number: int, status: wire.AckStatus, step: wire.Step) -> None:
        """A device answers what it was told; perhaps again, perhaps after its end."""
        if number < len(self.publishes):
            cid = self.publishes[-1 - number][0]
            self.ack(Command.objects.get(pk=cid).device.key, cid, status, step)

    def lie(self, key: str, number: int) -> None:
        """A device answers what another one was told."""
        cids = self.ids()
        if number < len(cids):
            before = Command.objects.values("state", "changed_at").get(pk=cids[number])
            if Command.objects.get(pk=cids[number]).device.key != key:
                self.ack(key, cids[number], "succeeded")
                assert Command.objects.values("state", "changed_at").get(pk=cids[number]) == before

    def ack(self, key: str, cid: str, status: wire.AckStatus, step: wire.Step = "") -> None:
        commands.settle([wire.Ack(device=key, cid=cid, status=status, received_at=self.now, step=step)], self.now)

    def read(self, key: str, value: bool) -> None:
        telemetry.record([wire.Frame(device=key, values={"led": value}, received_at=self.now)], self.now)

    def come(self, key: str, online: bool) -> None:
        telemetry.record([wire.Presence(device=key, online=online, received_at=self.now)], self.now)

    # -- time

    def wait(self, ms: int) -> None:
        self.now += ms

    def sweep(self) -> None:
        commands.sweep(self.now)

    # -- what holds

    def check(self) -> None:
        for command in Command.objects.select_related("device").prefetch_related("events"):
            self._check_log(command, list(command.events.all()))
            times = [at for cid, at in self.publishes if cid == command.pk]
            assert all(at < command.expires_at for at in times)
            assert not (times and command.state == "cancelled")
            assert len(times) <= (1 if not command.device.remembers else command.sends)
            if len(self.bridges) == 1:
                assert self.done.count(command.pk) <= 1

    def _check_log(self, command: Command, events: list[CommandEvent]) -> None:
        states: list[Any] = [one.state for one in events]
        entered = [state for index, state in enumerate(states) if index == 0 or states[index - 1] != state]
        assert len(entered) == len(set(entered))
        assert entered[0] == "queued"
        assert entered[-1] == command.state
        assert all(lifecycle.may(one, other) for one, other in pairwise(entered))
        steps = [one.step for one in events if one.state == "received"]
        assert steps == sorted(steps, key=("", *STEPS).index)
        assert all(one.by and one.proof for one in events)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(steps=work, bridges=st.sampled_from([1, 2]))
def test_whatever_happens_each_move_is_on_the_table_and_nothing_goes_out_that_must_not(
    db: None, steps: list[Any], bridges: int
) -> None:
    with transaction.atomic():
        world = World(bridges)
        for name, *given_ in steps:
            try:
                getattr(world, name)(*given_)
            except Refusal as refusal:
                assert refusal.code == "too_many_waiting"  # noqa: PT017
            world.check()
        # Whoever is open then is asked for again, if that may be.
        for key in DEVICES:
            world.come(key, online=True)
            with suppress(Refusal):
                world.issue("alice", key, 600)
        for later_ms in (1, 6_000, 12_000):
            world.send(0, later_ms)
            world.check()
        # Once time has passed, and the bridges have come to an end, nothing is open any more.
        world.wait(700_000)
        for number in range(bridges):
            world.crash(number)
        world.sweep()
        world.wait(commands.ORPHAN_MS)
        world.sweep()
        world.check()
        assert set(Command.objects.values_list("state", flat=True)) <= set(lifecycle.CLOSED)
        transaction.set_rollback(True)
