"""Two fleets with the same things in them (canaries.py), and all who ask; a plugin, so that each module may name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command

from devices import tokens
from devices.models import Fleet, Membership, Role, Token
from tests.django import canaries
from tests.django.canaries import FOREIGN, MARK, OWN
from tests.django.conftest import NOW
from tests.django.visitors import Visitor


def narrowed(user: User) -> str:
    """Make somebody a manager of both fleets, and a token for them that is good for one."""
    fleets = Fleet.objects.order_by("slug")
    for fleet in fleets:
        Membership.objects.create(fleet=fleet, user=user, role=Role.MANAGER)
    return tokens.make(user, "narrowed", fleets=fleets.filter(slug=OWN.slug))[1]


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[Callable[[str], Visitor]]:
    """Two fleets and all who ask, committed: planted once, and each test changes it in a transaction of its own."""
    visitors: dict[str, Visitor] = {}
    with django_db_blocker.unblock(), time_machine.travel(NOW / 1000, tick=False):
        canaries.plant(FOREIGN)
        canaries.plant(OWN)
        User.objects.create_user("stranger")
        User.objects.create_user("both")
        User.objects.create_user("clerk", is_staff=True)
        User.objects.create_superuser("root")
        found = {user.username: user for user in User.objects.all()}
        visitors["nobody"] = Visitor(None)
        visitors["program"] = Visitor(found["yours-manager"], secret=Token.objects.create(found["yours-manager"])[1])
        visitors["narrowed"] = Visitor(found["both"], secret=narrowed(found["both"]))
        visitors |= {name: Visitor(found[f"yours-{name}"]) for name in ("viewer", "operator", "manager")}
        visitors |= {name: Visitor(found[name]) for name in ("stranger", "clerk", "root")}
        visitors["owner"] = Visitor(found[f"{MARK}-manager"])
        yield visitors.__getitem__
        call_command("flush", verbosity=0, interactive=False)
