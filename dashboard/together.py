"""Questions that many have at once are asked together: as work comes in while the last batch runs, so it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from dashboard import reads

Q = TypeVar("Q")
A = TypeVar("A")
# Questions in one batch: enough to make each cheap, few enough to let the first go on while others are asked.
AT_ONCE: Final = 100


class Together(Generic[Q, A]):
    """Asks the database in batches, one at a time; a thousand who come at once cost a few reads, and one alone one.

    read   answers each of a list of questions, in their order; an answer that is an error is raised where it was asked
    """

    def __init__(self, read: Callable[[list[Q]], Sequence[A | Exception]]) -> None:
        """Have no question."""
        self._read = read
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """Return the answer, read after this was called."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="asked together")
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            answers: Sequence[A | Exception]
            try:
                answers = await reads.run(self._read, [question for question, _ in asked])
            except Exception as error:  # noqa: BLE001  of whatever kind, it is theirs who asked
                answers = [error] * len(asked)
            for (_, future), answer in zip(asked, answers, strict=True):
                if future.done():
                    continue  # who asked has gone
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        self._task = None
