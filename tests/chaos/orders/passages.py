"""How our own programs come to pass the points: for a process that has set Django up and loaded both of them.

The points lie at the boundaries of the services, so that the programs need to know nothing of them: functions are
replaced by such as call `passing` first or afterwards, in the process under test alone.
"""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from paho.mqtt.client import Client

from bridge import listener, worker
from devices import commands, groups
from tests.chaos.orders.fuse import Passing


def install(passing: Passing) -> None:
    """Have this process pass the points of the web server and of the bridge; for one that has loaded both."""
    commits = Commits(passing)
    put(CursorWrapper, "execute", commits.executing)
    put(BaseDatabaseWrapper, "commit", commits.committing)
    put(commands, "issue", commits.of("issuing", "issued"))
    put(groups, "announce", after_ringing(passing))
    put(commands, "claim", commits.of("claiming", "claimed"))
    put(Client, "publish", after_publishing(passing))
    put(commands, "sent", before("taken", passing))
    put(commands, "sent", commits.of("", "sent"))
    answers = Answers(passing)
    put(listener, "store", answers.storing)
    put(worker.Worker, "tell", answers.telling)


def put(owner: Any, name: str, around: Callable[[Any], Any]) -> None:
    real = getattr(owner, name)
    setattr(owner, name, wraps(real)(around(real)))


def before(point: str, passing: Passing) -> Callable[[Any], Any]:
    def around(real: Any) -> Any:
        def passed(*args: Any, **more: Any) -> Any:
            passing(point)
            return real(*args, **more)

        return passed

    return around


def after_ringing(passing: Passing) -> Callable[[Any], Any]:
    def around(real: Any) -> Any:
        async def announce(*messages: Any) -> Any:
            lost = await real(*messages)
            if any(message["type"] == "device.order" for message in messages):
                passing("rung")
            return lost

        return announce

    return around


def after_publishing(passing: Passing) -> Callable[[Any], Any]:
    def around(real: Any) -> Any:
        def publish(client: Any, topic: str, *args: Any, **more: Any) -> Any:
            info = real(client, topic, *args, **more)
            if "/cmd/" in topic:
                passing("published")
            return info

        return publish

    return around


class Service:
    """A call of a service: which points its commit passes, and whether it has written anything."""

    def __init__(self, uncommitted: str, committed: str) -> None:
        self.uncommitted, self.committed = uncommitted, committed
        self.wrote = False


class Commits(threading.local):
    """Knows in which service this thread is, and so which commit is which; one that changed nothing is none."""

    def __init__(self, passing: Passing) -> None:
        self._passing = passing
        self._calls: list[Service] = []

    def of(self, uncommitted: str, committed: str) -> Callable[[Any], Any]:
        """A service that commits once; either point may be empty: none."""

        def around(real: Any) -> Any:
            def service(*args: Any, **more: Any) -> Any:
                self._calls.append(Service(uncommitted, committed))
                try:
                    return real(*args, **more)
                finally:
                    self._calls.pop()

            return service

        return around

    def executing(self, real: Any) -> Any:
        def execute(cursor: Any, sql: str, params: Any = None) -> Any:
            found = real(cursor, sql, params)
            if self._calls and sql.startswith(("INSERT", "UPDATE")) and cursor.rowcount > 0:
                self._calls[-1].wrote = True
            return found

        return execute

    def committing(self, real: Any) -> Any:
        def commit(connection: Any) -> None:
            call = self._calls[-1] if self._calls else Service("", "")
            if call.wrote:
                self._passing(call.uncommitted)
            real(connection)
            if call.wrote:
                self._passing(call.committed)

        return commit


class Answers:
    """Knows which batches had answers of devices in them."""

    def __init__(self, passing: Passing) -> None:
        self._passing = passing
        self._had = False

    def storing(self, real: Any) -> Any:
        def store(batch: Any, *args: Any, **more: Any) -> Any:
            if batch.acks:
                self._passing("heard")
            stored = real(batch, *args, **more)
            if batch.acks:
                self._had = True
                self._passing("settled")
            return stored

        return store

    def telling(self, real: Any) -> Any:
        async def tell(worker: Any, stored: Any) -> None:
            if self._had:
                self._had = False
                self._passing("thanked")
            await real(worker, stored)

        return tell
