"""The lock of a bridge's name, and what a bridge makes of it, step by step: on a real PostgreSQL, and on a file."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db.utils import ConnectionHandler
from django.utils.connection import ConnectionProxy

from bridge import lead
from bridge.duty import Duty
from bridge.lead import AwayError, File, NotLeadingError, Session
from hub.settings import database
from tests import services
from tests.system.conftest import opened

PATIENCE_S = 15.0
Sessions = Callable[[], Session]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Service]:
    """A PostgreSQL that may be stopped."""
    yield from opened(services.postgres(tmp_path_factory.mktemp("postgres")))


@pytest.fixture
def on_postgres(
    server: services.Service, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> Iterator[ConnectionHandler]:
    """The hub's settings name this PostgreSQL, each thread with a connection of its own."""
    described = database(server.url)
    described["OPTIONS"].pop("pool")
    handler = ConnectionHandler({"default": described})
    monkeypatch.setattr(lead, "connection", ConnectionProxy(handler, "default"))
    with django_db_blocker.unblock():  # what it keeps from tests is the hub's own database
        yield handler
        handler.close_all()


@pytest.fixture
async def session(on_postgres: ConnectionHandler) -> AsyncIterator[Sessions]:
    """Make rivals for the name `main`."""
    made: list[Session] = []

    def make(name: str = "main") -> Session:
        made.append(Session(name))
        return made[-1]

    yield make
    for one in made:
        await one.release()


class Writer:
    """A thread that stores: a transaction that begins with the fence."""

    def __init__(self, handler: ConnectionHandler, session: Session) -> None:
        self._handler, self._session, self._term = handler, session, session.term
        self.fenced, self.go = threading.Event(), threading.Event()

    def store(self) -> str:
        connection: Any = self._handler["default"]
        connection.set_autocommit(False)
        try:
            self._session.fence(self._term)
            self.fenced.set()
            self.go.wait(PATIENCE_S)
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.commit()
        except Exception as error:  # noqa: BLE001  what it is, is what the tests ask
            return type(error).__name__
        finally:
            connection.close()
        return "committed"


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def cut(server: services.Service, name: str = "main") -> None:
    """Cut the connection of whoever has the lock."""
    query = """SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND application_name = %s"""
    with psycopg.connect(server.url, autocommit=True) as connection:
        assert connection.execute(query, [f"telemetry-hub bridge {name}"]).fetchall()


async def test_one_has_the_lock_and_the_others_do_not(session: Sessions) -> None:
    first, second, other = session(), session(), session("other")
    assert [await one.keep() for one in (first, second, first, second, other)] == [True, False, True, False, True]


async def test_whoever_gives_it_up_is_followed_at_once(session: Sessions) -> None:
    first, second = session(), session()
    assert await first.keep()
    await first.release()
    assert await second.keep()
    assert not await first.keep()


async def test_a_lost_connection_loses_the_lock_to_whoever_asks_first(
    session: Sessions, server: services.Service
) -> None:
    first, second = session(), session()
    assert await first.keep()
    cut(server)
    assert await second.keep()
    assert not await first.keep()


async def test_a_lost_connection_is_made_again_when_nobody_else_asks(
    session: Sessions, server: services.Service
) -> None:
    only = session()
    assert await only.keep()
    term = only.term
    cut(server)
    assert await only.keep()
    assert only.term != term


async def test_while_the_server_is_away_nobody_can_tell_and_nobody_stores(
    session: Sessions, on_postgres: ConnectionHandler, server: services.Service, thread: ThreadPoolExecutor
) -> None:
    only = session()
    assert await only.keep()
    server.stop()
    try:
        with pytest.raises(AwayError):
            await only.keep()
    finally:
        server.start()
    writer = Writer(on_postgres, only)
    assert await asyncio.wrap_future(thread.submit(writer.store)) == NotLeadingError.__name__
    assert await only.keep()


# --- the race: the elder does not know yet that it has lost its lock


async def test_what_the_elder_begins_after_it_lost_the_lock_is_refused(
    session: Sessions, on_postgres: ConnectionHandler, server: services.Service, thread: ThreadPoolExecutor
) -> None:
    elder, younger = session(), session()
    assert await elder.keep()
    cut(server)
    writer = Writer(on_postgres, elder)
    assert await asyncio.wrap_future(thread.submit(writer.store)) == NotLeadingError.__name__
    assert await younger.keep()
    assert await asyncio.wrap_future(thread.submit(writer.store)) == NotLeadingError.__name__


async def test_what_the_elder_has_in_hand_is_refused_even_if_it_leads_again_and_noticed_nothing(
    session: Sessions, on_postgres: ConnectionHandler, server: services.Service, thread: ThreadPoolExecutor
) -> None:
    elder, younger = session(), session()
    assert await elder.keep()
    writer = Writer(on_postgres, elder)
    cut(server)
    assert await younger.keep()
    cut(server)
    assert await elder.keep()
    assert await asyncio.wrap_future(thread.submit(writer.store)) == NotLeadingError.__name__


async def test_what_the_elder_is_committing_is_waited_for(
    session: Sessions, on_postgres: ConnectionHandler, server: services.Service, thread: ThreadPoolExecutor
) -> None:
    elder, younger = session(), session()
    assert await elder.keep()
    writer = Writer(on_postgres, elder)
    stored = asyncio.wrap_future(thread.submit(writer.store))
    await asyncio.to_thread(writer.fenced.wait, PATIENCE_S)
    cut(server)
    taking = asyncio.create_task(younger.keep())
    await asyncio.sleep(lead.WRITERS_S / 4)
    assert not taking.done()
    writer.go.set()
    assert await stored == "committed"
    assert await taking


async def test_what_the_elder_does_not_finish_is_ended(
    session: Sessions, on_postgres: ConnectionHandler, server: services.Service, thread: ThreadPoolExecutor
) -> None:
    elder, younger = session(), session()
    assert await elder.keep()
    writer = Writer(on_postgres, elder)
    stored = asyncio.wrap_future(thread.submit(writer.store))
    await asyncio.to_thread(writer.fenced.wait, PATIENCE_S)
    cut(server)
    assert await younger.keep()
    writer.go.set()
    assert await stored == "OperationalError"


# --- a file


async def test_a_file_is_locked_by_one_until_it_ends(tmp_path: Path) -> None:
    first, second = File(tmp_path / "lock"), File(tmp_path / "lock")
    assert [await one.keep() for one in (first, second, first)] == [True, False, True]
    first.fence(first.term)
    await first.release()
    assert await second.keep()
    await second.release()


async def test_where_no_file_can_be_nobody_can_tell(tmp_path: Path) -> None:
    with pytest.raises(AwayError):
        await File(tmp_path / "nowhere" / "lock").keep()


# --- on duty


class Says(lead.Alone):
    """A lock that says what it is told to: True, False, or AwayError."""

    def __init__(self) -> None:
        self.answer: bool | None = False

    async def keep(self) -> bool:
        if self.answer is None:
            raise AwayError("nobody answers")
        return self.answer

    async def release(self) -> None:
        self.answer = False


class Works:
    """Stands where a worker stands."""

    def __init__(self) -> None:
        self.ready, self.stopping, self.broken = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.ended = ""

    async def run(self) -> None:
        try:
            stops = [asyncio.create_task(event.wait()) for event in (self.stopping, self.broken)]
            await asyncio.wait(stops, return_when=asyncio.FIRST_COMPLETED)
            for stop in stops:
                stop.cancel()
            if self.broken.is_set():
                raise RuntimeError("a bug")
            self.ended = "in order"
        except asyncio.CancelledError:
            self.ended = "at once"
            raise


@pytest.fixture
def says() -> Says:
    return Says()


@pytest.fixture
async def duty(says: Says, tmp_path: Path) -> AsyncIterator[Duty]:
    worker: Any = Works
    made = Duty(says, worker, tmp_path / "alive")
    yield made
    await made._stand_down()


async def test_whoever_stands_by_is_alive_and_works_nothing(duty: Duty, tmp_path: Path) -> None:
    await duty.look_once()
    assert duty.worker is None
    assert duty.standing_by.is_set()
    assert (tmp_path / "alive").exists()


async def test_whoever_works_is_alive_from_the_moment_on_when_it_hears_the_broker(
    duty: Duty, says: Says, tmp_path: Path
) -> None:
    says.answer = True
    await duty.look_once()
    await duty.look_once()
    assert not (tmp_path / "alive").exists()
    assert duty.worker is not None
    duty.worker.ready.set()
    await asyncio.wait_for(duty.ready.wait(), PATIENCE_S)
    assert (tmp_path / "alive").exists()


async def test_whoever_loses_the_lock_stops_at_once_and_may_work_again(duty: Duty, says: Says) -> None:
    says.answer = True
    await duty.look_once()
    await asyncio.sleep(0)
    worker: Any = duty.worker
    says.answer = False
    await duty.look_once()
    assert (worker.ended, duty.worker) == ("at once", None)
    says.answer = True
    await duty.look_once()
    assert duty.worker not in (None, worker)


async def test_while_nobody_can_tell_whoever_works_goes_on_hearing(duty: Duty, says: Says) -> None:
    says.answer = True
    await duty.look_once()
    worker = duty.worker
    says.answer = None
    await duty.look_once()
    assert duty.worker is worker is not None


async def begun(duty: Duty) -> tuple["asyncio.Task[None]", Any]:
    running = asyncio.create_task(duty.run())
    async with asyncio.timeout(PATIENCE_S):
        while duty.worker is None:  # noqa: ASYNC110  it rings no bell
            await asyncio.sleep(0)
    return running, duty.worker


async def test_a_bug_of_the_worker_comes_out(duty: Duty, says: Says) -> None:
    says.answer = True
    running, worker = await begun(duty)
    worker.broken.set()
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(running, PATIENCE_S)


async def test_whoever_is_asked_to_end_finishes_and_lets_the_next_one_lead(duty: Duty, says: Says) -> None:
    says.answer = True
    running, worker = await begun(duty)
    duty.stopping.set()
    await asyncio.wait_for(running, PATIENCE_S)
    assert (worker.ended, says.answer) == ("in order", False)


async def test_each_change_is_said_once(duty: Duty, says: Says, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for answer in (False, False, True, True, None, None, True):
        says.answer = answer
        await duty.look_once()
    said = [record.message.partition(":")[0].partition(" (")[0] for record in caplog.records]
    assert said == ["standing by", "active", "cannot ask for the lock of this bridge's name", "active"]
