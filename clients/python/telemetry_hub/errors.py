"""PURE. What can go wrong, by whose fault, and what to do about it: each error's text says it."""


class HubError(Exception):
    """Whatever this package raises."""


class NotSignedIn(HubError):
    """The hub does not take this token: it is wrong or expired, or whose it is was signed out or deactivated."""


class Unreachable(HubError):
    """No hub answered at this address in the time given for it."""


class Unusable(HubError):
    """The hub and this program do not understand each other; trying again would change nothing."""


class Refused(HubError):
    """The hub says no. `code` is its word for why; `retry`: the same may work later."""

    def __init__(self, code: str, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retry = retry


class Revoked(HubError):
    """The hub ended this: a device or fleet is gone, or may not be seen any more."""


class NoAnswer(HubError):
    """The connection was cut, or time ran out, before the answer: whether it was done is not known."""


class Closed(HubError):
    """This program closed the connection."""
