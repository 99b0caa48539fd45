"""Who may do what: one table for REST and pages, to be read. What is asked, and by whom, is planted by the world.

yes: it is done. no: seen, but it takes another role. none: as if it did not exist. door: sign in first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import pytest

from tests.django import canaries, routes
from tests.django.canaries import OWN
from tests.django.routes import Route
from tests.django.visitors import Answer, Visitor, undone

pytest_plugins = ("tests.django.world",)
World = Callable[[str], Visitor]

ROLES: Final = ("nobody", "owner", "viewer", "operator", "manager", "root")
TABLE: Final = """
what                        | how                                | nobody | other | viewer | operator | manager | administrator
list devices                | GET    api:devices                 | door   | none  | yes    | yes      | yes     | yes
  the page of all           | GET    fleet                       | door   | none  | yes    | yes      | yes     | yes
see a device                | GET    api:device                  | door   | none  | yes    | yes      | yes     | yes
  its page                  | GET    device                      | door   | none  | yes    | yes      | yes     | yes
  its page, once more       | GET    device-state                | door   | none  | yes    | yes      | yes     | yes
read its frames             | GET    api:frames                  | door   | none  | yes    | yes      | yes     | yes
chart it                    | GET    api:series                  | door   | none  | yes    | yes      | yes     | yes
export it                   | GET    api:export                  | door   | none  | yes    | yes      | yes     | yes
read its events             | GET    api:events                  | door   | none  | yes    | yes      | yes     | yes
list its repairs            | GET    api:repairs                 | door   | none  | yes    | yes      | yes     | yes
list its commands           | GET    api:commands                | door   | none  | yes    | yes      | yes     | yes
see a command               | GET    api:command                 | door   | none  | yes    | yes      | yes     | yes
command it                  | POST   api:commands                | door   | none  | no     | yes      | yes     | yes
see its settings            | GET    api:settings                | door   | none  | yes    | yes      | yes     | yes
set it                      | PATCH  api:settings                | door   | none  | no     | yes      | yes     | yes
cancel a command            | POST   api:cancel                  | door   | none  | no     | yes      | yes     | yes
list rejects                | GET    api:rejects                 | door   | none  | yes    | yes      | yes     | yes
  gathered                  | GET    api:reject-groups           | door   | none  | yes    | yes      | yes     | yes
  the inbox                 | GET    rejects                     | door   | none  | yes    | yes      | yes     | yes
replay a reject             | POST   api:replay                  | door   | none  | no     | yes      | yes     | yes
replay many                 | POST   api:replays                 | door   | none  | no     | yes      | yes     | yes
  in the inbox              | POST   replay-rejects              | door   | none  | no     | yes      | yes     | yes
discard a reject            | DELETE api:reject                  | door   | none  | no     | no       | yes     | yes
discard many                | DELETE api:rejects?device          | door   | none  | no     | no       | yes     | yes
  in the inbox              | POST   discard-rejects             | door   | none  | no     | no       | yes     | yes
add a device                | POST   api:devices                 | door   | none  | none   | none     | yes     | yes
  the page for it           | GET    add-device                  | door   | none  | no     | no       | yes     | yes
  filled in                 | POST   add-device                  | door   | none  | no     | no       | yes     | yes
add a table of devices      | POST   api:bulk                    | door   | none  | none   | none     | yes     | yes
  the page for it           | GET    add-table                   | door   | none  | no     | no       | yes     | yes
  filled in                 | POST   add-table                   | door   | none  | no     | no       | yes     | yes
list claim codes            | GET    api:claims                  | door   | none  | no     | no       | yes     | yes
  the page of them          | GET    make-code                   | door   | none  | no     | no       | yes     | yes
see a claim code            | GET    api:claim-code              | door   | none  | no     | no       | yes     | yes
make one                    | POST   api:claims                  | door   | none  | no     | no       | yes     | yes
  on the page               | POST   make-code                   | door   | none  | no     | no       | yes     | yes
revoke it                   | DELETE api:claim-code              | door   | none  | no     | no       | yes     | yes
  on the page               | POST   revoke-code                 | door   | none  | no     | no       | yes     | yes
see who is not registered   | GET    api:unclaimed               | door   | no    | no     | no       | no      | yes
  the page of them          | GET    unclaimed                   | door   | no    | no     | no       | no      | yes
register a publisher        | POST   api:claim-unclaimed         | door   | no    | no     | no       | no      | yes
  on the page               | POST   claim-unclaimed             | door   | no    | no     | no       | no      | yes
change, move, disable it    | PATCH  api:device                  | door   | none  | no     | no       | yes     | yes
give it a new secret        | POST   api:rotate                  | door   | none  | no     | no       | yes     | yes
  on its page               | POST   new-secret                  | door   | none  | no     | no       | yes     | yes
delete it                   | DELETE api:device                  | door   | none  | no     | no       | yes     | yes
mark readings as bad        | POST   api:repairs                 | door   | none  | no     | no       | yes     | yes
  on its page               | POST   mark-bad                    | door   | none  | no     | no       | yes     | yes
undo that                   | POST   api:undo-repair             | door   | none  | no     | no       | yes     | yes
  on its page               | POST   undo-repair                 | door   | none  | no     | no       | yes     | yes
list fleets                 | GET    api:fleets                  | door   | none  | yes    | yes      | yes     | yes
see a fleet and its limits  | GET    api:fleet                   | door   | none  | yes    | yes      | yes     | yes
change its limits           | PATCH  api:fleet                   | door   | none  | no     | no       | yes     | yes
list its members            | GET    api:members                 | door   | none  | no     | no       | yes     | yes
admit a member              | POST   api:members                 | door   | none  | no     | no       | yes     | yes
dismiss a member            | DELETE api:member                  | door   | none  | no     | no       | yes     | yes
see a fleet's people        | GET    people                      | door   | none  | no     | no       | yes     | yes
  admit there               | POST   admit                       | door   | none  | no     | no       | yes     | yes
  dismiss there             | POST   dismiss                     | door   | none  | no     | no       | yes     | yes
list invitations            | GET    api:invitations             | door   | none  | no     | no       | yes     | yes
invite somebody             | POST   api:invitations             | door   | none  | no     | no       | yes     | yes
  on the page               | POST   invite                      | door   | none  | no     | no       | yes     | yes
revoke an invitation        | DELETE api:invitation              | door   | none  | no     | no       | yes     | yes
  on the page               | POST   revoke-invitation           | door   | none  | no     | no       | yes     | yes
list roles for a device     | GET    api:device-roles            | door   | none  | no     | no       | yes     | yes
give one                    | POST   api:device-roles            | door   | none  | no     | no       | yes     | yes
  on its page               | POST   except-for                  | door   | none  | no     | no       | yes     | yes
end it                      | DELETE api:device-role             | door   | none  | no     | no       | yes     | yes
  on its page               | POST   end-exception               | door   | none  | no     | no       | yes     | yes
list share links            | GET    api:shares                  | door   | none  | none   | none     | yes     | yes
share a device              | POST   api:shares                  | door   | none  | no     | no       | yes     | yes
  on the pages              | POST   share-devices               | door   | none  | none   | none     | yes     | yes
revoke a share link         | DELETE api:share                   | door   | none  | none   | none     | yes     | yes
  on the pages              | POST   revoke-share                | door   | none  | none   | none     | yes     | yes
read the audit              | GET    api:audit                   | door   | none  | none   | none     | yes     | yes
  its page                  | GET    audit                       | door   | none  | no     | no       | yes     | yes
make a fleet                | POST   api:fleets                  | door   | no    | no     | no       | no      | yes
  on the page               | POST   make-fleet                  | door   | no    | no     | no       | no      | yes
see one's account           | GET    account                     | door   | none  | yes    | yes      | yes     | yes
see one's tokens            | GET    tokens                      | door   | none  | yes    | yes      | yes     | yes
make a token                | POST   tokens                      | door   | none  | yes    | yes      | yes     | none
revoke one on the page      | POST   revoke-token                | door   | none  | none   | none     | yes     | none
change one's password       | POST   change-password             | door   | none  | yes    | yes      | yes     | none
list one's own tokens       | GET    api:tokens                  | door   | none  | none   | none     | yes     | none
revoke a token of one's own | DELETE api:token                   | door   | none  | none   | none     | yes     | none
what the database takes     | GET    api:storage                 | door   | no    | no     | no       | no      | yes
the administrators' pages   | GET    admin:index                 | door   | door  | door   | door     | door    | yes
"""  # noqa: E501  wide, as tables are
# What is not in the table, and why.
ELSEWHERE: Final = {
    "stream": "has no end: test_isolation_live.py",
    "sign-in": "for everybody: test_pages.py",
    "sign-out": "for everybody: test_pages.py",
    "POST api:tokens": "takes a password, not a role: test_api_tokens.py",
    "api:schema": "for everybody",
    "api:docs": "for everybody",
    "api:/api/v1/(anything)": "is nothing",
    "/healthz": "for supervisors",
    "/readyz": "for supervisors",
    "/metrics": "for Prometheus",
    "/favicon.ico": "for everybody",
    "api:claim": "takes a code, not a role: test_claims.py",
    "invitation": "takes a link, not a role: test_invitations.py",
    "share": "takes a link, not a role: test_shares.py",
    "shared-device": "the same",
    "shared-state": "the same",
    "GET make-fleet": "shows nothing of a fleet: test_people.py",
    "GET change-password": "shows nothing of a fleet: test_people.py",
}


class Action(NamedTuple):
    """A row."""

    what: str
    method: str
    name: str
    verdicts: tuple[str, ...]

    def __str__(self) -> str:
        """Name the case."""
        return f"{self.what}: {self.method} {self.name}"


def read() -> list[Action]:
    lines = (line.split("|") for line in TABLE.strip().splitlines()[1:])
    return [Action(what.strip(), *how.split(), tuple(map(str.strip, told))) for what, how, *told in lines]


ACTIONS: Final = read()
BY_NAME: Final[dict[str, Route]] = {route.name: route for route in routes.routes()}


def verdict(answer: Answer, *, does: bool) -> str:
    """Say what an answer comes to; `does`: whether it shows, or has changed, anything of the fleet."""
    door = answer.status == 302 and answer.headers["Location"].startswith(("/sign-in/", "/admin/login/"))
    if door or answer.status == 401:
        return "door"
    if answer.status == 403:
        return "no"
    if answer.status == 404 or (answer.status < 400 and not does):
        return "none"
    assert answer.status < 400, answer
    return "yes"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", ACTIONS, ids=str)
def test_each_role_may_do_what_the_table_says(action: Action, role: str, world: World, db: None) -> None:
    name, _, named = action.name.partition("?")
    route = BY_NAME[name]
    before = canaries.fingerprint("yours")
    found = set()
    for case in routes.own(route, action.method, *filter(None, (named,))):
        request = case.asked(OWN, OWN)
        with undone():
            answer = world(role).ask(request)
            changed = canaries.fingerprint("yours") != before
        told = "yours-" in answer.text.replace(f"yours-{role}", "") or name in ("api:storage", "admin:index")
        found.add(verdict(answer, does=told if action.method == "GET" else changed))
        assert action.method != "GET" or not changed
    assert found == {action.verdicts[ROLES.index(role)]}


def test_nothing_that_can_be_asked_is_missing_in_the_table(world: World, db: None) -> None:
    asked = {(action.method, action.name.partition("?")[0]) for action in ACTIONS}
    there = {
        (method, route.name)
        for route in routes.routes()
        if not route.is_admin and route.name not in ELSEWHERE
        for method in routes.methods(route, world("root").client)
        if f"{method} {route.name}" not in ELSEWHERE
    }
    assert there == asked - {("GET", "admin:index")}
