"""The cast. Alice manages the fleet "greenhouse", Bob is operator there, Vera viewer. Charlie manages "brewery".

Dora is in no fleet.
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from devices import quota, registry, rejects, telemetry, wire
from devices.batch import Rejected
from devices.models import Device, Fleet, Membership, Token

PASSWORD = "correct horse battery"
NOW = 1_790_000_000_000

Clients = Callable[[User | None], APIClient]


@pytest.fixture(autouse=True)
def files_when_asked(settings: Any) -> None:
    """Every test client builds the middleware anew: it must not look at all static files each time (0.2 s)."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def nobody_asked_yet() -> None:
    """What was asked in another test does not count: it is counted in memory."""
    quota.requests.forget()


def make_user(username: str, role: str = "", fleet: Fleet | None = None, **kind: Any) -> User:
    user = User.objects.create_user(username, password=PASSWORD, **kind)
    if fleet:
        Membership.objects.create(fleet=fleet, user=user, role=role)
    return user


@pytest.fixture
def greenhouse(db: None) -> Fleet:
    return Fleet.objects.create(slug="greenhouse", name="Greenhouse")


@pytest.fixture
def brewery(db: None) -> Fleet:
    return Fleet.objects.create(slug="brewery", name="Brewery")


@pytest.fixture
def alice(greenhouse: Fleet) -> User:
    return make_user("alice", "manager", greenhouse)


@pytest.fixture
def bob(greenhouse: Fleet) -> User:
    return make_user("bob", "operator", greenhouse)


@pytest.fixture
def vera(greenhouse: Fleet) -> User:
    return make_user("vera", "viewer", greenhouse)


@pytest.fixture
def charlie(brewery: Fleet) -> User:
    return make_user("charlie", "manager", brewery)


@pytest.fixture
def dora(db: None) -> User:
    return make_user("dora")


@pytest.fixture
def root(db: None) -> User:
    return make_user("root", is_superuser=True, is_staff=True)


@pytest.fixture
def pump(greenhouse: Fleet) -> Device:
    """A device that has announced three commands and sent nothing yet."""
    device, _ = registry.create("pump-1", greenhouse, "Pump")
    device.commands = {
        "relay": {"type": "bool"},
        "setpoint": {"type": "number", "min": 5, "max": 30, "step": 0.5},
        "reboot": {"type": "action"},
    }
    device.save(update_fields=["commands"])
    return device


@pytest.fixture
def kettle(brewery: Fleet) -> Device:
    return registry.create("kettle", brewery)[0]


@pytest.fixture
def api() -> Clients:
    """Give a client of the API that signs in with a token; None: nobody."""

    def client(user: User | None) -> APIClient:
        made = APIClient()
        if user is not None:
            made.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user)[1]}")
        return made

    return client


def frame(device: Device, ts: int = NOW, **values: Any) -> wire.Frame:
    return wire.Frame(device=device.key, values=values or {"temperature": 21.5}, received_at=ts, ts=ts)


@pytest.fixture
def say() -> Callable[..., None]:
    """Have a device send `count` frames, one a second from NOW on."""

    def said(device: Device, count: int = 1, **values: Any) -> None:
        telemetry.record([frame(device, NOW + 1000 * index, **values) for index in range(count)], NOW)

    return said


def refuse(
    key: str = "pump-1", payload: bytes = b"{", reason: Any = "not_json", now: int = NOW, topic: str = "", **given: Any
) -> None:
    """Have a message of a device refused."""
    message = wire.Message(topic=topic or f"hub/{key}/telemetry", payload=payload, received_at=now)
    rejects.keep([Rejected(key=key, message=message, reason=reason, detail=given.pop("detail", "why"), **given)])
