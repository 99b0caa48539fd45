"""PURE. Which commands are to be carried out, and what is answered; the store that remembers them is an argument.

A command is carried out at most once: it is remembered before anything of it is done. One that comes again gets its
answer again; one that was under way when the program ended gets an error that says so.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from telemetry_hub.device.arguments import Argument, Nonsense, Spec, read
from telemetry_hub.device.store import Store
from telemetry_hub.device.words import MAX_TEXT, Outcome, Publish, ack, expiry_of, topic

ACCEPTED: Final = Outcome("accepted")
_INTERRUPTED: Final = Outcome("error", message="was interrupted: the program ended meanwhile")
_RETAINED: Final = Outcome("rejected", message="a command must not be retained: nobody knows how old it is")
_TOO_LATE: Final = Outcome("expired", message="came when its time was over")


class Duty(NamedTuple):
    """A command that is to be carried out now; whoever does begins with `tell`, that it is accepted."""

    name: str
    cid: str
    argument: Argument


class Duties:
    """One device's commands. `answers` are to be sent, the first first; `told` takes one away."""

    def __init__(self, key: str, store: Store, specs: Mapping[str, Spec], longest: int = MAX_TEXT) -> None:
        self._key = key
        self._store = store
        self._specs = specs
        self._longest = longest
        self.answers: deque[Publish] = deque()

    def start(self) -> None:
        """The program begins: what it did not come to tell is told now."""
        self._store.interrupted(ack(_INTERRUPTED))
        self.answers = deque(self._answer(cid, answer) for cid, answer in self._store.untold())

    def hear(self, levels: list[str], payload: bytes, wall: int, *, retained: bool = False) -> tuple[bool, Duty | None]:
        """Take what came to cmd/…: whether it is answered for the first time, and what is to be carried out."""
        match levels:
            case [name, cid] if cid:
                pass
            case _:
                return False, None
        if (known := self._store.answer_of(cid)) is not None:
            self.answers.append(self._answer(cid, known or ack(ACCEPTED)))
            return False, None
        self._store.begin(cid)
        try:
            argument = self._judged(name, cid, payload, wall, retained=retained)
        except _Refused as refused:
            self.settle(cid, refused.outcome)
            return True, None
        return True, Duty(name, cid, argument)

    def _judged(self, name: str, cid: str, payload: bytes, wall: int, *, retained: bool) -> Argument:
        if retained:
            raise _Refused(_RETAINED)
        until = expiry_of(cid)
        if until is not None and wall > until:
            raise _Refused(_TOO_LATE)
        try:
            return read(self._specs, name, payload, self._longest)
        except Nonsense as nonsense:
            raise _Refused(Outcome("rejected", message=str(nonsense))) from None

    def tell(self, cid: str, outcome: Outcome = ACCEPTED) -> None:
        """Say how far it is."""
        self.answers.append(self._answer(cid, ack(outcome)))

    def settle(self, cid: str, outcome: Outcome) -> None:
        """Say how it ended."""
        answer = ack(outcome)
        self._store.settle(cid, answer)
        self.answers.append(self._answer(cid, answer))

    def settle_at_start(self, cid: str, outcome: Outcome) -> None:
        """Have it end so when the program is there again."""
        self._store.settle(cid, ack(outcome))

    def told(self) -> None:
        """The broker has the first of the answers."""
        answer = self.answers.popleft()
        cid = answer.topic.rsplit("/", 1)[1]
        if self._store.answer_of(cid) == answer.payload:
            self._store.told(cid)

    def _answer(self, cid: str, answer: bytes) -> Publish:
        return Publish(topic(self._key, "ack", cid), answer)


class _Refused(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome
