"""Who asks, and what they are answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from typing import Any, Final, NamedTuple

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from tests.django import canaries
from tests.django.routes import Request

# Differs from one moment to the next.
MASKED: Final = re.compile(r'name="csrfmiddlewaretoken" value="[^"]*"')


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    def about(self, names: canaries.Names, instead: canaries.Names) -> Answer:
        """Return the same answer with other names in it."""

        def renamed(text: str) -> str:
            for old, new in zip(names.values(), instead.values(), strict=True):
                text = text.replace(old, new)
            return text

        return Answer(self.status, {name: renamed(each) for name, each in self.headers.items()}, renamed(self.text))

    @property
    def whole(self) -> str:
        """Return all that it says."""
        return f"{self.headers} {self.text}"


class Visitor:
    """Somebody with what they sign in with. Each request is theirs anew: what one changes, the next does not see."""

    handler: Any = None

    def __init__(self, user: User | None, *, secret: str = "") -> None:
        """`secret`: of a token; else they come with a session."""
        headers = {"authorization": f"Token {secret}"} if secret else None
        self.client = Client(headers=headers, raise_request_exception=False)
        # A handler loads the middleware anew for each client: one is enough.
        Visitor.handler = self.client.handler = Visitor.handler or self.client.handler
        if user and not secret:
            self.client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[-1])
        self._cookies = self.client.cookies.output(header="", sep=";")

    def ask(self, request: Request) -> Answer:
        """Ask, and go where the answer leads, unless it leads to a door."""
        self.client.cookies = SimpleCookie(self._cookies)
        answer = answered(request.sent(self.client))
        if answer.status == 302 and not answer.headers["Location"].startswith(("/sign-in/", "/admin/login/")):
            return Answer(302, answer.headers, answered(self.client.get(answer.headers["Location"])).text)
        return answer


def answered(response: Any) -> Answer:
    content = collected(response.streaming_content) if response.streaming else response.content
    headers = dict(response.headers) | dict.fromkeys(response.cookies, "set")
    return Answer(response.status_code, headers, MASKED.sub("csrf", content.decode()))


@async_to_sync
async def collected(parts: Any) -> bytes:
    return b"".join([part async for part in parts])


@contextmanager
def undone() -> Iterator[None]:
    """Have nothing of it happened."""
    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(point)
