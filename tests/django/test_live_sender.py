"""What goes out on one socket whose pipe is full, that is closing, or that loses what it is just being told."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dashboard import protocol, reads, rows
from dashboard.fleets import FleetFeed, Follower
from dashboard.parcel import Parcel
from dashboard.rows import Part
from dashboard.sender import Sender
from tests.django.live import PATIENCE_S, settle


class Pipe:
    """A socket and its gate: it closes behind each text that has this word in it, until the test opens it.

    straight: the gate takes texts by itself, as a Daphne's does
    """

    def __init__(self, shuts_behind: str = "nothing", *, straight: bool = False) -> None:
        self.straight = straight
        self.texts: list[str] = []
        self.code: int | None = None
        self.shuts_behind = shuts_behind
        self._news = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    @property
    def open(self) -> bool:
        return self._open.is_set()

    async def passed(self) -> None:
        await self._open.wait()

    def write(self, text: str) -> bool:
        if self.straight:
            self._take(text)
        return self.straight

    async def send(self, text_data: str) -> None:
        self._take(text_data)

    def _take(self, text_data: str) -> None:
        self.texts.append(text_data)
        self._news.set()
        if self.shuts_behind in text_data:
            self.shut()

    async def close(self, code: int) -> None:
        self.code = code
        self._news.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                self._news.clear()
                await self._news.wait()

    def shut(self) -> None:
        self._open.clear()

    def empty(self) -> None:
        self._open.set()

    @property
    def kinds(self) -> list[str]:
        return [json.loads(text)["type"] for text in self.texts]


class Source:
    """A subscription that has so many messages to send."""

    def __init__(self, pipe: Pipe, messages: int = 0, id_: str = "a") -> None:
        self.id = id_
        self.session: Any = None
        self.feeds: dict[str, Any] = {}
        self.due: dict[str, None] = {"pump-1": None} if messages else {}
        self.live = False
        self.left = self.settled = False
        self.reading = asyncio.Event()
        self.reading.set()
        self._pipe = pipe
        self._messages = messages

    async def next_parcel(self) -> Parcel:
        await self.reading.wait()
        self._messages -= 1
        self.due = {"pump-1": None} if self._messages else {}
        return parcel()

    def cross_seam(self) -> bool:
        self.live, crossed = True, not self.live
        return crossed

    def settle(self) -> None:
        self.settled = True
        assert not self.left

    def leave(self) -> None:
        self.left = True

    def lost(self, key: str) -> None:
        """Hear of nothing."""


def parcel(size: int = 10) -> Parcel:
    made = Parcel()
    made.put("pump-1", Part(1, 1, size, f'{{"prev":0,"frames":["{"x" * size}"]}}'))
    made.seal("live", sent=1)
    return made


@pytest.fixture(params=[False, True], ids=["through ASGI", "straight"])
async def pipe(request: pytest.FixtureRequest) -> Pipe:
    return Pipe(straight=request.param)


@pytest.fixture
async def one(pipe: Pipe) -> AsyncIterator[Sender]:
    made = Sender(pipe, pipe)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()


async def closed(pipe: Pipe) -> int | None:
    await pipe.until(lambda: pipe.code is not None)
    return pipe.code


async def test_one_that_ends_while_its_seam_is_being_told_joins_nobody_any_more(pipe: Pipe, one: Sender) -> None:
    source = Source(pipe)
    pipe.shut()
    one.add(source)
    await settle()
    assert one.drop("a")
    pipe.empty()
    await settle()
    assert pipe.kinds == ["live"]
    assert not source.settled


async def test_a_full_pipe_is_given_up_at_once_however_many_wait_for_it(pipe: Pipe, one: Sender) -> None:
    pipe.shut()
    one.say('{"type":"pong"}')
    await settle()
    receiving = asyncio.create_task(one.passed())  # a client's next `sub` waits, too
    await settle()
    one.quit(4401)
    assert await closed(pipe) == 4401
    async with asyncio.timeout(PATIENCE_S):
        await receiving
    assert not pipe.texts


async def test_a_full_pipe_is_given_up_soon_when_the_last_word_and_the_end_come_together(
    pipe: Pipe, one: Sender
) -> None:
    pipe.shut()
    one.say('{"type":"end"}')
    one.quit(4401)
    assert await closed(pipe) == 4401


async def test_what_was_said_before_the_end_still_goes_to_one_who_takes_it(pipe: Pipe, one: Sender) -> None:
    pipe.shuts_behind = "end"
    pipe.shut()
    one.say('{"type":"state"}')
    await settle()
    one.say('{"type":"end"}')
    one.quit(4401)
    await settle()
    pipe.empty()
    assert await closed(pipe) == 4401
    assert pipe.kinds == ["state", "end"]


async def test_much_at_once_for_many_subscriptions_is_no_reason_to_close(pipe: Pipe, one: Sender) -> None:
    told = sum(one.offer(f"s{index}", parcel(rows.CHUNK_SIZE)) for index in range(protocol.CREDIT))
    assert one.closing is None
    await settle()
    assert len(pipe.texts) == told >= 1
    one.give(1)
    assert one.offer("s", parcel())


async def test_no_more_is_sent_than_was_lent_while_one_subscription_reads(pipe: Pipe, one: Sender) -> None:
    source = Source(pipe, messages=3)
    source.live = True
    source.reading.clear()
    one.add(source)
    await settle()
    while one.offer("b", parcel()):
        pass
    source.reading.set()
    await settle()
    assert pipe.kinds.count("data") == protocol.CREDIT
    one.give(1)
    await pipe.until(lambda: pipe.kinds.count("data") == protocol.CREDIT + 1)


class Session:
    """Whom a follower of a fleet listens for."""

    def __init__(self, one: Sender) -> None:
        self.say, self.wake, self.offer = one.say, one.wake, one.offer


def summary(seq: int) -> dict[str, Any]:
    return {"name": "Pump", "seq": seq, "presence": "online", "since": 0}


async def test_what_was_read_for_a_slow_follower_never_comes_after_what_is_newer(
    pipe: Pipe, one: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {"pump-1": summary(1)}
    answer = asyncio.Event()
    answer.set()

    async def run(*_: object) -> dict[str, Any]:
        found = dict(stored)
        await answer.wait()
        return found

    monkeypatch.setattr(reads, "run", run)
    fleet = FleetFeed("greenhouse", 1)
    marks = {"pump-1": reads.mark_of(stored["pump-1"])}
    session: Any = Session(one)
    follower = Follower("f", session, fleet)
    fleet.followers.add(follower)
    fleet.learn(marks)
    one.add(follower)
    follower.begin(marks)
    await pipe.until(lambda: pipe.kinds == ["ok", "fleet"])

    answer.clear()
    pipe.shut()
    fleet.hear({"pump-1": summary(2)})
    stored["pump-1"] = summary(2)
    await asyncio.sleep(2 * protocol.PACE_S)  # it reads now
    one.say('{"type":"pong"}')
    answer.set()
    await settle()  # and waits for the pipe, with what it has read
    pipe.empty()
    stored["pump-1"] = summary(3)
    fleet.hear({"pump-1": summary(3)})
    await pipe.until(lambda: '"seq":3' in pipe.texts[-1])
    await asyncio.sleep(2 * protocol.PACE_S)
    seqs = [json.loads(text)["devices"]["pump-1"]["seq"] for text in pipe.texts if '"fleet"' in text]
    assert seqs == sorted(seqs)
    assert seqs[-1] == 3
