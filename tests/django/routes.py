"""Every address of the hub, and what can be asked of it: read off the URL resolver and the API's own schema.

What these do not tell stands in the tables below. A name that they lack fails the suite, and says where it is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from django.core.files.base import ContentFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from devices.api.schema import Once
from tests.django.canaries import NOTHING, Names
from tests.django.conftest import NOW


class Slot(NamedTuple):
    """Names something of a fleet: a field of Names. In a list, where the field takes one."""

    name: str
    listed: bool = False
    form: str = "{}"

    def of(self, names: Names) -> Any:
        """Return what it is called there."""
        value = getattr(names, self.name)
        value = value if self.form == "{}" else self.form.format(value)
        return [value] if self.listed else value


# What stands for a parameter of an address.
PARAMETERS: Final = {
    "key": Slot("key"),
    "cid": Slot("cid"),
    "repair": Slot("repair"),
    "pk": Slot("pk"),
    "slug": Slot("slug"),
    "username": Slot("username"),
    "token": Slot("token"),
    "code": Slot("code"),
    "invitation": Slot("invitation"),
    "invitation code": Slot("secret"),
    "share": Slot("share"),
    "secret": Slot("secret"),
    # What is not registered is called as a device would be.
    "api:claim-unclaimed key": Slot("stray"),
    "claim-unclaimed key": Slot("stray"),
}
# What stands for a parameter of a query: of the API's, by the schema; pages are asked with all that name something.
QUERIES: Final[dict[str, Any]] = {
    "device": Slot("key"),
    "fleet": Slot("slug"),
    "q": Slot("key"),
    "cursor": Slot("key", form="{}:1"),
    "metric": Slot("metric"),
    "metrics": Slot("metric"),
    "limit": 1000,
    "after": 0,
    "wait": 0,
    "points": 10,
    "from": NOW,
    "to": NOW + 10_000,
    "format": "ndjson",
    "repaired": "include",
    "kind": "presence",
    "presence": "online",
    "reason": "not_json",
    "mode": "all",
    "since_s": 60,
    "action": "device",
    "by": Slot("username"),
    "since": 0,
    "until": NOW + 10_000,
    "dry_run": "false",
}
# What stands for a field of a body of the API: by its name, or by that of its shape with it.
FIELDS: Final[dict[str, Any]] = {
    "TokenAsked.username": Slot("username"),
    "TokenAsked.password": Slot("password"),
    "access": "read",
    "fleets": Slot("slug", listed=True),
    "devices": Slot("key", listed=True),
    "expires_in_s": 3600,
    "lasts_s": 3600,
    "model": "model",
    "replay": True,
    "DeviceAsked.key": Slot("fresh"),
    "FleetAsked.slug": Slot("fresh"),
    "FleetAsked.manager": Slot("username"),
    "TokenAsked.code": "000000",
    "ClaimAsked.code": "not the right one",
    "ClaimAsked.key": Slot("key"),
    "CodeAsked.key": Slot("key"),
    "CommandAsked.key": "once",
    "CommandAsked.name": "relay",
    "name": "renamed",
    "fleet": Slot("slug"),
    "gateway": Slot("gateway"),
    "device": Slot("key"),
    "user": Slot("username"),
    "ids": Slot("pk", listed=True),
    "metrics": Slot("metric", listed=True),
    "enabled": True,
    "keep_raw": 30,
    "keep_minute": 30,
    "keep_hour": 30,
    "keep_day": 30,
    "rate": 5,
    "burst": 50,
    "args": True,
    "ttl_s": 60,
    "role": "operator",
    "desired": {"interval_s": 30},
    "version": 0,
    "after": 0,
    "reason": "not_json",
    "from": NOW,
    "to": NOW + 1000,
}
# What the forms of pages send; several, where a form may be filled in in several ways.
FORMS: Final[dict[str, list[dict[str, Any]]]] = {
    "sign-in": [{"username": Slot("username"), "password": "not the right one"}],
    "sign-out": [{}],
    "add-device": [{"key": Slot("fresh"), "name": "new", "fleet": Slot("slug")}],
    "replay-rejects": [{"id": Slot("pk")}, {"device": Slot("key"), "reason": "not_json"}],
    "discard-rejects": [{"id": Slot("pk")}, {"device": Slot("key"), "reason": "not_json"}],
    "make-code": [{"fleet": Slot("slug"), "lasts": "3600", "key": Slot("key")}],
    "revoke-code": [{"code": Slot("code")}],
    "add-table": [{"fleet": Slot("slug"), "file": Slot("table")}],
    "claim-unclaimed": [{"fleet": Slot("slug"), "name": "new"}],
    "mark-bad": [{"start": "2026-09-21T14:13:20", "end": "2026-09-21T14:13:21", "metric": "", "reason": "why"}],
    "undo-repair": [{}],
    "new-secret": [{}],
    "make-fleet": [{"name": "new", "slug": Slot("fresh"), "manager": Slot("username")}],
    "admit": [{"user": Slot("username"), "role": "operator"}],
    "dismiss": [{"user": Slot("username")}],
    "invite": [{"role": "viewer", "name": "new", "days": "7"}],
    "revoke-invitation": [{}],
    "invitation": [{}],
    "except-for": [{"user": Slot("username"), "role": "operator"}],
    "end-exception": [{"user": Slot("username")}],
    "share-devices": [{"devices": Slot("key"), "name": "new", "lasts": "24"}],
    "revoke-share": [{}],
    "tokens": [
        {
            "name": "new",
            "access": "read",
            "fleets": Slot("slug"),
            "devices": Slot("key"),
            "days": "1",
            "password": Slot("password"),
        }
    ],
    "revoke-token": [{}],
    "change-password": [
        {"old_password": Slot("password"), "new_password1": "another one there", "new_password2": "another one there"}
    ],
}


# What does tell whether a name is taken, and why it has to.
TELLING: Final = {
    "api:members body user": "a manager admits whoever has an account, by name",
    "admit body user": "the same",
    "api:device-roles body user": "the same, for a device",
    "except-for body user": "the same",
    "api:claims body key": "keys are names at the broker, one of each in the whole hub",
    "make-code body key": "the same",
    "api:bulk body table": "the same",
}
# What an address takes for a device that is called like it: it is the device's own address that is asked.
NAMESAKES: Final = {"api:bulk": ("GET", "PATCH", "DELETE")}
SENDING: Final = ("POST", "PUT", "PATCH")


class Route(NamedTuple):
    """One address, with the names of its parameters."""

    name: str
    address: str
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        """Name the case."""
        return self.address.removeprefix("/")

    @property
    def is_api(self) -> bool:
        """Whether programs ask here."""
        return self.address.startswith("/api/v1/")

    @property
    def is_admin(self) -> bool:
        """Whether it is a page of the administrators'."""
        return self.address.startswith("/admin/")

    def path(self, named: dict[str, Any]) -> str:
        """Return the address with these for its parameters."""
        path = self.address
        for parameter in self.parameters:
            path = re.sub(rf"<(\w+:)?{parameter}>", str(named[parameter]), path)
        return path


def _walk(resolver: URLResolver, before: str = "/", spaces: str = "") -> Iterator[Route]:
    for pattern in resolver.url_patterns:
        where = before + (str(pattern.pattern) if isinstance(pattern.pattern, RoutePattern) else "(anything)")
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern, where, f"{spaces}{pattern.namespace}:" if pattern.namespace else spaces)
        elif isinstance(pattern, URLPattern):
            yield Route(f"{spaces}{pattern.name or where}", where, tuple(re.findall(r"<(?:\w+:)?(\w+)>", where)))


@cache
def routes() -> tuple[Route, ...]:
    """Return all of them."""
    return tuple(_walk(get_resolver()))


@cache
def schema() -> dict[str, Any]:
    """Return what the API says of itself."""
    made: dict[str, Any] = Once().get_schema()
    return made


def described(route: Route, method: str) -> dict[str, Any]:
    """Return what the schema says of one thing that can be asked; empty: it says nothing."""
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.address)
    found: dict[str, Any] = schema()["paths"].get(path, {}).get(method.lower(), {})
    return found


@cache
def methods(route: Route, root: Client) -> tuple[str, ...]:
    """Ask an address which methods it takes, by one that it does not. `root` may everything."""
    path = route.path({name: _parameter(route, name).of(NOTHING) for name in route.parameters})
    allowed = root.generic("BREW", path).headers.get("Allow", "GET, POST")
    return tuple(
        each for each in allowed.split(", ") if each not in ("OPTIONS", "HEAD", *NAMESAKES.get(route.name, ()))
    )


class Request(NamedTuple):
    """One request, whole."""

    method: str
    path: str
    query: dict[str, Any]
    body: dict[str, Any] | None
    kind: str = MULTIPART_CONTENT

    def sent(self, client: Client) -> Any:
        """Send it, and return the answer."""
        if self.body is None:
            return client.generic(self.method, self.target)
        return client.generic(self.method, self.target, self._content(self.body), self.kind)

    def _content(self, body: dict[str, Any]) -> Any:
        match self.kind:
            case "application/json":
                return json.dumps(body)
            case "text/csv":
                return "".join(map(str, body.values()))
            case _:
                file = {"file": ContentFile(body["file"], "table.csv")} if "file" in body else {}
                return encode_multipart(BOUNDARY, body | file)

    @property
    def target(self) -> str:
        """Return path and query."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    @property
    def words(self) -> str:
        """Return all that it says."""
        return f"{self.path} {self.query} {self.body}"


class Case(NamedTuple):
    """A way to ask: what it says of whom. `elsewhere`: the parts of it that name what is not one's own."""

    route: Route
    method: str
    query: dict[str, Any]
    body: dict[str, Any] | None
    elsewhere: frozenset[str]

    def asked(self, elsewhere: Names, own: Names) -> Request:
        """Fill in the names."""

        def filled(part: str, given: dict[str, Any]) -> dict[str, Any]:
            return {
                name: value.of(elsewhere if f"{part} {name}" in self.elsewhere else own)
                if isinstance(value, Slot)
                else value
                for name, value in given.items()
            }

        address = {name: _parameter(self.route, name) for name in self.route.parameters}
        body = None if self.body is None else filled("body", self.body)
        path = self.route.path(filled("path", address))
        return Request(self.method, path, filled("query", self.query), body, _kind(self.route, self.method))

    @property
    def by_address(self) -> bool:
        """Whether it goes to what is not one's own."""
        return any(part.startswith("path ") for part in self.elsewhere)

    @property
    def all_elsewhere(self) -> bool:
        """Whether all of its address is another's."""
        return self.elsewhere >= {f"path {name}" for name in self.route.parameters}

    @property
    def told(self) -> str:
        """Say what names another's in it."""
        return " ".join((self.route.name, *sorted(self.elsewhere)))


def cases(route: Route, method: str) -> Iterator[Case]:
    """Return the ways to ask for what is another's: by the address, by the query, by the body."""
    path = [f"path {name}" for name in route.parameters]
    queries, bodies = list(_queries(route, method)), list(_bodies(route, method))
    needed = {name: value for name, value, required in queries if required}
    for elsewhere in dict.fromkeys([frozenset(path), *(frozenset((place,)) for place in path)]):
        for body in (*bodies, {"wrong": 1}) if method in SENDING else bodies:
            yield Case(route, method, needed, body, elsewhere)
        if path:
            yield Case(route, method, {"wrong": 1}, bodies[0], elsewhere)
    for named in _naming(route, method, queries):
        elsewhere = frozenset(f"query {name}" for name in named)
        yield Case(route, method, needed | named, bodies[0], elsewhere)
    for body in bodies:
        for name, value in (body or {}).items():
            if isinstance(value, Slot) and value.name != "fresh":
                yield Case(route, method, needed, body, frozenset((f"body {name}",)))


def own(route: Route, method: str, *named: str) -> Iterator[Case]:
    """Return the ways to ask for what is one's own, with what the query needs and these."""
    needed = {name: value for name, value, required in _queries(route, method) if required}
    for body in _bodies(route, method):
        yield Case(route, method, needed | {name: QUERIES[name] for name in named}, body, frozenset())


def _naming(route: Route, method: str, queries: list[tuple[str, Any, bool]]) -> list[dict[str, Any]]:
    """Return what a query may name; a page, of which nobody says what it reads, is asked for all of it at once."""
    if route.is_api:
        return [{name: value} for name, value, _ in queries if isinstance(value, Slot)]
    return [{name: value for name, value in QUERIES.items() if isinstance(value, Slot)}] if method == "GET" else []


def _queries(route: Route, method: str) -> Iterator[tuple[str, Any, bool]]:
    """Yield each parameter of a query: what it is called, what stands for it, whether it must be there."""
    for one in described(route, method).get("parameters", ()):
        if one["in"] == "query":
            yield one["name"], _known(QUERIES, one["name"], f"a query of {route}"), one.get("required", False)


def _bodies(route: Route, method: str) -> Iterator[dict[str, Any] | None]:
    """Yield what may be sent along."""
    if method not in SENDING:
        yield None
    elif not route.is_api:
        yield from _known(FORMS, route.name, f"a form that is sent to {route}")
    elif _kind(route, method) == "text/csv":
        yield {"table": Slot("table")}
    elif "requestBody" in (known := described(route, method)):
        name = known["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        yield _body(name.removeprefix("Patched"))
    else:
        yield None


def _kind(route: Route, method: str) -> str:
    """Return as what a body is sent."""
    if not route.is_api:
        return MULTIPART_CONTENT
    content = described(route, method).get("requestBody", {}).get("content", {})
    return "text/csv" if "text/csv" in content else "application/json"


def _parameter(route: Route, name: str) -> Slot:
    """Return what stands for a parameter: at this address, or anywhere."""
    slot: Slot = PARAMETERS.get(f"{route.name} {name}") or _known(PARAMETERS, name, f"the address {route}")
    return slot


def _body(shape: str) -> dict[str, Any]:
    schemas = schema()["components"]["schemas"]
    found = schemas.get(shape) or schemas[f"Patched{shape}"]
    return {
        name: FIELDS[f"{shape}.{name}"] if f"{shape}.{name}" in FIELDS else _known(FIELDS, name, f"a body, {shape}")
        for name, field in found["properties"].items()
        if not field.get("readOnly")
    }


def _known(table: dict[str, Any], name: str, where: str) -> Any:
    """Return what stands for a name; a name that nobody has thought of fails."""
    assert name in table, f"tests/django/routes.py does not know {name!r} of {where}: say there what stands for it"
    return table[name]
