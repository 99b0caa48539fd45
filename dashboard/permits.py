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

from django.contrib.auth.models import User
from django.db import Error

from dashboard import truth
from dashboard.feeds import Feed, Session, Subscriber
from dashboard.protocol import Close
from dashboard.truth import NOTHING, Scene, Truth
from devices import tokens

if TYPE_CHECKING:
    from dashboard.fleets import FleetFeed
    from devices.models import Token

logger = logging.getLogger(__name__)

# A withdrawal has to show within 1 s: half of it for waiting, the other half for a busy machine.
TICK_S: Final = 0.5
# A database that is away is spoken of so often.
COMPLAINT_S: Final = 60.0
# Of its own, and so is its connection: neither slow reads nor an exhausted pool make a look late.
_thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live-permits")


class Pass(NamedTuple):
    """How somebody was let in: by a visitor's session, or by a token's digest.

    password   the hash at that time, where changing it ends what it opened: sessions, not tokens
    name       what they are called: of whoever came by a link, the link's name
    link       they came by a share link: they hear of readings, and not of who commands what
    """

    user: User
    session_key: str | None = None
    token: str | None = None
    password: str | None = None
    name: str = ""
    link: bool = False


def let_in(user: User, *, session_key: str | None = None, token: Token | None = None) -> Pass:
    """Return the pass of whoever came with this token, or else with this session."""
    if token is not None:
        name = token.name if token.link else user.get_username()
        return Pass(user, token=token.pk, name=name, link=token.link)
    return Pass(user, session_key=session_key, password=user.password, name=user.get_username())


def by_tokens(secrets: Sequence[str]) -> list[Pass | None]:
    """Return the pass of each of these tokens; None when it is wrong, expired, or its user was deactivated."""
    found = tokens.by_secrets(secrets)
    return [let_in(found[secret].user, token=found[secret]) if secret in found else None for secret in secrets]


class Ending(NamedTuple):
    """What is not permitted any more: to be here (None), or to listen, to this device or to a fleet."""

    session: Session
    what: Subscriber | None = None
    key: str = ""


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
        self._settled: Mapping[Subscriber, Mapping[str, Feed]] = {}
        self._looking = asyncio.Lock()
        self._connected = False
        self._complained = 0.0

    async def next_look(self) -> None:
        """Wait a tick, and look. What cannot be known changes nothing."""
        await asyncio.sleep(TICK_S)
        try:
            await self.look_once()
        except Error as error:
            self._complain(error)
        else:
            self._complained = 0.0

    async def look_once(self) -> None:
        """Compare with the database; end what is not permitted any more."""
        async with self._looking:
            if self._sessions:
                await self._look()
            else:
                await self.rest()

    async def rest(self) -> None:
        """Let go of the connection and of what was known: there is nobody."""
        self._truth, self._settled = NOTHING, {}
        if self._connected:
            self._connected = False
            await _in_thread(truth.disconnect)

    async def _look(self) -> None:
        scene = self._scene()
        self._connected = True
        now = await _in_thread(truth.ask, scene)
        if endings := self._judge(scene, now):
            # Somebody may have been moved along with a device while we asked for one after the other. Look again.
            now = await _in_thread(truth.ask, scene)
            still = set(self._judge(scene, now))
            endings = [ending for ending in endings if ending in still]
        moved = self._moves(scene, now)
        self._truth, self._settled = now, scene.watches
        self._apply(scene, endings)
        if moved:
            self._moved(moved)

    def _scene(self) -> Scene:
        watches = {one: one.feeds for session in self._sessions for one in session.watching()}
        feeds = [feed for feed in self._feeds.values() if feed.watched]
        follows = {follower: fleet.pk for fleet in self._fleets.values() for follower in fleet.followers}
        return Scene(list(self._sessions), watches, feeds, follows)

    # -- what follows from it

    def _judge(self, scene: Scene, now: Truth) -> list[Ending]:
        """Return what is not permitted."""
        endings = [Ending(session) for session in scene.sessions if not now.admits(session.pass_)]
        gone = {ending.session for ending in endings}
        by_fleet: dict[int | None, set[Feed]] = {}
        for one, suspects in self._suspects(scene, now):
            if one.session in gone:
                continue
            by_fleet = by_fleet or now.by_fleet(scene.feeds)
            hidden = now.hidden(one.session.pass_.user, set(suspects), by_fleet)
            endings += [Ending(one.session, one, feed.key) for feed in hidden]
        for follower, fleet in scene.follows.items():
            user = follower.session.pass_.user.pk
            if follower.session not in gone and user in now.users and not now.shows_fleet(follower, fleet):
                endings.append(Ending(follower.session, follower))
        return endings

    def _suspects(self, scene: Scene, now: Truth) -> Iterator[tuple[Subscriber, Collection[Feed]]]:
        """Yield who listens to devices of which it is not known that they may: all of them, or what has moved."""
        before = self._truth
        moved = self._moves(scene, now)
        same = (before.members, before.users, before.exceptions) == (now.members, now.users, now.exceptions)
        for one, feeds in scene.watches.items():
            user = one.session.pass_.user.pk
            if self._settled.get(one) is not feeds or not (same or before.rights_of(user) == now.rights_of(user)):
                yield one, feeds.values()
            elif moved and (keys := feeds.keys() & moved):
                yield one, [feeds[key] for key in keys]

    def _moves(self, scene: Scene, now: Truth) -> set[str]:
        """Return the keys of watched devices that are elsewhere than at the last look, or gone."""
        was, are = self._truth.places, now.places
        if was == are:
            return set()
        moved = [feed for feed in scene.feeds if was.get(feed.pk, are.get(feed.pk)) != are.get(feed.pk)]
        return {feed.key for feed in moved} | {are[feed.pk][0] for feed in moved if feed.pk in are}

    def _apply(self, scene: Scene, endings: list[Ending]) -> None:
        for session in scene.sessions:
            if known := self._truth.users.get(session.pass_.user.pk):
                session.pass_.user.is_superuser = known[0]  # what it asks for next is judged by that
        for follower in scene.follows:
            follower.see(self._truth.parts.get(follower))
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


async def _in_thread(do: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401  what `do` returns
    return await asyncio.get_running_loop().run_in_executor(_thread, do, *args)
