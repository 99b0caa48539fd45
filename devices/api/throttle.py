"""How often the API may be asked: each token, each user by session, and each address of those who are nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.throttling import BaseThrottle

from devices import address, quota
from devices.models import Token

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView

    from devices.quota import Whose


class Throttle(BaseThrottle):
    """One request's."""

    def allow_request(self, request: Request, view: APIView) -> bool:  # noqa: ARG002  as the framework has it
        """Count it, and say whether it is taken."""
        self._wait = quota.requests.take(whose(request))
        return not self._wait

    def wait(self) -> float:
        """Return in how many seconds it would be."""
        return self._wait


def whose(request: Request) -> Whose:
    """Say who asks. A program that floods uses up its own token's share, and not that of its owner's pages."""
    if isinstance(request.auth, Token):
        return "token", request.auth.pk
    if request.user.is_authenticated:
        return "user", request.user.pk
    return "address", address.of(request._request)  # noqa: SLF001  the framework's own
