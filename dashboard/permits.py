"""Whether those who were let in may still be here and see what they watch: twice a second, the truth is compared.

Nothing has to tell of a withdrawal. So it makes no difference who withdrew what, and how (a page, REST, the admin, a
shell, raw SQL), nor whether the layer is there. One look, a handful of queries, does for all sockets of the process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.models import Session as Visit
from django.db import Error, connection
from django.db.models import Q, QuerySet
from django.utils import timezone
from knox.auth import TokenAuthentication
from rest_framework.exceptions import APIException

from dashboard.feeds import Feed, Session, Subscriber
from dashboard.protocol import Close
from devices import registry
from devices.models import Device, Fleet, Token

if TYPE_CHECKING:
    from dashboard.fleets import FleetFeed

logger = logging.getLogger(__name__)

# A withdrawal has to show within 1 s: half of it for waiting, the other half for a busy machine.
TICK_S: Final = 0.5
# Row ids in one query; SQLite takes 32,766 parameters where nobody compiled it otherwise.
CHUNK: Final = 5_000
# A database that is away is spoken of so often.
COMPLAINT_S: Final = 60.0
# Of its own, and so is its connection: neither slow reads nor an exhausted pool make a look late.
_thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live-permits")


class Pass(NamedTuple):
    """How somebody was let in: by a visitor's session, or by a token's digest.

    password   the hash at that time, where changing it ends what it opened: sessions, not tokens
    """

    user: User
    session_key: str | None = None
    token: str | None = None
    password: str | None = None


def let_in(user: User, *, session_key: str | None = None, token: Token | None = None) -> Pass:
    """Return the pass of whoever came with this token, or else with this session."""
    if token is not None:
        return Pass(user, token=token.pk)
    return Pass(user, session_key=session_key, password=user.password)


def by_token(secret: str) -> Pass | None:
    """Return the pass of a REST token; None when it is wrong, expired, or its user was deactivated."""
    if not (secret.isascii() and secret.isprintable()):
        return None
    try:
        user, token = TokenAuthentication().authenticate_credentials(secret.encode())
    except APIException:
        return None
    return None if user is None or isinstance(user, AnonymousUser) else let_in(user, token=token)


class Watch(NamedTuple):
    """Somebody listens to these devices."""

    session: Session
    subscriber: Subscriber
    feeds: Mapping[str, Feed]


class Scene(NamedTuple):
    """Who is there when a look begins. Who comes later is left to the next one: the answers may be older than they.

    follows   followers of fleets, and their fleets' row ids
    """

    sessions: list[Session]
    watches: list[Watch]
    feeds: list[Feed]
    follows: Sequence[tuple[Subscriber, int]]


class Truth(NamedTuple):
    """What the database says of a scene.

    users      row ids of active users → superuser, password hash
    fleets     row ids of active users → the fleets they may see; None: all
    visits, tokens   session keys and token digests that are good
    places     row ids of devices → key, fleet
    existing   fleets that are there, of those that are followed
    """

    users: dict[int, tuple[bool, str]]
    fleets: dict[int, frozenset[int] | None]
    visits: set[str]
    tokens: set[str]
    places: dict[int, tuple[str, int]]
    existing: set[int]

    def admits(self, pass_: Pass) -> bool:
        """Whether whoever has this pass may be here."""
        superuser_password = self.users.get(pass_.user.pk)
        return (
            superuser_password is not None
            and pass_.password in (None, superuser_password[1])
            and (pass_.session_key is None or pass_.session_key in self.visits)
            and (pass_.token is None or pass_.token in self.tokens)
        )

    def shows(self, user: int, feed: Feed) -> bool:
        """Whether this user may see this device, and it is still the same one."""
        key, fleet = self.places.get(feed.pk, ("", 0))
        seen = self.fleets[user]
        return key == feed.key and (seen is None or fleet in seen)

    def shows_fleet(self, user: int, fleet: int) -> bool:
        """Whether this user may see this fleet."""
        seen = self.fleets[user]
        return fleet in self.existing and (seen is None or fleet in seen)


class Ending(NamedTuple):
    """What is not permitted any more: to be here (None), or to listen, to this device or to a fleet."""

    session: Session
    what: Subscriber | None = None
    key: str = ""


NOTHING: Final = Truth({}, {}, set(), set(), {}, set())


class Permits:
    """Looks after the sessions of this process (of one event loop)."""

    def __init__(
        self,
        sessions: Collection[Session],
        feeds: Mapping[str, Feed],
        fleets: Mapping[str, FleetFeed],
        moved: Callable[[set[str]], None],
    ) -> None:
        """Look after these, which come and go; `moved` is told of watched devices that are elsewhere, or gone."""
        self._sessions = sessions
        self._feeds = feeds
        self._fleets = fleets
        self._moved = moved
        self._truth = NOTHING
        # Whom the last look found permitted, by the very mapping of devices: a subscriber with another is looked at
        # anew. So a look at which nothing has changed costs nothing for each device of each socket.
        self._settled: dict[Subscriber, Mapping[str, Feed]] = {}
        self._looking = asyncio.Lock()
        self._connected = False
        self._complained = 0.0

    async def next_look(self) -> None:
        """Wait a tick, and look."""
        await asyncio.sleep(TICK_S)
        await self.look_once()

    async def look_once(self) -> None:
        """Compare with the database; end what is not permitted any more. What cannot be known changes nothing."""
        async with self._looking:
            if not self._sessions:
                await self.rest()
                return
            try:
                await self._look()
            except Error as error:
                self._complain(error)
            else:
                self._complained = 0.0

    async def rest(self) -> None:
        """Let go of the connection and of what was known: there is nobody."""
        self._truth, self._settled = NOTHING, {}
        if self._connected:
            self._connected = False
            await _in_thread(_disconnect)

    async def _look(self) -> None:
        scene = self._scene()
        self._connected = True
        truth = await _in_thread(ask, scene)
        if endings := self._judge(scene, truth):
            # Somebody may have been moved along with a device while we asked for one after the other. Look again.
            truth = await _in_thread(ask, scene)
            still = set(self._judge(scene, truth))
            endings = [ending for ending in endings if ending in still]
        moved = self._moves(scene, truth)
        self._truth = truth
        self._settled = {watch.subscriber: watch.feeds for watch in scene.watches}
        self._apply(scene, truth, endings)
        if moved:
            self._moved(moved)

    def _scene(self) -> Scene:
        sessions = list(self._sessions)
        watches = [Watch(session, one, one.feeds) for session in sessions for one in session.watching()]
        feeds = [feed for feed in self._feeds.values() if feed.watched]
        follows = [(follower, fleet.pk) for fleet in self._fleets.values() for follower in fleet.followers]
        return Scene(sessions, watches, feeds, follows)

    # -- what follows from it

    def _judge(self, scene: Scene, truth: Truth) -> list[Ending]:
        """Return what is not permitted."""
        endings = [Ending(session) for session in scene.sessions if not truth.admits(session.pass_)]
        gone = {ending.session for ending in endings}
        moved = self._moves(scene, truth)
        for watch in scene.watches:
            if watch.session not in gone and not self._is_settled(watch, truth, moved):
                user = watch.session.pass_.user.pk
                hidden = [key for key, feed in watch.feeds.items() if not truth.shows(user, feed)]
                endings += [Ending(watch.session, watch.subscriber, key) for key in hidden]
        for follower, fleet in scene.follows:
            user = follower.session.pass_.user.pk
            if user in truth.fleets and not truth.shows_fleet(user, fleet):
                endings.append(Ending(follower.session, follower))
        return endings

    def _is_settled(self, watch: Watch, truth: Truth, moved: set[str]) -> bool:
        """Whether nothing has changed for it since it was found permitted."""
        user = watch.session.pass_.user.pk
        return (
            self._settled.get(watch.subscriber) is watch.feeds
            and self._truth.fleets.get(user, ()) == truth.fleets[user]
            and (not moved or watch.feeds.keys().isdisjoint(moved))
        )

    def _moves(self, scene: Scene, truth: Truth) -> set[str]:
        """Return the keys of watched devices that are elsewhere than at the last look, or gone."""
        before, now = self._truth.places, truth.places
        if before == now:
            return set()
        moved = [feed for feed in scene.feeds if before.get(feed.pk, now.get(feed.pk)) != now.get(feed.pk)]
        return {feed.key for feed in moved} | {now[feed.pk][0] for feed in moved if feed.pk in now}

    def _apply(self, scene: Scene, truth: Truth, endings: list[Ending]) -> None:
        for session in scene.sessions:
            if known := truth.users.get(session.pass_.user.pk):
                session.pass_.user.is_superuser, _ = known  # what it asks for next is judged by that
        for session, what, key in endings:
            if session not in self._sessions:
                continue  # it left while we looked
            if what is None:
                session.quit(Close.NOT_AUTHENTICATED)
            elif what in session.watching():
                what.lost(key)

    def _complain(self, error: Error) -> None:
        if time.monotonic() - self._complained >= COMPLAINT_S or not self._complained:
            self._complained = time.monotonic()
            logger.warning("cannot look who may still be here (trying again, everybody stays): %r", error)


# -- what the database says


def _disconnect() -> None:
    connection.close()


async def _in_thread(do: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401  what `do` returns
    return await asyncio.get_running_loop().run_in_executor(_thread, do, *args)


def ask(scene: Scene) -> Truth:
    """Ask the database about a scene, all sockets at once."""
    try:
        return _ask(scene)
    except BaseException:
        _disconnect()  # the next look gets a fresh one
        raise


def _ask(scene: Scene) -> Truth:
    now = timezone.now()
    passes = [session.pass_ for session in scene.sessions]
    users = _users({pass_.user.pk for pass_ in passes})
    fleets = registry.fleets_of_each({pk: superuser for pk, (superuser, _) in users.items()})
    visits = _there(Visit.objects.filter(expire_date__gt=now), {pass_.session_key for pass_ in passes})
    good = Token.objects.filter(Q(expiry=None) | Q(expiry__gt=now))
    tokens = _there(good, {pass_.token for pass_ in passes})
    places = _places([feed.pk for feed in scene.feeds])
    return Truth(users, fleets, visits, tokens, places, _there(Fleet.objects.all(), {pk for _, pk in scene.follows}))


def _users(pks: Collection[int]) -> dict[int, tuple[bool, str]]:
    rows = User.objects.filter(is_active=True)
    return {pk: (superuser, password) for pk, superuser, password in _rows(rows, pks, "is_superuser", "password")}


def _places(pks: Collection[int]) -> dict[int, tuple[str, int]]:
    return {pk: (key, fleet) for pk, key, fleet in _rows(Device.objects.all(), pks, "key", "fleet_id")}


def _there(rows: QuerySet[Any], pks: set[Any]) -> set[Any]:
    return {pk for pk, *_ in _rows(rows, pks - {None})}


def _rows(rows: QuerySet[Any], pks: Collection[Any], *fields: str) -> Iterator[tuple[Any, ...]]:
    """Yield row id and these fields of those of these rows that are found."""
    asked = list(pks)
    for at in range(0, len(asked), CHUNK):
        yield from rows.filter(pk__in=asked[at : at + CHUNK]).values_list("pk", *fields)
