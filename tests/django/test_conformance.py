"""The API as its schema describes it, asked by chance: nothing fails, nothing foreign is told, all is as described.

Schemathesis makes the requests, in all its phases, signed in as a manager of another fleet. Ordinarily there are few of
them; `--full` makes thousands.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import pytest
import schemathesis
from django.contrib.auth.models import User
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from devices.models import Token
from hub import asgi
from tests.django import canaries, routes
from tests.django.canaries import FOREIGN, OWN, Names
from tests.django.routes import Slot


async def served(scope: Any, receive: Any, send: Any) -> None:
    """The hub's application, in the form in which the tool knows one: a coroutine function."""
    await asgi.application(scope, receive, send)


SEED: Final = 7
# How much is asked: ordinarily what may be asked, and with --full much of it, and what may not as well.
SHORT: Final = {"max-examples": 3, "mode": "positive"}
FULL: Final = {"max-examples": 100, "mode": "all"}
# Numbers are taken for texts; and what fits the schema may still be refused: a cursor of another list, a key that is
# taken.
NOT_ASKED: Final = ("negative_data_rejection", "positive_data_acceptance")
BULK: Final = "/api/v1/devices/bulk/"
STREAM: Final = "/api/v1/stream"
PHASES: Final = {"EXAMPLES", "COVERAGE", "FUZZING", "STATEFUL_TESTING"}


def config(secret: str, generation: dict[str, Any]) -> SchemathesisConfig:
    """How to ask."""
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "headers": {"Authorization": f"Token {secret}"},
            "generation": generation | {"deterministic": True, "database": "none"},
            "phases": {"stateful": {"max-steps": 6}},
            "checks": {name: {"enabled": False} for name in NOT_ASKED},
            # It takes the methods of a device that is called so, too (routes.NAMESAKES).
            "operations": [{"include-path": BULK, "checks": {"allow_header_conformance": {"enabled": False}}}],
            "continue-on-failure": True,
        }
    )


def aimed() -> dict[str, Any]:
    """Return the schema, with the names of both fleets where a name can be said: by chance nobody meets one."""
    aim = deepcopy(routes.schema())
    for path, operation in ((path, one) for path, there in aim["paths"].items() for one in there.values()):
        fleets = (FOREIGN,) if path == STREAM else (FOREIGN, OWN)
        for parameter in operation.get("parameters", ()):
            name = parameter["name"]
            slot = (routes.PARAMETERS if parameter["in"] == "path" else routes.QUERIES).get(name)
            parameter["schema"] = _aimed(parameter["schema"], slot, fleets)
            if name == "wait":  # what comes while one waits is another test's
                parameter["schema"] = {"type": "integer", "enum": [0]}
    for shape in aim["components"]["schemas"].values():
        for name, field in shape.get("properties", {}).items():
            if "readOnly" not in field:
                shape["properties"][name] = _aimed(field, routes.FIELDS.get(name), (FOREIGN, OWN))
    del aim["paths"][STREAM]["get"]["responses"]["200"]  # it has no end, so nobody is to get there
    return aim


def _aimed(described: dict[str, Any], slot: object, fleets: tuple[Names, ...]) -> dict[str, Any]:
    if not isinstance(slot, Slot):
        return described
    return {"anyOf": [{"enum": [slot.of(fleet) for fleet in fleets]}, described]}


@schemathesis.check
def nothing_foreign(context: Any, response: Any, case: Any) -> None:
    """What is told is one's own, or was said by oneself."""
    asked = json.dumps([case.path_parameters, case.query, case.body], default=str) + str(response.request.url)
    told = canaries.foreign_words(f"{response.headers} {response.text}", asked)
    assert not told, f"tells {told}"
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nobody reads a line for each refusal."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("quiet")
def test_whatever_is_asked_nothing_fails_and_nothing_foreign_is_told(
    request: pytest.FixtureRequest, settings: Any
) -> None:
    settings.HUB_API_RATE = settings.HUB_API_BURST = 1_000_000
    for fleet in (FOREIGN, OWN):
        canaries.plant(fleet)
    secret = Token.objects.create(User.objects.get(username="yours-manager"))[1]
    before = canaries.fingerprint()
    full = request.config.getoption("--full")
    schema = schemathesis.openapi.from_dict(aimed(), config=config(secret, FULL if full else SHORT))
    schema.app = served
    faults, phases, statuses = [], set(), []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            phases.add(event.phase.name)
            statuses += [one.response.status_code for one in event.recorder.interactions.values() if one.response]
            faults += faults_of(event)
        elif isinstance(event, events.NonFatalError):
            faults.append(f"{event.label}: {event.value!r}")
        assert not isinstance(event, events.FatalError), event
    assert not faults, "\n\n".join(dict.fromkeys(faults))
    assert canaries.fingerprint() == before
    assert phases == PHASES
    assert {200, 201, 204, 403, 404} <= {*statuses}  # it was not at the door all the time


def faults_of(event: events.ScenarioFinished) -> list[str]:
    """Return what is wrong with what was answered."""
    return [
        f"{event.phase.name}: {event.recorder.cases[case].value.as_curl_command()}\n{check.failure_info.failure}"
        for case, checks in event.recorder.checks.items()
        for check in checks
        if check.failure_info is not None
    ]
