"""A model of everything that can go wrong between the journal and a client, in any order.

Frames are stored; doorbells are lost, doubled, late or in the wrong order; checks come when they come; the client is
slow, is cut off and resumes; old frames are deleted; and all of that also happens while the hub is reading. At the end
the client has exactly what was stored since it began: each row once, in order, or it was told which it cannot have.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dashboard import protocol, reads, rows
from dashboard.cohorts import Cohort, Cohorts, Subscription
from dashboard.feeds import Feed
from dashboard.parcel import Parcel
from dashboard.protocol import Since, Sub
from dashboard.sender import Sender
from devices import telemetry
from devices.models import Head

DEVICES = ("p", "q")
Step = tuple[str, str, int]
# Small bounds, so that few steps reach them.
SMALL = [
    patch.object(protocol, "CREDIT", 3),
    patch.object(protocol, "MAX_BEHIND", 40),
    patch.object(rows, "KEPT", 6),
    patch.object(rows, "CHUNK", 5),
    patch.object(rows, "CHUNK_SIZE", 90),
]


class Journal:
    """What is stored: rows 1 to `head` without those that were deleted; and doorbells on their way."""

    def __init__(self) -> None:
        self.head = dict.fromkeys(DEVICES, 0)
        self.first = dict.fromkeys(DEVICES, 1)
        self.bells: list[tuple[str, list[Any]]] = []

    def store(self, key: str, count: int) -> None:
        start = self.head[key] + 1
        self.head[key] += count
        self.bells.append((key, [self.row(seq) for seq in range(start, start + count)]))

    def row(self, seq: int) -> list[Any]:
        return [seq, seq * 10, {"t": seq}, 0]

    def after(self, pk: int, cursor: int, limit: int) -> list[list[Any]]:
        key = DEVICES[pk]
        start = max(cursor + 1, self.first[key])
        return [self.row(seq) for seq in range(start, self.head[key] + 1)][:limit]

    def first_seq(self, pk: int) -> int | None:
        key = DEVICES[pk]
        return self.first[key] if self.first[key] <= self.head[key] else None

    def prune(self, key: str, count: int) -> None:
        self.first[key] = min(self.head[key] + 1, self.first[key] + count)


class Client:
    """Has what it was sent; believes nothing that does not follow from what it has."""

    def __init__(self) -> None:
        self.began: dict[str, int] = {}
        self.cursor: dict[str, int] = {}
        self.rows: dict[str, list[int]] = {key: [] for key in DEVICES}
        self.missing: dict[str, set[int]] = {key: set() for key in DEVICES}
        self.owed = 0
        self.live = False

    def take(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "data", "devices": parts, "phase": phase}:
                assert (phase == "live") == self.live
                self.owed += 1
                assert self.owed <= protocol.CREDIT
                for key, part in parts.items():
                    self._rows(key, part["prev"], [row[0] for row in part["frames"]])
            case {"type": "gap", "device": key, "from": first, "to": last}:
                self.miss(key, first, last)
            case {"type": "lag", "devices": skipped}:
                for key, count in skipped.items():
                    self.miss(key, self.cursor[key] + 1, self.cursor[key] + count)
            case {"type": "live"}:
                assert not self.live
                self.live = True

    def _rows(self, key: str, prev: int, seqs: list[int]) -> None:
        assert prev == self.cursor[key]
        assert seqs == list(range(prev + 1, prev + 1 + len(seqs)))
        assert seqs
        self.rows[key] += seqs
        self.cursor[key] = seqs[-1]

    def miss(self, key: str, first: int, last: int) -> None:
        assert first == self.cursor[key] + 1
        assert last >= first
        self.missing[key] |= set(range(first, last + 1))
        self.cursor[key] = last


class Peer:
    """One client with its socket, which it also is, and its session."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.client = Client()
        self.subscription: Subscription | None = None
        self.sender = Sender(self, clock=lambda: world.now)
        self.turning = False

    async def send(self, text_data: str) -> None:
        self.client.take(json.loads(text_data))

    async def close(self, code: int) -> None:
        raise AssertionError(code)

    def say(self, text: str) -> None:
        self.sender.say(text)

    def offer(self, sub: str, parcel: Parcel) -> bool:
        return self.sender.offer(sub, parcel)

    def wake(self) -> None:
        """The test takes turns of its own."""

    def end(self, sub: str) -> None:
        raise AssertionError(sub)

    def quit(self, code: int) -> None:
        raise AssertionError(code)

    async def turn(self) -> None:
        if not self.turning:
            self.turning = True
            await self.sender.turn()
            self.turning = False

    def give(self, count: int) -> None:
        given = min(count, self.client.owed)
        if given:
            self.client.owed -= given
            self.sender.window.give(given)

    async def join(self) -> None:
        """(Re)connect: a new socket, the old cursor; in the order that the consumer has."""
        if self.turning:
            return
        self.turning = True
        if self.subscription is not None:
            self.subscription.leave()
        client, world = self.client, self.world
        client.owed, client.live = 0, False
        self.sender = Sender(self, clock=lambda: world.now)
        self.subscription = Subscription(Sub(id="a", devices=list(DEVICES)), self, world.cohorts)
        self.subscription.feeds = dict(world.feeds)
        since = Since(cursor=dict(client.cursor)) if client.cursor else None
        starts = await world.run(world.starts, since)
        self.subscription.stream.begin(world.feeds, starts)
        for start in starts:
            client.began.setdefault(start.key, start.cursor)
            client.cursor.setdefault(start.key, start.cursor)
            if start.skipped:
                client.miss(start.key, *start.skipped[:2])
            assert client.cursor[start.key] == start.cursor
        self.sender.sources["a"] = self.subscription
        self.turning = False

    @property
    def at_rest(self) -> bool:
        subscription = self.subscription
        return subscription is not None and self.client.live and subscription.cohort is not None and not self.owing

    @property
    def owing(self) -> bool:
        return self.subscription is not None and bool(self.subscription.stream.due)


class World:
    """One hub process with two clients that watch the same; and their clock."""

    def __init__(self, steps: Iterator[Step]) -> None:
        self.steps = steps
        self.now = 0.0
        self.journal = Journal()
        self.feeds = {key: Feed(key, pk) for pk, key in enumerate(DEVICES)}
        self.cohorts = Cohorts()
        self.peers = [Peer(self), Peer(self)]

    # -- the database, which takes its time

    async def run(self, read: Callable[..., Any], *args: Any) -> Any:
        await self._something()
        found = read(*args)
        await self._something()
        return found

    async def _something(self) -> None:
        """Do other things while a read goes on."""
        for step in itertools.islice(self.steps, 3):
            await self.step(step)

    def starts(self, since: Since | None) -> list[reads.Start]:
        heads = [Head(device_id=pk, seq=self.journal.head[key]) for pk, key in enumerate(DEVICES)]
        return [
            reads._start(key, head, since, 0, telemetry.first_seq, []) for key, head in zip(DEVICES, heads, strict=True)
        ]

    # -- the steps

    async def step(self, step: Step) -> None:
        match step:
            case "tick", _, _:
                await self.tick()
            case "credit", key, count:
                self.peer(key).give(count)
            case "turn", key, _:
                self.now += protocol.PACE_S
                await self.peer(key).turn()
            case "cut", key, _:
                await self.peer(key).join()
            case _:
                self.outside(step)

    def outside(self, step: Step) -> None:
        """Do what happens to the hub."""
        match step:
            case "store", key, count:
                self.journal.store(key, count)
            case "ring" | "lose" | "double" as how, _, index if self.journal.bells:
                index %= len(self.journal.bells)
                if how != "lose":
                    key, seqs = self.journal.bells[index]
                    self.feeds[key].hear_frames(seqs)
                if how != "double":
                    del self.journal.bells[index]
            case "check", key, _:
                self.feeds[key].moved(self.journal.head[key])
            case "prune", key, count:
                self.journal.prune(key, count)

    def peer(self, key: str) -> Peer:
        return self.peers[DEVICES.index(key)]

    async def tick(self) -> None:
        for cohort in list(self.cohorts._known.values()):
            if cohort.stream.due and not cohort.busy:
                await cohort.tick()

    async def settle(self) -> None:
        """All is quiet, the clients take everything, and a check comes."""
        for _ in range(300):
            for key in DEVICES:
                for kind in ("check", "credit", "turn", "tick"):
                    await self.step((kind, key, 99))
            if all(peer.at_rest for peer in self.peers):
                for peer in self.peers:
                    await peer.turn()
                return
        raise AssertionError("it never comes to rest")


async def play(steps: list[Step]) -> None:
    world = World(iter(steps))
    fake = world.journal
    with (
        patch.object(reads, "run", world.run),
        patch.object(Cohort, "wake", lambda _: None),
        patch.object(telemetry, "after", fake.after),
        patch.object(telemetry, "first_seq", fake.first_seq),
    ):
        for peer in world.peers:
            await peer.join()
        for step in world.steps:
            await world.step(step)
        await world.settle()
    for peer, key in itertools.product(world.peers, DEVICES):
        check(peer.client, world.journal, key)
    assert len(world.cohorts) == 1


def check(client: Client, journal: Journal, key: str) -> None:
    began, head = client.began[key], journal.head[key]
    assert client.rows[key] == sorted(set(client.rows[key]))
    assert not set(client.rows[key]) & client.missing[key]
    assert set(client.rows[key]) | client.missing[key] == set(range(began + 1, head + 1))
    # Nothing is given up that could be had, unless it was too far behind.
    behind = {seq for seq in client.missing[key] if seq >= journal.first[key]}
    assert not behind or head > protocol.MAX_BEHIND


KEYS = st.sampled_from(DEVICES)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), KEYS, st.integers(1, 4)),
        st.tuples(st.sampled_from(["ring", "ring", "ring", "lose", "double"]), KEYS, st.integers(0, 5)),
        st.tuples(st.sampled_from(["turn", "turn", "turn", "tick", "tick", "tick", "check"]), KEYS, st.just(0)),
        st.tuples(st.just("credit"), KEYS, st.integers(1, 3)),
        st.tuples(st.sampled_from(["cut", "prune"]), KEYS, st.sampled_from([1, 5, 99])),
        st.tuples(st.sampled_from(["store", "turn"]), KEYS, st.sampled_from([10, 60])),
    ),
    max_size=80,
)


# While the hub reads, everything that it wants is deleted and something new is stored: the new row is not lost.
NOTHING: list[Step] = [("credit", "p", 1)] * 3
NEW_ROW_WHILE_READING: list[Step] = [
    *NOTHING,
    *NOTHING,  # while it joins
    ("turn", "p", 0),
    ("store", "p", 2),
    ("lose", "p", 0),
    ("check", "p", 0),
    ("prune", "p", 99),
    ("turn", "p", 0),
    *NOTHING,  # before the read; the rest comes after it
    ("store", "p", 1),
    ("ring", "p", 0),
]


# Who joins a cohort further on than it is, and then has no credit, falls behind from where it stands itself.
ONE: Step = ("store", "p", 1)
AHEAD_WITHOUT_CREDIT: list[Step] = [
    *[ONE] * 10,
    ("store", "q", 1),
    ("turn", "p", 0),
    *[ONE] * 5,
    ("tick", "p", 0),
    ("cut", "q", 1),
]


@example(NEW_ROW_WHILE_READING)
@example(AHEAD_WITHOUT_CREDIT)
@given(STEPS)
@settings(max_examples=500)
def test_the_client_ends_with_exactly_the_stored_rows(steps: list[Step]) -> None:
    for small in SMALL:
        small.start()
    try:
        asyncio.run(play(steps))
    finally:
        for small in SMALL:
            small.stop()
