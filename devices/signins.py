"""Who signs in, and who is refused: told to the audit, but not so often that guessing at passwords fills it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from axes.signals import user_locked_out
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver

from devices import audit

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest

# Who is refused is noted once in this time for each name and address, and so many names and addresses at most.
REST_S: Final = 60.0
MOST: Final = 100
_noted: dict[tuple[str, str, str], float] = {}


@receiver(user_logged_in)
def begun(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:  # noqa: ANN401, ARG001  Django's own signature
    """Note that somebody signed in; a password that made a token alone is noted with the token."""
    session = getattr(request, "session", None)
    if session is not None and session.get(SESSION_KEY) == str(user.pk):
        detail = {"address": _address(request)}
        audit.note("session.begun", user.get_username(), detail, actor=audit.person(user, "password"))


@receiver(user_login_failed)
def refused(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:  # noqa: ANN401, ARG001  Django's own signature
    """Note that a name was refused."""
    _note("session.refused", str(credentials.get("username", "")), _address(request))


@receiver(user_locked_out)
def locked(sender: Any, username: str | None, ip_address: str | None, **_: Any) -> None:  # noqa: ANN401, ARG001  axes' own signature
    """Note that a name is locked out for a while."""
    _note("session.locked", username or "", ip_address or "")


def _note(action: str, name: str, address: str) -> None:
    name = name.replace("\0", "")[:150]  # PostgreSQL takes no NUL
    if _is_due((action, name, address), time.monotonic()):
        audit.note(action, name, {"address": address}, actor=audit.person(None, "password"))


def _is_due(what: tuple[str, str, str], now: float) -> bool:
    for old in [each for each, at in _noted.items() if now - at >= REST_S]:
        del _noted[old]
    if what in _noted or len(_noted) >= MOST:
        return False
    _noted[what] = now
    return True


def _address(request: HttpRequest | None) -> str:
    """Return where they come from, as axes sees it, which knows how many proxies are in front."""
    seen = getattr(request, "axes_ip_address", None) or (request.META.get("REMOTE_ADDR") if request else None)
    return str(seen or "")
