"""Who comes with name and password, where a second factor is on: the one door for them asks for the code as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend

from devices import second_factor

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest


class Passwords(ModelBackend):
    """Django's own check, which raises HalfWay where a code has to follow: a caller who forgets that lets nobody in."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,  # noqa: ANN401  Django's own signature
    ) -> User | None:
        """Return the user, or None where name or password is wrong; raise a Refusal where only `code` is."""
        user = super().authenticate(request, username, password, **kwargs)
        if user is not None:
            second_factor.prove(user, kwargs.get("code", ""))
        return user

    async def aauthenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,  # noqa: ANN401  Django's own signature
    ) -> User | None:
        """Do the same: Django's own would know of no code."""
        return await sync_to_async(self.authenticate)(request, username, password, **kwargs)
