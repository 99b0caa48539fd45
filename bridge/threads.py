"""Threads for the synchronous services, with the care that connections of long-lived threads need."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


class Threads:
    """A few threads of one's own, so that whoever uses others does not wait for these."""

    def __init__(self, name: str, count: int) -> None:
        """Start none yet; they come as they are needed, and stay."""
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a service and return what it returns."""

        def careful() -> R:
            close_old_connections()
            try:
                return work(*args, **kwargs)
            finally:
                close_old_connections()

        return await sync_to_async(careful, thread_sensitive=False, executor=self._executor)()

    def end(self) -> None:
        """Wait for what is being done, and end."""
        self._executor.shutdown()

    def abandon(self) -> None:
        """End without waiting for what is being done."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def now_ms() -> int:
    """Return the time as everything stores it."""
    return time.time_ns() // 1_000_000
