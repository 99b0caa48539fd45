"""What may be refused to a caller, in one shape for REST, sockets and pages: a code and a sentence with the remedy."""

from __future__ import annotations

from math import ceil


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


def too_often(wait_s: float | None) -> Refusal:
    """Refuse who asks too often, and say when it is not any more."""
    after = ceil(wait_s or 1)
    return Refusal("too_many_requests", f"Too many requests; come back in {after} s.", 429, retry_after_s=after)
