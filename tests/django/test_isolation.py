"""Every address × another fleet's things: they answer like none, tell nothing, and nothing of them is changed.

The addresses are read off the URL resolver, what can be sent to them off the API's schema (routes.py): what is new is
tested by being there. Every field of the foreign fleet bears a mark that no answer may hold (canaries.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pytest

from tests.django import canaries, routes
from tests.django.canaries import FOREIGN, MARK, NOTHING, OWN
from tests.django.routes import Case, Request, Route
from tests.django.visitors import Answer, Visitor, undone

pytest_plugins = ("tests.django.world",)
World = Callable[[str], Visitor]

# Who asks for what is not theirs.
OUTSIDERS: Final = ("nobody", "stranger", "manager", "program", "narrowed", "viewer")
# Who comes with a token, for which pages have no ear.
PROGRAMS: Final = ("program", "narrowed")
# Addresses that ask for no sign-in, and why.
OPEN: Final = {
    "sign-in": "who is not signed in yet comes here",
    "sign-out": "there is nothing to sign out, so it leads to the door",
    "api:tokens": "POST: name and password are in the body",
    "api:schema": "what the API can do is no secret",
    "api:docs": "the same for people",
    "api:claim": "a device brings its code",
    "invitation": "whoever has the link: test_invitations.py",
    "share": "whoever has the link: test_shares.py",
    "shared-device": "the same",
    "shared-state": "the same",
    "download": "a device brings its credentials: test_downloads.py",
    "api:/api/v1/(anything)": "says that there is nothing",
    "/healthz": "a supervisor asks, inside",
    "/readyz": "the same",
    "/metrics": "Prometheus asks, inside; names bridges, and no device",
    "/favicon.ico": "every browser asks for it",
    "admin:login": "administrators sign in here",
    "admin:logout": "there is nothing to sign out, so it leads to the door",
}
# Of what nobody has registered, and of the whole hub: who is none is told so, whatever there is.
FOR_ADMINISTRATORS: Final = (
    *("api:storage", "api:unclaimed", "api:claim-unclaimed", "unclaimed", "claim-unclaimed"),
    *("api:fleets", "make-fleet"),
)
# What shows nothing of a fleet.
BLANK: Final = ("stream", "api:storage", "make-fleet")
# What counts differs from one moment to the next.
COUNTING: Final = ("/metrics",)
ADDRESSES: Final = [route for route in routes.routes() if not route.is_admin]
ADMIN: Final = [route for route in routes.routes() if route.is_admin]


def ways(route: Route, world: World) -> list[Case]:
    """Return all ways to ask an address, with the methods that it takes."""
    found = routes.methods(route, world("root").client)
    assert found, f"{route} takes no method"
    return [case for method in found for case in routes.cases(route, method)]


@pytest.mark.parametrize("who", OUTSIDERS)
@pytest.mark.parametrize("route", ADDRESSES, ids=str)
def test_what_is_anothers_answers_like_what_does_not_exist(route: Route, who: str, world: World, db: None) -> None:
    visitor, before = world(who), canaries.fingerprint()
    for case in ways(route, world):
        request = case.asked(FOREIGN, OWN)
        with undone():
            there = visitor.ask(request)
            assert there.status < 500, (request, there)
            assert canaries.fingerprint() == before, (request, there)
        told = canaries.foreign_words(there.whole, request.words)
        assert not told, (told, request, there)
        assert not [name for name in there.headers if name.lower().startswith("access-control")]
        if route.name not in OPEN and (who == "nobody" or (who in PROGRAMS and not route.is_api)):
            assert at_the_door(there, route), (request, there)
            continue
        if case.by_address:
            # One may lack a role where a part of it is one's own; a narrowed token may too little anywhere.
            lacks = who == "narrowed" or not case.all_elsewhere or route.name in FOR_ADMINISTRATORS
            # And a page may lead back, and say there what was not found.
            leads = not (route.is_api or case.all_elsewhere)
            assert there.status in (400, 404, *[403] * lacks, *[302] * leads), (request, there)
        if (
            not case.elsewhere
            or route.name in COUNTING
            or (case.told in routes.TELLING and who in ("manager", *PROGRAMS))
        ):
            continue
        with undone():
            not_there = visitor.ask(case.asked(NOTHING, OWN))
        assert there == not_there.about(NOTHING, FOREIGN), request


def at_the_door(answer: Answer, route: Route) -> bool:
    if route.is_api:
        return answer.status == 401
    return answer.status == 302 and answer.headers["Location"].startswith("/sign-in/")


@pytest.mark.parametrize("route", [route for route in ADDRESSES if route.name not in OPEN], ids=str)
def test_the_owner_is_answered_all_of_it(route: Route, world: World, db: None) -> None:
    owner = world("root" if route.name in FOR_ADMINISTRATORS else "owner")
    shown = set()
    asked = [case for case in ways(route, world) if "wrong" not in {**case.query, **(case.body or {})}]
    assert asked
    for case in asked:
        if route.name == "stream" or "cursor" in case.query:
            continue  # the one has no end (test_isolation_live.py), the other is another list's
        request = case.asked(FOREIGN, FOREIGN)
        with undone():
            answer = owner.ask(request)
        # A bulk deletion that names nothing is nothing that anybody could mean.
        assert answer.status < 400 or (route.name, case.method, case.query) == ("api:rejects", "DELETE", {}), answer
        shown |= {case.method} if canaries.foreign_words(answer.whole, "") else set()
    assert route.name in BLANK or "GET" not in {case.method for case in asked} or "GET" in shown


def test_everything_of_the_foreign_fleet_is_marked(world: World, db: None) -> None:
    assert canaries.unmarked() == []


def test_what_is_excepted_is_there() -> None:
    names = {route.name for route in routes.routes()}
    assert names >= {*OPEN, *(told.split()[0] for told in routes.TELLING)}


@pytest.mark.parametrize("who", ["nobody", "manager", "clerk"])
@pytest.mark.parametrize("route", ADMIN, ids=str)
def test_nobody_but_administrators_sees_the_administrators_pages(
    route: Route, who: str, world: World, db: None
) -> None:
    path, before = re.sub(r"<[^>]+>", "1", route.address), canaries.fingerprint()
    for method, body in (("GET", None), ("POST", {})):
        with undone():
            answer = world(who).ask(Request(method, path, {"q": MARK, "next": "/"}, body))
        assert answer.status < 500
        assert not canaries.foreign_words(answer.whole, MARK), answer
        if route.name not in OPEN and who != "clerk":  # who is let in without a right to anything there
            assert answer.status == 404 or answer.headers["Location"].startswith("/admin/login/"), answer
    assert canaries.fingerprint() == before
