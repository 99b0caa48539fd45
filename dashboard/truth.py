"""What the database says of everybody who is there, asked for in a handful of queries, however many they are.

It is asked twice a second (permits.py). So what lives from one answer to the next is few and flat: ten thousand small
containers would have Python search all its memory for garbage every few seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session as Visit
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from devices import registry, rights, tokens
from devices.models import Device, Fleet

if TYPE_CHECKING:
    from dashboard.feeds import Feed, Session, Subscriber
    from dashboard.fleets import Follower
    from dashboard.permits import Pass

# Row ids in one query; SQLite takes 32,766 where nobody compiled it otherwise, and more of them are no faster.
CHUNK: Final = 1_000


class Scene(NamedTuple):
    """Who is there when a look begins. Who comes later is left to the next one: the answers may be older than they.

    watches   who listens → to which devices
    follows   followers of fleets → their fleets' row ids
    """

    sessions: Collection[Session]
    watches: Mapping[Subscriber, Mapping[str, Feed]]
    feeds: Collection[Feed]
    follows: Mapping[Follower, int]


@dataclass(frozen=True, eq=False)
class Truth:
    """What the database says of a scene.

    users      row ids of active users → superuser, password hash
    members    users and fleets of which they are members
    visits, tokens   session keys and token digests that are good
    places     row ids of devices → key, fleet
    existing   fleets that are there, of those that are followed
    exceptions   users → devices (row ids) → whether they may see this one, whatever they are in its fleet
    parts      followers who may not see all of their fleet → the keys that they may see; None: nothing of it
    """

    users: Mapping[int, tuple[bool, str]]
    members: Collection[tuple[int, int]]
    visits: Collection[str]
    tokens: Collection[str]
    places: Mapping[int, tuple[str, int]]
    existing: Collection[int]
    exceptions: Mapping[int, Mapping[int, bool]]
    parts: Mapping[Follower, frozenset[str] | None]

    def admits(self, pass_: Pass) -> bool:
        """Whether whoever has this pass may be here."""
        user = self.users.get(pass_.user.pk)
        return (
            user is not None
            and pass_.password in (None, user[1])
            and (pass_.session_key is None or pass_.session_key in self.visits)
            and (pass_.token is None or pass_.token in self.tokens)
        )

    def shows_fleet(self, follower: Follower, fleet: int) -> bool:
        """Whether this follower, who is there, may see this fleet, or a part of it."""
        if follower in self.parts:
            return self.parts[follower] is not None
        user = follower.session.pass_.user.pk
        return fleet in self.existing and (self.users[user][0] or (user, fleet) in self.members)

    def rights_of(self, user: int) -> tuple[object, object]:
        """Return what decides which devices this user may see, but for what a token narrows: that never changes."""
        return self.fleets.get(user, ()), self.exceptions.get(user)

    def hidden(self, user: User, feeds: set[Feed], by_fleet: Mapping[int | None, set[Feed]]) -> set[Feed]:
        """Return which of these devices this user, who is there, may not see."""
        fleets = self.fleets[user.pk]
        hidden = feeds
        for fleet in (None,) if fleets is None else fleets:
            hidden = hidden - by_fleet.get(fleet, set())  # in place it would run through the whole fleet
        if fleets is not None and (exceptions := self.exceptions.get(user.pk)):
            there = by_fleet.get(None, set())
            hidden = hidden - {feed for feed in there if exceptions.get(feed.pk)}
            hidden |= {feed for feed in feeds if exceptions.get(feed.pk) is False}
        if not (scope := rights.scope_of(user)).whole:
            hidden = hidden | {
                feed for feed in feeds if not scope.covers(feed.pk, self.places.get(feed.pk, ("", 0))[1])
            }
        return hidden

    @cached_property
    def fleets(self) -> dict[int, frozenset[int] | None]:
        """Return the fleets that each user may see; None: all."""
        found: dict[int, set[int]] = {}
        for user, fleet in self.members:
            found.setdefault(user, set()).add(fleet)
        return {
            user: None if superuser else frozenset(found.get(user, ())) for user, (superuser, _) in self.users.items()
        }

    def by_fleet(self, feeds: Iterable[Feed]) -> dict[int | None, set[Feed]]:
        """Return which of these devices are in which fleet, and under None all that are there."""
        found: dict[int | None, set[Feed]] = {None: set()}
        for feed in feeds:
            key, fleet = self.places.get(feed.pk, ("", 0))
            if key == feed.key:  # else it is gone, or another one
                found.setdefault(fleet, set()).add(feed)
                found[None].add(feed)
        return found


NOTHING: Final = Truth({}, (), (), (), {}, (), {}, {})


def ask(scene: Scene) -> Truth:
    """Ask the database about a scene. The connection stays, until something goes wrong or somebody closes it."""
    try:
        return _ask(scene)
    except BaseException:
        disconnect()  # the next look gets a fresh one
        raise


def disconnect() -> None:
    """Close this thread's connection."""
    connection.close()


def _ask(scene: Scene) -> Truth:
    passes = [session.pass_ for session in scene.sessions]
    users = _users({pass_.user.pk for pass_ in passes})
    members = registry.memberships_of([user for user, (superuser, _) in users.items() if not superuser])
    visits = _there(Visit.objects.filter(expire_date__gt=timezone.now()), {pass_.session_key for pass_ in passes})
    good = _there(tokens.good(), {pass_.token for pass_ in passes})
    places = _places([feed.pk for feed in scene.feeds])
    existing = _there(Fleet.objects.all(), set(scene.follows.values()))
    exceptions = _exceptions(users)
    parts = {
        follower: registry.part_of(user, fleet)
        for follower, fleet in scene.follows.items()
        if (user := follower.session.pass_.user).pk in users
        and (user.pk in exceptions or rights.scope_of(user).narrow)
        and not registry.sees_whole(user, fleet)
    }
    return Truth(users, members, visits, good, places, existing, exceptions, parts)


def _users(pks: Collection[int]) -> dict[int, tuple[bool, str]]:
    rows = User.objects.filter(is_active=True)
    return {pk: (superuser, password) for pk, superuser, password in _rows(rows, pks, "is_superuser", "password")}


def _exceptions(users: Collection[int]) -> dict[int, dict[int, bool]]:
    found: dict[int, dict[int, bool]] = {}
    for user, device, seen in registry.exceptions_of(list(users)):
        found.setdefault(user, {})[device] = seen
    return found


def _places(pks: Collection[int]) -> dict[int, tuple[str, int]]:
    return {pk: (key, fleet) for pk, key, fleet in _rows(Device.objects.all(), pks, "key", "fleet_id")}


def _there(rows: QuerySet[Any], pks: set[Any]) -> set[Any]:
    return {pk for pk, *_ in _rows(rows, pks - {None})}


def _rows(rows: QuerySet[Any], pks: Collection[Any], *fields: str) -> Iterator[tuple[Any, ...]]:
    """Yield row id and these fields of those of these rows that are found."""
    asked = list(pks)
    for at in range(0, len(asked), CHUNK):
        yield from rows.filter(pk__in=asked[at : at + CHUNK]).values_list("pk", *fields)
