"""What is known of a watched fleet, and who follows it. Whoever follows too slowly is told the newest, not all.

Two things tell a fleet's feed, as with devices (feeds.py): doorbells (`hear`) and the database (`read`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from dashboard import protocol, reads
from dashboard.feeds import Feed, Session, Told
from dashboard.parcel import Parcel
from dashboard.reads import Mark, mark_of
from dashboard.rows import CHUNK_SIZE

# Devices in one message of a fleet.
FLEET_CHUNK: Final = 200
# Jobs of a fleet whose state is remembered, so that a check repeats nothing.
REMEMBERED_JOBS: Final = 200


class Follower:
    """A socket's subscription to a fleet. It remembers which devices it has yet to be told of, and nothing else."""

    live: Final = True
    # It listens to the fleet, and to none of its devices.
    feeds: Final[Mapping[str, Feed]] = {}

    def __init__(self, sub: str, session: Session, fleet: FleetFeed) -> None:
        """Exist, so that nothing is missed that changes while the first picture is read."""
        self.id = sub
        self.session = session
        self.fleet = fleet
        self.due: dict[str, None] = {}
        # The devices that it may see; None: all of the fleet.
        self._part: frozenset[str] | None = None
        # Whether it is known which part that is.
        self._begun = False
        # Whether it was told all that the others were told. It is not before its first picture.
        self._level = False

    def begin(self, marks: dict[str, Mark], part: frozenset[str] | None = None) -> None:
        """Answer, and have the first picture sent, as far as credit goes: of this part of the fleet (None: all)."""
        self._part, self._begun = part, True
        head = {key: mark.seq for key, mark in marks.items() if self._sees(key)}
        self.session.say(protocol.text(kind="ok", id=self.id, head=head, recovered=True))
        self._owe(head)
        self._tell_jobs()

    def see(self, part: frozenset[str] | None) -> None:
        """See this part of the fleet from now on (None: all); what it sees no more is gone to it."""
        if part != self._part:
            before, self._part = self._seen(), part
            self._owe(before ^ self._seen())
            self._tell_jobs()

    def _seen(self) -> frozenset[str]:
        return frozenset(self.fleet.told) if self._part is None else self._part

    def _sees(self, key: str) -> bool:
        return self._part is None or key in self._part

    def take(self, keys: Iterable[str], parcel: Parcel) -> None:
        """Send what all followers are told; later, and then the newest, where there is no credit or room for it."""
        if self._part is not None:
            self._owe(key for key in keys if self._sees(key))
        elif not (self._level and self.session.offer(self.id, parcel)):
            self._owe(keys)

    def take_job(self, text: str) -> None:
        """Send where a job stands, which is for those who see all of the fleet."""
        if self._begun and self._part is None:
            self.session.say(text)

    def _tell_jobs(self) -> None:
        for job in self.fleet.jobs.values():
            self.take_job(_job_text(job))

    def _owe(self, keys: Iterable[str]) -> None:
        self._level = False
        self.due.update(dict.fromkeys(keys))
        self.session.wake()

    async def next_parcel(self) -> Parcel:
        """Read the newest of what is owed, as much as one message holds."""
        keys = [key for _, key in zip(range(FLEET_CHUNK), self.due, strict=False)]
        for key in keys:
            del self.due[key]
        found = await reads.run(reads.summaries, self.fleet.pk, set(keys))
        parcels = chunks({key: found.get(key) if self._sees(key) else None for key in keys})
        _, first = next(parcels)
        for rest, _ in parcels:  # more than one message holds: next time
            self._owe(rest)
        return first

    def cross_seam(self) -> bool:
        """Know no seam: there is no history."""
        return False

    def settle(self) -> None:
        """Be told with all the others: what was owed is said, and not only read."""
        self._level = True

    def lost(self, key: str) -> None:  # noqa: ARG002  it is the fleet
        """End, as the fleet may not be seen any more."""
        self.session.end(self.id)

    def leave(self) -> None:
        """Listen no longer."""
        self.fleet.followers.discard(self)


class FleetFeed:
    """One watched fleet: what its followers were told, and who they are."""

    def __init__(self, slug: str, pk: int) -> None:
        """Know nobody yet."""
        self.slug = slug
        self.pk = pk
        self.followers: set[Follower] = set()
        self.told: dict[str, Mark] = {}
        # The jobs that were told of last, by their ids.
        self.jobs: dict[str, Told] = {}
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
        self._tell({**own})
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

    def learn(self, marks: dict[str, Mark]) -> None:
        """Take what a first picture is made of for known; what others were told otherwise is left to the check."""
        for key, mark in marks.items():
            self.told.setdefault(key, mark)

    def learn_job(self, job: Told) -> None:
        """Tell where a job stands, unless something newer is known; it does not matter by what it became known."""
        before = self.jobs.pop(job["job"], None)
        newer = before is None or before["at"] < job["at"]
        self.jobs[job["job"]] = job if newer or before is None else before
        if len(self.jobs) > REMEMBERED_JOBS:
            del self.jobs[next(iter(self.jobs))]
        if newer:
            text = _job_text(job)
            for follower in self.followers:
                follower.take_job(text)

    def _tell(self, devices: dict[str, Told | None]) -> None:
        for key, summary in devices.items():
            if summary is None:
                self.told.pop(key, None)
                self._heard_of.pop(key, None)
            else:
                self.told[key] = mark_of(summary)
        for keys, parcel in chunks(devices) if devices and self.followers else ():
            for follower in self.followers:
                follower.take(keys, parcel)


def chunks(devices: dict[str, Told | None]) -> Iterator[tuple[list[str], Parcel]]:
    """Encode summaries (None: the device is gone) in messages of bounded size; one at least."""
    keys: list[str] = []
    texts: list[str] = []
    size = 0
    for key, summary in devices.items():
        text = protocol.encode(summary).decode()
        if keys and (len(keys) >= FLEET_CHUNK or size + len(text) > CHUNK_SIZE):
            yield keys, _parcel(keys, texts)
            keys, texts, size = [], [], 0
        keys.append(key)
        texts.append(text)
        size += len(text)
    yield keys, _parcel(keys, texts)


def _job_text(job: Told) -> str:
    return protocol.text(kind="job", **{name: value for name, value in job.items() if name != "type"})


def _parcel(keys: list[str], texts: list[str]) -> Parcel:
    parcel = Parcel("fleet")
    devices = ",".join(f'"{key}":{text}' for key, text in zip(keys, texts, strict=True))
    parcel.tail = f'"devices":{{{devices}}}}}'
    return parcel
