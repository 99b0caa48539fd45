"""A command that this program gave: what became of it, as far as it is proved."""

import asyncio
from collections.abc import AsyncIterator

from telemetry_hub.items import CommandState


class Command:
    """Iterate over its states as they come to be known, or wait until it is `settled()`.

    id      the hub's; the whole event log is at GET /api/v1/commands/<id>/
    new     False: the hub knew the key already, and this is the command that was given first
    """

    def __init__(self, key: str) -> None:
        """Be given, and not confirmed yet."""
        self.key = key
        self.id = ""
        self.new = True
        self.states: list[CommandState] = []
        self._news = asyncio.Event()
        self._end: BaseException | None = None

    @property
    def state(self) -> str:
        """Return the newest state."""
        return max(self.states, key=lambda one: (one.settled, one.at)).state if self.states else "queued"

    async def __aiter__(self) -> AsyncIterator[CommandState]:
        """Give each state that it enters, until nothing more is expected."""
        seen = 0
        while True:
            while seen < len(self.states):
                state = self.states[seen]
                seen += 1
                yield state
                if state.settled:
                    return
            if self._end is not None:
                raise self._end
            news = self._news
            await news.wait()

    async def settled(self) -> CommandState:
        """Wait until nothing more is expected of it; return how it ended."""
        async for state in self:
            if state.settled:
                return state
        raise AssertionError("unreachable: it iterates until then")

    def put(self, state: CommandState) -> None:
        """Take a state that the hub told."""
        self.states.append(state)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Nothing more will be told."""
        self._end = self._end or error
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
