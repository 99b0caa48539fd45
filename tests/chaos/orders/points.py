"""The points between a request and its result at which something dies, and how our own programs come to pass them.

They lie at the boundaries of the services, so that the programs need to know nothing of them: functions are replaced
by such as call `passing` first or afterwards, in the process under test alone.
"""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from tests.chaos.orders.fuse import Passing

# In the order in which a command passes them: the point → whose it is, and what it is.
POINTS: Final[dict[str, tuple[str, str]]] = {
    "issuing": ("web", "before the transaction that queues it commits"),
    "issued": ("web", "after it committed, before the bridge is rung"),
    "rung": ("web", "after the bridge was rung, before the answer to who asked"),
    "claiming": ("bridge", "before the claim commits"),
    "claimed": ("bridge", "after it committed, before the publish"),
    "published": ("bridge", "after the publish left, before the broker's PUBACK"),
    "taken": ("bridge", "after the PUBACK, before `sent` commits"),
    "sent": ("bridge", "after `sent` committed"),
    "received": ("device", "after it came, before the device acts"),
    "acted": ("device", "after the device acted, before it answers"),
    "answered": ("device", "after its answer left"),
    "heard": ("bridge", "after the answer came, before it commits"),
    "settled": ("bridge", "after it committed, before the PUBACK to the device's broker"),
    "thanked": ("bridge", "after that PUBACK, before it is announced"),
}


def install(passing: Passing) -> None:
    """Have this process pass the points of the web server and of the bridge; for one that has loaded both."""
    from bridge import listener, worker
    from devices import commands, groups
    from django.db.backends.base.base import BaseDatabaseWrapper
    from paho.mqtt.client import Client

    commits = Commits(passing)
    put(BaseDatabaseWrapper, "commit", commits.watching)
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


class Commits(threading.local):
    """Knows in which service this thread is, and so which commit is which."""

    def __init__(self, passing: Passing) -> None:
        self._passing = passing
        self._around: list[tuple[str, str]] = []

    def of(self, uncommitted: str, committed: str) -> Callable[[Any], Any]:
        """A service that commits once; both points may be empty: none."""

        def around(real: Any) -> Any:
            def service(*args: Any, **more: Any) -> Any:
                self._around.append((uncommitted, committed))
                try:
                    return real(*args, **more)
                finally:
                    self._around.pop()

            return service

        return around

    def watching(self, real: Any) -> Any:
        def commit(connection: Any) -> None:
            uncommitted, committed = self._around[-1] if self._around else ("", "")
            if uncommitted:
                self._passing(uncommitted)
            real(connection)
            if committed:
                self._passing(committed)

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
