"""What is known of a watched device, and who watches it. Tells its watchers; reads nothing and asks nobody.

Two things tell a feed: doorbells (`hear_…`) and the database (`read_…`). A read is older than a doorbell that rang
while it went on; `as_of`, the number of doorbells heard when it began, decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from dashboard import protocol
from dashboard.parcel import Parcel
from dashboard.path import Bells
from dashboard.rows import Hops, Kept, Row

if TYPE_CHECKING:
    from dashboard.permits import Pass

# Commands of a device whose state is remembered, so that a check repeats nothing.
REMEMBERED: Final = 200

Told = dict[str, Any]


class Session(Protocol):
    """One signed-in socket, as the feeds see it."""

    @property
    def pass_(self) -> Pass:
        """Return how it was let in."""

    def watching(self) -> Collection[Subscriber]:
        """Return what listens for it now."""

    def say(self, text: str) -> None:
        """Send a text that needs no credit."""

    def wake(self) -> None:
        """Look again: a subscription has something new."""

    def offer(self, sub: str, parcel: Parcel) -> bool:
        """Send what is the same for many, if there is credit and room for it; whether there was."""

    def end(self, sub: str, reason: str = "permission_revoked") -> None:
        """End a subscription that is not permitted any more, or over, and say so."""

    def quit(self, code: int) -> None:
        """Close it."""


class Subscriber(Protocol):
    """What listens to devices, for a socket."""

    @property
    def session(self) -> Session:
        """Return whom it listens for."""

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """Return to which devices it listens, by key. With a device more it is another mapping (permits.py)."""

    def lost(self, key: str) -> None:
        """Listen to this device no longer: it is gone, or may not be seen any more."""


class Listener(Protocol):
    """What takes a device's rows."""

    def news(self, key: str) -> None:
        """Rows of this device are there, or its head moved."""


class Known(NamedTuple):
    """What was last told of a command, and after how many doorbells."""

    heard: int
    message: Told

    def differs(self, message: Told) -> bool:
        """Whether this would be news."""
        return any(self.message[field] != message[field] for field in ("state", "progress"))


class Feed:
    """One watched device: where it stands, its newest rows, who watches."""

    def __init__(self, key: str, pk: int) -> None:
        """Know nothing yet."""
        self.key = key
        self.pk = pk
        self.head = 0
        self.kept = Kept()
        self.bells = Bells()
        self.state: Told = {}
        self.commands: dict[str, Known] = {}
        # Whether all commands that are open or changed lately are among them: they were read once, while we listened.
        self.knows_commands = False
        self.subscribers: set[Subscriber] = set()
        self.streams: set[Listener] = set()
        self.joined = False
        # Whether nobody watched at the last check: at the next one it is forgotten.
        self.idle = False
        self.heard = 0
        self._state_heard = 0

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self.subscribers)

    def hear_frames(self, rows: list[Row], hops: Hops | None = None) -> None:
        """Keep rows and wake who watches."""
        self.kept.add(rows, hops)
        self.moved(rows[-1][0])

    def moved(self, head: int) -> None:
        """Take note of a head; wake those who are behind it."""
        if head > self.head:
            self.head = head
            for stream in list(self.streams):
                stream.news(self.key)

    def say(self, text: str, but: Session | None = None) -> None:
        """Tell every socket that watches this device, once."""
        for session in self._sessions(but):
            session.say(text)

    def confide(self, text: str) -> None:
        """Tell those of them who are users; who follows a link is told of readings alone."""
        for session in self._sessions(None):
            if not session.pass_.link:
                session.say(text)

    def _sessions(self, but: Session | None) -> set[Session]:
        return {subscriber.session for subscriber in self.subscribers if subscriber.session is not but}

    # -- presence

    def hear_state(self, state: Told) -> None:
        """Tell of presence, if it is another than before."""
        self.heard += 1
        self._state_heard = self.heard
        self._tell_state(state)

    def read_state(self, state: Told, as_of: int, but: Session | None = None) -> None:
        """Tell of presence as the database has it, unless a doorbell knew better meanwhile."""
        if self._state_heard <= as_of:
            self._tell_state(state, but)

    def _tell_state(self, state: Told, but: Session | None = None) -> None:
        if state != self.state:
            self.state = state
            self.say(self.state_text(), but)

    def state_text(self) -> str:
        """Say the presence that is known."""
        return protocol.text(kind="state", device=self.key, **self.state)

    # -- commands

    def hear_command(self, message: Told) -> None:
        """Tell of a command's state, if it is another than before."""
        self.heard += 1
        self._tell_command(message)

    def read_command(self, message: Told, as_of: int, but: Session | None = None) -> bool:
        """Tell of a command as the database has it; whether no doorbell knew better meanwhile."""
        known = self.commands.get(message["command"])
        if known and known.heard > as_of:
            return False
        self._tell_command(message, but)
        return True

    def _tell_command(self, message: Told, but: Session | None = None) -> None:
        known = self.commands.pop(message["command"], None)
        self.commands[message["command"]] = Known(self.heard, message)
        while len(self.commands) > REMEMBERED:
            del self.commands[next(iter(self.commands))]
        if known is None or known.differs(message):
            text = protocol.text(kind="cmd_state", **message)
            for session in self._sessions(but):
                if not session.pass_.link:
                    session.say(text)

    def recent(self, since: int, states: Collection[str]) -> list[Told]:
        """Return the commands that changed since then (ms), or are in one of these states."""
        told = [known.message for known in self.commands.values()]
        return [message for message in told if message["at"] >= since or message["state"] in states]
