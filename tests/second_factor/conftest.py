"""These run where HUB_SECOND_FACTOR is optional; tests/django/test_second_factor.py has them run so."""

import base64
import hashlib
import hmac
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client

from devices import second_factor
from tests.django.conftest import PASSWORD, alice, api, bob, files_when_asked, greenhouse, pump, root

__all__ = ["alice", "api", "bob", "files_when_asked", "greenhouse", "pump", "root"]

STEP_S = 30


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands: no code becomes another while it is sent."""
    with time_machine.travel(1_790_000_010, tick=False) as stopped:
        yield stopped


@dataclass
class Phone:
    """An authenticator app, by RFC 6238 alone, and the paper with the recovery codes."""

    secret: str
    paper: list[str] = field(default_factory=list)

    def code(self, later: int = 0) -> str:
        """What it shows so many steps from now."""
        step = int(time.time()) // STEP_S + later
        digest = hmac.new(base64.b32decode(self.secret), struct.pack(">Q", step), hashlib.sha1).digest()
        at = digest[-1] & 15
        return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"

    def wrong(self) -> str:
        """A code that none of the steps around now has."""
        around = {self.code(later) for later in (-1, 0, 1)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in around)


@pytest.fixture
def phone_of() -> Callable[[User], Phone]:
    """Have somebody set up a second factor, with a code of half a minute ago."""

    def made(user: User) -> Phone:
        phone = Phone(second_factor.new_secret())
        phone.paper = second_factor.set_up(user, phone.secret, phone.code(-1))
        return phone

    return made


@pytest.fixture
def phone(alice: User, phone_of: Callable[[User], Phone]) -> Phone:
    """Alice's."""
    return phone_of(alice)


def knock(username: str = "alice", password: str = PASSWORD, then: str = "/", client: Client | None = None) -> Client:
    """Give name and password at the door."""
    client = client or Client()
    client.post("/sign-in/", {"username": username, "password": password, "next": then})
    return client


def is_in(client: Client) -> bool:
    """Whether this browser sees the fleet."""
    return client.get("/").status_code == 200
