"""The broker's accounts follow the registry: one interface here, one module for each broker.

The rules that every broker enforces stand here once, as MQTT filters. Nothing here knows rows.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from devices import values

# What the hub itself may use, beside the control channel of a broker that has one.
OWN_TOPICS: Final = "hub/#"


class AccountsError(Exception):
    """The broker's accounts could not be brought in line; the message says what to do."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A device's login. `key` is user name and client id; `version` grows with each rotation."""

    key: str
    secret: str
    version: int

    def __post_init__(self) -> None:
        """Refuse a key that a broker could read as more than one name."""
        check_key(self.key)

    def __repr__(self) -> str:
        """Show the account as it may be logged: without the secret."""
        return f"Account(key={self.key!r}, version={self.version})"


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that a call touched; all empty when the broker already had it right."""

    added: list[str] = msgspec.field(default_factory=list)
    changed: list[str] = msgspec.field(default_factory=list)
    removed: list[str] = msgspec.field(default_factory=list)

    def __bool__(self) -> bool:
        """Say whether anything changed at all."""
        return bool(self.added or self.changed or self.removed)


class Accounts(Protocol):
    """A broker whose accounts are ours to keep.

    Both calls cut the session of an account that is removed or whose secret changed, leave
    everybody else connected, and raise AccountsError when the broker does not do as told.
    """

    async def reconcile(self, wanted: Sequence[Account]) -> Changes:
        """Make the device accounts exactly these; accounts that are no device's stay."""
        ...

    async def apply(self, changed: Sequence[Account], gone: Sequence[str]) -> Changes:
        """Put these in place and take those away, now; everything else stays."""
        ...


def check_key(key: str) -> None:
    """Raise ValueError for a key that cannot be one topic level, one login and one client id."""
    if not values.is_key(key):
        msg = f"device key {key!r} must be a-z, 0-9, '_' or '-', at most 63, not led by '_' or '-'"
        raise ValueError(msg)


def publishable(key: str) -> tuple[str, ...]:
    """Return the filters under which a device may publish; a gateway's children are inside."""
    return (f"hub/{key}/#",)


def subscribable(key: str) -> tuple[str, ...]:
    """Return the filters within which a device may subscribe: what the hub says to it."""
    roots = (f"hub/{key}", f"hub/{key}/sub/+")
    return tuple(f"{root}/{leaf}" for root in roots for leaf in ("cmd/#", "receipt", "error"))


def compare(present: Mapping[str, int], wanted: Sequence[Account]) -> Changes:
    """Tell what turns the present versions into the wanted accounts."""
    keys = {account.key for account in wanted}
    return Changes(
        added=[account.key for account in wanted if account.key not in present],
        changed=[a.key for a in wanted if present.get(a.key, a.version) != a.version],
        removed=[key for key in present if key not in keys],
    )
