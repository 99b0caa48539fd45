"""Live: one connection to a hub, through cuts and restarts. `async with live.connect(url, token=…) as hub: …`

    async for row in hub.watch("pump-1", since=timedelta(hours=1)):
        print(row)

Everything runs on one event loop; nothing here is meant for threads.
"""

import asyncio
import json
import secrets
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet, WeakValueDictionary

from telemetry_hub import wishes
from telemetry_hub.commands import Command
from telemetry_hub.errors import Closed, HubError, NoAnswer, Refused
from telemetry_hub.items import (
    Answer,
    CommandState,
    Connection,
    Gap,
    Gone,
    Lag,
    Presence,
    Registration,
    Row,
    Settings,
    Storing,
    Summary,
)
from telemetry_hub.link import Link, Token, now_ms
from telemetry_hub.orders import Ask
from telemetry_hub.told import Answered, Confirmed, Denied, Ended, Told
from telemetry_hub.watch import Events, Watch
from telemetry_hub.wishes import Since

# What the hub refuses for the moment is asked for again after this.
RETRY_S: Final = 3.0
# Credit goes back at most so often; the hub takes 50 messages a second of a client.
GIVE_S: Final = 0.05
ANSWER_S: Final = 30.0
# The hub takes 65,536 bytes.
MAX_SAID: Final = 65_000


def connect(url: str, *, token: Token, give_up_s: float | None = None) -> "Hub":
    """Connect to the hub at `url` (http, https, ws or wss), as whose token it is.

    token       or a function that gives one, asynchronous or not: it is asked for each new socket
    give_up_s   how long the hub may take to be there at first (Unreachable); None: for ever. Later cuts are always
                mended
    """
    return Hub(url, token, give_up_s)


class Hub:
    """A connection to a hub; `connect` makes one."""

    def __init__(self, url: str, token: Token, give_up_s: float | None) -> None:
        """Be ready to connect."""
        self._link = Link(url, token, self._hear, self._look)
        self._state = self._link.state
        self._give_up_s = give_up_s
        self._names = 0
        self._owed = 0
        self._giving: asyncio.TimerHandle | None = None
        self._watches: WeakValueDictionary[str, Watch[Any]] = WeakValueDictionary()
        self._events: WeakSet[Events] = WeakSet()
        self._asked: WeakValueDictionary[str, Command] = WeakValueDictionary()
        self._commands: WeakSet[Command] = WeakSet()
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._task: asyncio.Task[None] | None = None
        self._failed: HubError | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay(), name="hub")
        welcomed = asyncio.create_task(self._link.welcomed.wait())
        try:
            await asyncio.wait([self._task, welcomed], return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await self.close()
            raise
        finally:
            welcomed.cancel()
        if self._task.done():
            await self._task  # a fault of its own
            self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; whoever waits for something gets `Closed`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end(Closed("this connection was closed by the program"))

    async def _stay(self) -> None:
        try:
            await self._link.stay(self._give_up_s)
        except HubError as error:
            self._end(error)
        except Exception as error:
            self._end(HubError(f"a fault in this package: {error!r}"))
            raise

    def _end(self, error: HubError) -> None:
        """Tell everybody that nothing more will come."""
        self._failed = self._failed or error
        waiting: list[Watch[Any] | Events | Command] = [
            *self._watches.values(),
            *self._events,
            *self._commands,
        ]
        for one in waiting:
            one.fail(self._failed)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._failed)

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    # -- what a program wants

    def watch(
        self, *devices: str, metrics: Iterable[str] | None = None, mode: str = "all", since: Since | None = None
    ) -> Watch[Row | Gap | Lag]:
        """Follow devices: rows, and what is missing of them (`Gap`, `Lag`).

        metrics   only these
        mode      all: every row. latest: what piled up is merged into one row with each metric's newest value
        since     timedelta: from so long ago. A cursor (device → seq, as a watch's `cursor`): behind it. None: from now
        """
        request, cursor = wishes.watch(devices, metrics, mode, since)
        return self._watch(request, cursor, sparse=metrics is not None)

    def replay(
        self,
        *devices: str,
        start: datetime,
        end: datetime | None = None,
        speed: float = 1.0,
        metrics: Iterable[str] | None = None,
    ) -> Watch[Row | Gap | Lag]:
        """Have what came from `start` on again, `speed` times as fast, until `end`; without one it goes on live."""
        request = wishes.replay(devices, metrics, start, end, speed)
        return self._watch(request, {}, sparse=metrics is not None)

    def fleet(self, name: str) -> Watch[Summary | Gone]:
        """Follow a fleet: a `Summary` of each device, and again whenever it changes; `Gone` when it has left."""
        return self._watch({"fleet": name}, {})

    def events(self) -> Events:
        """Hear of presence, commands and registrations of watched devices, of the hub, and of this connection."""
        self._check()
        events = Events(self._events.discard)
        self._events.add(events)
        return events

    async def command(
        self,
        device: str,
        name: str,
        args: Any = None,  # noqa: ANN401  any JSON
        *,
        ttl_s: int | None = None,
        key: str | None = None,
        timeout_s: float = ANSWER_S,
    ) -> Command:
        """Give a command; returns when the hub has it. After a cut it is asked again, under the same key.

        ttl_s   seconds after which it is not sent to the device any more (the hub's default is 60)
        key     a command given again under a key is the first one; None: a new one
        """
        self._check()
        command = Command(key or secrets.token_urlsafe(12))
        ask = Ask(self._name("c"), device, name, args, command.key, now_ms(), ttl_s)
        _check_size(ask.message)
        self._asked[ask.id] = command
        self._state.order(ask)
        unknown = f"The hub did not say whether it took this command. Ask again with key={command.key!r}."
        await self._answer(ask.id, timeout_s, unknown)
        return command

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401  any JSON
        *,
        timeout_s: float = ANSWER_S,
    ) -> Answer:
        """Change something as over REST (POST, PUT, PATCH, DELETE; `path` below /api/v1/). It is never made twice."""
        self._check()
        id_ = self._name("k")
        _check_size({"method": method, "path": path, "body": body})
        self._state.call(id_, method, path, body)
        unknown = f"No answer to {method} {path}: whether it was done is not known. Look before you ask again."
        answer: Answer | None = await self._answer(id_, timeout_s, unknown)
        if answer is None:
            raise NoAnswer(unknown)
        return answer

    async def _answer(self, id_: str, timeout_s: float, unknown: str) -> Any:  # noqa: ANN401
        future = self._waiting[id_] = asyncio.get_running_loop().create_future()
        self._link.speak()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise NoAnswer(unknown) from None
        finally:
            del self._waiting[id_]
            self._state.forget(id_)

    def _watch(self, request: dict[str, Any], cursor: dict[str, int], *, sparse: bool = False) -> Watch[Any]:
        self._check()
        watch: Watch[Any] = Watch(self, self._name("w"), cursor, sparse=sparse)
        self._watches[watch.name] = watch
        self._state.want(watch.name, request, now_ms())
        self._link.speak()
        return watch

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    # -- what watches say

    def give(self, credit: int) -> None:
        """So many messages were worked off."""
        self._owed += credit
        if self._owed and self._giving is None:
            self._giving = asyncio.get_running_loop().call_later(GIVE_S, self._give)

    def _give(self) -> None:
        self._giving = None
        self._state.give(self._owed)
        self._owed = 0
        self._link.speak()

    def hold(self, name: str) -> None:
        """Have nothing more of this for now."""
        self._state.pause(name)
        self._link.speak()

    def go_on(self, name: str) -> None:
        """Go on with what was held."""
        self._state.resume(name, now_ms())
        self._link.speak()

    def drop(self, name: str) -> None:
        """Have nothing more of this at all."""
        self._state.drop(name)
        self._link.speak()

    def _look(self) -> None:
        """Hold what nobody takes."""
        for watch in list(self._watches.values()):
            watch.hold_if_stuck(cut=False)

    # -- what the hub says

    def _hear(self, told: list[Told]) -> None:
        for one in told:
            if one.sub:
                self._bring(one)
            else:
                self.give(one.credit)
                for item in one.items:
                    self._note(item)

    def _bring(self, told: Told) -> None:
        watch = self._watches.get(told.sub)
        if watch is None:  # whoever watched has forgotten it
            self.drop(told.sub)
            self.give(told.credit)
            return
        items = [item for item in told.items if not isinstance(item, Ended)]
        if items:
            watch.put(items, told.credit)
        else:
            self.give(told.credit)
        for item in told.items:
            if isinstance(item, Ended):
                self._ended(watch, item)

    def _ended(self, watch: Watch[Any], ended: Ended) -> None:
        if ended.retry:
            asyncio.get_running_loop().call_later(RETRY_S, self.go_on, watch.name)
        else:
            watch.end(ended)
            self._state.drop(watch.name)

    def _note(self, item: object) -> None:
        match item:
            case Confirmed(ask=id_):
                self._confirmed(item)
                self._settle(id_, item)
            case Denied(id_, code, message, retry):
                self._refuse(id_, Refused(code, message, retry=retry))
            case Answered(id_, answer):
                self._settle(id_, answer)
            case CommandState(command=command_id):
                for command in [one for one in self._commands if one.id == command_id]:
                    command.put(item)
        if isinstance(item, Connection) and not item.up:
            for watch in list(self._watches.values()):
                watch.hold_if_stuck(cut=True)
            self._owed = 0  # another socket lends anew
        if isinstance(item, Presence | CommandState | Registration | Settings | Storing | Connection):
            for events in self._events:
                events.put(item)

    def _confirmed(self, confirmed: Confirmed) -> None:
        """Know a command by the hub's id; what was told of it before is put in."""
        command = self._asked.pop(confirmed.ask, None)
        if command is not None:
            command.id, command.new = confirmed.command, confirmed.new
            self._commands.add(command)
            for event in self._state.orders[command.id].events:
                command.put(event)

    def _settle(self, id_: str, answer: object) -> None:
        future = self._waiting.get(id_)
        if future is not None and not future.done():
            future.set_result(answer)

    def _refuse(self, id_: str, error: HubError) -> None:
        future = self._waiting.get(id_)
        if future is not None and not future.done():
            future.set_exception(error)


def _check_size(message: object) -> None:
    if len(json.dumps(message, allow_nan=False)) > MAX_SAID:
        raise ValueError(f"the hub takes no message of more than {MAX_SAID:,} bytes")
