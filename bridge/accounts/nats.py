"""Accounts on nats-server: an included configuration file, rewritten whole, and a reload.

Everything is in one folder: `accounts.json` is the book (who, which version, which hash),
`accounts.conf` is what nats-server reads, derived from it. Secrets themselves are in neither.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import bcrypt
import msgspec

from bridge import accounts
from bridge.accounts import Account, AccountsError, Changes

BOOK: Final = "accounts.json"
CONFIG: Final = "accounts.conf"

# The lowest cost that bcrypt has. A slow hash protects guessable passwords; these secrets are 256
# random bits, which no speed of guessing finds. A high cost would hurt: nats-server checks each
# connected client again at every reload.
BCRYPT_ROUNDS: Final = 4

# These accounts open the MQTT listener only, not nats-server's own protocol. What MQTT needs beneath
# (`$MQTT.` and JetStream subjects) is implicit since nats-server 2.12.3 and cannot be reached as a
# topic; older ones would need `$MQTT.sub.>` among the subscriptions.
MQTT_ONLY: Final = ["MQTT"]


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """One account in the book: its version and the hash of its secret."""

    version: int
    hash: str


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All accounts that the broker has; `own` is the hub's."""

    own: str
    own_hash: str
    devices: dict[str, Login] = {}


class Nats:
    """Keeps the accounts of the nats-server whose configuration includes `folder/accounts.conf`."""

    def __init__(self, folder: Path, reload: Callable[[], None]) -> None:
        """Keep the accounts in `folder`; `reload` makes the running server go by them, and returns when it does."""
        self._folder = folder
        self._reload = reload
        self._turn = asyncio.Lock()

    async def reconcile(self, wanted: Sequence[Account]) -> Changes:
        """Make the device accounts exactly these."""
        async with self._turn:
            return await asyncio.to_thread(self._reconcile, wanted)

    async def apply(self, changed: Sequence[Account], gone: Sequence[str]) -> Changes:
        """Put these in place and take those away."""
        async with self._turn:
            return await asyncio.to_thread(self._apply, changed, gone)

    def _reconcile(self, wanted: Sequence[Account]) -> Changes:
        book = load(self._folder)
        present = {key: login.version for key, login in book.devices.items()}
        changes = accounts.compare(present, wanted)
        return self._change(book, wanted, changes)

    def _apply(self, changed: Sequence[Account], gone: Sequence[str]) -> Changes:
        book = load(self._folder)
        leaving = set(gone)
        named = {account.key for account in changed} | leaving
        present = {key: login.version for key, login in book.devices.items() if key in named}
        changes = accounts.compare(present, [a for a in changed if a.key not in leaving])
        return self._change(book, changed, changes)

    def _change(self, book: Book, wanted: Sequence[Account], changes: Changes) -> Changes:
        if changes:
            fresh = {*changes.added, *changes.changed}
            devices = {k: v for k, v in book.devices.items() if k not in changes.removed}
            devices |= {a.key: _login(a) for a in wanted if a.key in fresh}
            newer = msgspec.structs.replace(book, devices=devices)
            replace(self._folder / CONFIG, render(newer).encode())
            self._reload()
            # Last, so that whatever fails before is seen as still to be done.
            replace(self._folder / BOOK, _bound(newer))
        return changes


def ensure(folder: Path, own: str, secret: str) -> None:
    """Write both files before the server starts, keeping the devices of an earlier run."""
    try:
        devices = load(folder).devices
    except AccountsError:
        # Without a readable book nobody but the hub gets in until the next reconcile refills it.
        devices = {}
    book = Book(own=own, own_hash=_hash(secret), devices=devices)
    replace(folder / CONFIG, render(book).encode())
    replace(folder / BOOK, _bound(book))


def load(folder: Path) -> Book:
    """Read the book; AccountsError when there is none."""
    path = folder / BOOK
    try:
        return msgspec.json.decode(path.read_bytes(), type=Book)
    except (OSError, msgspec.DecodeError) as error:
        msg = f"cannot read the broker's accounts from {path}: {error}; start the broker again"
        raise AccountsError(msg) from error


def render(book: Book) -> str:
    """Return the authorization part of nats-server's configuration."""
    users = [_user(book.own, book.own_hash, [accounts.OWN_TOPICS], [accounts.OWN_TOPICS])]
    users += [
        _user(key, login.hash, accounts.publishable(key), accounts.subscribable(key))
        for key, login in sorted(book.devices.items())
    ]
    lines = ",\n".join(f"  {json.dumps(user)}" for user in users)
    return f"authorization {{ users: [\n{lines}\n] }}\n"


def subjects(filters: Iterable[str]) -> list[str]:
    """Return the subjects of MQTT filters; `a/#` means both `a` and `a.>` there."""
    found: list[str] = []
    for topic in filters:
        subject = topic.replace("/", ".").replace("+", "*")
        if subject.endswith(".#"):
            found += [subject.removesuffix(".#"), f"{subject.removesuffix('#')}>"]
        else:
            found.append(subject)
    return found


def _user(name: str, hashed: str, publish: Iterable[str], subscribe: Iterable[str]) -> Mapping[str, object]:
    return {
        "user": name,
        "password": hashed,
        "allowed_connection_types": MQTT_ONLY,
        "permissions": {
            "publish": {"allow": subjects(publish)},
            "subscribe": {"allow": subjects(subscribe)},
        },
    }


def _login(account: Account) -> Login:
    return Login(version=account.version, hash=_hash(account.secret))


def _hash(secret: str) -> str:
    return bcrypt.hashpw(secret.encode(), bcrypt.gensalt(BCRYPT_ROUNDS, prefix=b"2a")).decode()


def _bound(book: Book) -> bytes:
    return msgspec.json.format(msgspec.json.encode(book))


def replace(path: Path, content: bytes) -> None:
    """Replace a file at once, readable by its owner alone."""
    draft = path.with_suffix(f"{path.suffix}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)
