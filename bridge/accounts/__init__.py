"""The broker's accounts follow the registry: one interface here, one module for each broker.

The rules that every broker enforces stand here once, as MQTT filters. Nothing here knows rows.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from devices import values

# What the hub itself may use, beside the control channel of a broker that has one.
OWN_TOPICS: Final = "hub/#"
# Instead of a version: the account has to be made anew, whatever it is; and, it was of a device that is no more.
OUTDATED: Final = -1
ANOTHERS: Final = -2
# Rotation counts on from a device's first version, which is a random one of 48 bits. Nobody rotates more often than
# this between two looks: what is farther away is the version of another device.
ROTATIONS: Final = 10_000


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


# Has the broker forget what it keeps for these client ids, and retained under these filters (see bridge.mqtt.forget).
Forget = Callable[[Mapping[str, Sequence[str]]], Awaitable[None]]


class Accounts(Protocol):
    """A broker whose accounts are ours to keep.

    Both calls cut the session of an account that is removed or whose secret changed, leave
    everybody else connected, and raise AccountsError when the broker does not do as told. What
    the broker kept of a removed device, queued or retained, is gone before another has its key.
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
    return tuple(f"{root}/{leaf}" for root in roots for leaf in ("cmd/#", "desired", "receipt", "error"))


def kept_of(keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return what a broker may keep of these devices: by client id, the filters of what they may have retained."""
    return {key: publishable(key) for key in keys}


def compare(present: Mapping[str, int], wanted: Sequence[Account]) -> Changes:
    """Tell what turns the present versions into the wanted accounts.

    A device that was deleted and made again under its key is another one: its account is removed, and added.
    """
    staying = {a.key for a in wanted if _is_same(present.get(a.key), a.version)}
    return Changes(
        added=[account.key for account in wanted if account.key not in staying],
        changed=[a.key for a in wanted if a.key in staying and present[a.key] != a.version],
        removed=[key for key in present if key not in staying],
    )


def _is_same(before: int | None, now: int) -> bool:
    """Whether two versions are of one device; `before` is None where there is no account."""
    return before is not None and (before == OUTDATED or 0 <= before <= now < before + ROTATIONS)
