"""What may be refused to a caller, in one shape for REST, sockets and pages: a code and a sentence with the remedy."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Refusal(Exception):
    """The request cannot be granted. `code` for programs, `message` says what to do, `fields` names what is wrong.

    `retry_after_s`: the same may be granted then.
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int = 400,
        fields: dict[str, str] | None = None,
        *,
        retry_after_s: int | None = None,
    ) -> None:
        """Keep what the caller is told; `status` as HTTP has it."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields
        self.retry_after_s = retry_after_s


def device_unknown(key: str) -> Refusal:
    """Refuse a device that does not exist or may not be seen: both must look the same."""
    return Refusal("device_unknown", f"There is no device {key!r}, or you may not see it.", 404)


class HalfWay(Refusal):
    """The password was right, and is not enough: `user` has a code to bring, or (`unset`) a second factor to set up."""

    def __init__(self, user: User, *, unset: bool) -> None:
        """Say which of both."""
        if unset:
            code, what = (
                "second_factor_unset",
                "This hub asks for a second factor: sign in on its page, and set one up.",
            )
        else:
            code, what = "second_factor_needed", "Send a code of your authenticator app, or a recovery code, as `code`."
        super().__init__(code, what, 401)
        self.user = user
        self.unset = unset


def too_often(wait_s: float | None) -> Refusal:
    """Refuse who asks too often, and say when it is not any more."""
    after = ceil(wait_s or 1)
    return Refusal("too_many_requests", f"Too many requests; come back in {after} s.", 429, retry_after_s=after)
