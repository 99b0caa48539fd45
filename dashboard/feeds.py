"""What is known of a watched device or fleet, and who watches it. Tells its watchers; reads nothing and asks nobody.

Two things tell a feed: doorbells (`hear_…`) and the database (`read_…`). A read is older than a doorbell that rang
while it went on; `as_of`, the number of doorbells heard when it began, decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol

from dashboard import protocol
from dashboard.rows import Kept, Row

# Commands of a device whose state is remembered, so that a check repeats nothing.
REMEMBERED: Final = 200
# Devices in one message of a fleet.
FLEET_CHUNK: Final = 200

Told = dict[str, Any]


class Session(Protocol):
    """One signed-in socket, as the feeds see it."""

    @property
    def user_pk(self) -> int:
        """Return whose it is."""

    def say(self, text: str) -> None:
        """Send a text that needs no credit."""

    def wake(self) -> None:
        """Look again: a subscription has something new."""

    def end(self, sub: str) -> None:
        """End a subscription that is not permitted any more, and say so."""

    def quit(self, code: int) -> None:
        """Close it."""


class Subscriber(Protocol):
    """What listens to devices, for a socket."""

    @property
    def session(self) -> Session:
        """Return whom it listens for."""

    def news(self, key: str) -> None:
        """Rows of this device are there, or its head moved."""

    def lost(self, key: str) -> None:
        """Listen to this device no longer: it is gone, or may not be seen any more."""


class Known(NamedTuple):
    """What was last told of a command, and after how many doorbells."""

    heard: int
    state: str
    progress: float | None


class Feed:
    """One watched device: where it stands, its newest rows, who watches."""

    def __init__(self, key: str, pk: int) -> None:
        """Know nothing yet."""
        self.key = key
        self.pk = pk
        self.head = 0
        self.kept = Kept()
        self.state: Told = {}
        self.commands: dict[str, Known] = {}
        self.subscribers: set[Subscriber] = set()
        self.joined = False
        # Whether nobody watched at the last check: at the next one it is forgotten.
        self.idle = False
        self.heard = 0
        self._state_heard = 0

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self.subscribers)

    def hear_frames(self, rows: list[Row]) -> None:
        """Keep rows and wake who watches."""
        self.kept.add(rows)
        self.moved(rows[-1][0])

    def moved(self, head: int) -> None:
        """Take note of a head; wake those who are behind it."""
        if head > self.head:
            self.head = head
            for subscriber in self.subscribers:
                subscriber.news(self.key)

    def say(self, text: str, but: Session | None = None) -> None:
        """Tell every socket that watches this device, once."""
        for session in {subscriber.session for subscriber in self.subscribers} - {but}:
            session.say(text)

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
        now = Known(self.heard, message["state"], message["progress"])
        self.commands[message["command"]] = now
        while len(self.commands) > REMEMBERED:
            del self.commands[next(iter(self.commands))]
        if known is None or known[1:] != now[1:]:
            self.say(protocol.text(kind="cmd_state", **message), but)


class Mark(NamedTuple):
    """What tells that a device's summary changed."""

    name: str
    seq: int
    presence: str
    since: int


def mark_of(summary: Told) -> Mark:
    """Return the mark of a summary."""
    return Mark(*(summary[field] for field in Mark._fields))


class Follower:
    """A subscription to a fleet. What comes before its first picture waits, or the older would come last."""

    def __init__(self, session: Session, sub: str) -> None:
        """Wait for the first picture."""
        self.session = session
        self.id = sub
        self.fleet: FleetFeed | None = None
        self._waiting: list[str] | None = []

    def leave(self) -> None:
        """Listen no longer."""
        if self.fleet is not None:
            self.fleet.followers.discard(self)

    def tell(self, devices: str) -> None:
        """Send encoded summaries."""
        if self._waiting is None:
            self.session.say(f'{{"type":"fleet","id":{protocol.encode(self.id).decode()},"devices":{devices}}}')
        else:
            self._waiting.append(devices)

    def begin(self, devices: dict[str, Told]) -> None:
        """Send the first picture, and what has come since."""
        head = {key: summary["seq"] for key, summary in devices.items()}
        self.session.say(protocol.text(kind="ok", id=self.id, head=head, recovered=True))
        waiting, self._waiting = self._waiting or [], None
        for text in [*encoded_chunks(devices), *waiting]:
            self.tell(text)


class FleetFeed:
    """One watched fleet: what its followers were told, and who they are."""

    def __init__(self, slug: str, pk: int) -> None:
        """Know nobody yet."""
        self.slug = slug
        self.pk = pk
        self.followers: set[Follower] = set()
        self.told: dict[str, Mark] = {}
        self.joined = False
        self.idle = False
        self.heard = 0
        self._heard_of: dict[str, int] = {}

    @property
    def watched(self) -> bool:
        """Whether anybody follows."""
        return bool(self.followers)

    def hear(self, devices: dict[str, Told]) -> set[str]:
        """Tell what a doorbell said of the fleet's devices; return those that are not known to be its own."""
        self.heard += 1
        own = {key: summary for key, summary in devices.items() if key in self.told}
        self._heard_of.update(dict.fromkeys(own, self.heard))
        self._tell(own)
        return set(devices) - set(own)

    def read(self, devices: dict[str, Told | None], as_of: int) -> None:
        """Tell what the database says (None: it is not in the fleet), unless a doorbell knew better meanwhile."""
        news: dict[str, Told | None] = {}
        for key, summary in devices.items():
            before = self.told.get(key)
            if summary is None:
                # Only what was shown is said to be gone: other fleets' devices are nobody's business here.
                if before is not None:
                    news[key] = None
            elif self._heard_of.get(key, 0) <= as_of and mark_of(summary) != before:
                news[key] = summary
        self._tell(news)

    def changed(self, marks: dict[str, Mark]) -> set[str]:
        """Return the devices that are not as they were told."""
        told = {key for key, mark in marks.items() if self.told.get(key) != mark}
        return told | (set(self.told) - set(marks))

    def learn(self, devices: dict[str, Told], as_of: int) -> None:
        """Take a first picture for known; what others were told otherwise is left to the check."""
        for key, summary in devices.items():
            if self._heard_of.get(key, 0) <= as_of:
                self.told.setdefault(key, mark_of(summary))

    def _tell(self, devices: dict[str, Told] | dict[str, Told | None]) -> None:
        for key, summary in devices.items():
            if summary is None:
                self.told.pop(key, None)
                self._heard_of.pop(key, None)
            else:
                self.told[key] = mark_of(summary)
        for text in encoded_chunks(devices) if devices else ():
            for follower in self.followers:
                follower.tell(text)


def encoded_chunks(devices: dict[str, Told] | dict[str, Told | None]) -> Iterable[str]:
    """Encode summaries in parts of bounded size; one at least."""
    items = list(devices.items())
    for at in range(0, max(1, len(items)), FLEET_CHUNK):
        yield protocol.encode(dict(items[at : at + FLEET_CHUNK])).decode()
