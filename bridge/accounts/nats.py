"""Accounts on nats-server: a book of who may come in, by which its porter lets in and throws out.

The server itself knows nobody: it asks for each connection. In `folder`, `accounts.json` is the book (who, which
version, which hash), and `own.json` the hub's own account. No secret of a device is in either.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from bridge import accounts
from bridge.accounts import Account, Changes, Forget
from bridge.accounts.porter import Caller, Rights

BOOK: Final = "accounts.json"
OWN: Final = "own.json"


class Own(msgspec.Struct, frozen=True):
    """The hub's own account. An upper-case letter keeps it apart from every device key."""

    username: str
    password: str

    @classmethod
    def make(cls) -> Self:
        """Make one that cannot be guessed; the name is part of the bridge's client ids too."""
        return cls(f"Hub-{secrets.token_hex(8)}", secrets.token_urlsafe(32))


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """One account in the book: its version and the hash of its secret."""

    version: int
    sha256: str


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All devices that may come in."""

    devices: dict[str, Login] = {}


class Nats:
    """Keeps the accounts of the nats-server whose porter asks `admit` and tells `left`."""

    def __init__(
        self,
        folder: Path,
        throw_out: Callable[[Iterable[int]], None],
        forget: Forget,
    ) -> None:
        """Keep the book in `folder`; `throw_out` ends connections."""
        self._folder = folder
        self._throw_out = throw_out
        self._forget = forget
        self._turn = asyncio.Lock()
        # What both the porter's thread and ours use.
        self._lock = threading.Lock()
        self._logins: Mapping[str, Login] = {}
        self._inside: dict[int, tuple[str, Login]] = {}
        self.own = Own("", "")

    def open(self) -> None:
        """Read what an earlier run has left, before the server starts: nobody is inside yet."""
        self.own = own(self._folder)
        with self._lock:
            self._logins = load(self._folder)
            self._inside.clear()

    def admit(self, caller: Caller) -> Rights | None:
        """Say what this caller may do; None: it stays outside.

        A device's client id is its key. The hub has several, none of which is a device's.
        """
        with self._lock:
            if not caller.mqtt:
                return None
            if caller.user == self.own.username:
                known = _fits(caller.secret, _hash(self.own.password)) and caller.client_id not in self._logins
                return _rights(caller.user, [accounts.OWN_TOPICS], [accounts.OWN_TOPICS]) if known else None
            login = self._logins.get(caller.user)
            if login is None or caller.client_id != caller.user or not _fits(caller.secret, login.sha256):
                return None
            # Before the answer is given: whoever changes the book from now on sees whom to throw out.
            self._inside[caller.connection] = (caller.user, login)
        return _rights(caller.user, accounts.publishable(caller.user), accounts.subscribable(caller.user))

    def left(self, connection: int) -> None:
        """Take note that a connection has ended."""
        with self._lock:
            self._inside.pop(connection, None)

    async def reconcile(self, wanted: Sequence[Account]) -> Changes:
        """Make the device accounts exactly these."""
        async with self._turn:
            present = load(self._folder)
            return await self._change(present, present, wanted)

    async def apply(self, changed: Sequence[Account], gone: Sequence[str]) -> Changes:
        """Put these in place and take those away."""
        async with self._turn:
            present, leaving = load(self._folder), set(gone)
            named = {account.key for account in changed} | leaving
            some = {key: login for key, login in present.items() if key in named}
            return await self._change(present, some, [a for a in changed if a.key not in leaving])

    async def _change(
        self, present: Mapping[str, Login], compared: Mapping[str, Login], wanted: Sequence[Account]
    ) -> Changes:
        changes = accounts.compare({key: login.version for key, login in compared.items()}, wanted)
        if changes:
            staying = {key: login for key, login in present.items() if key not in changes.removed}
            fresh = {*changes.added, *changes.changed}
            later = staying | {a.key: _login(a) for a in wanted if a.key in fresh}
            if changes.removed:
                await asyncio.to_thread(self._go_by, staying)
                await self._forget(accounts.kept_of(changes.removed))
            if fresh:
                await asyncio.to_thread(self._go_by, later)
            # Last, so that whatever fails before is seen as still to be done.
            replace(self._folder / BOOK, msgspec.json.format(msgspec.json.encode(Book(devices=later))))
        return changes

    def _go_by(self, logins: Mapping[str, Login]) -> None:
        """Let in whom these name from now on, and throw out whoever is inside by another login."""
        with self._lock:
            self._logins = logins
            strangers = [number for number, (key, login) in self._inside.items() if logins.get(key) != login]
        self._throw_out(strangers)


def own(folder: Path) -> Own:
    """Return the hub's own account, which is made once."""
    path = folder / OWN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Own)
    except (FileNotFoundError, msgspec.DecodeError):
        made = Own.make()
        replace(path, msgspec.json.encode(made))
        return made


def load(folder: Path) -> dict[str, Login]:
    """Read the book. Without one that can be read nobody but the hub gets in until the next reconcile refills it."""
    try:
        return msgspec.json.decode((folder / BOOK).read_bytes(), type=Book).devices
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


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


def _rights(user: str, publish: Iterable[str], subscribe: Iterable[str]) -> Rights:
    return Rights(user=user, publish=subjects(publish), subscribe=subjects(subscribe))


def _login(account: Account) -> Login:
    return Login(version=account.version, sha256=_hash(account.secret))


def _fits(secret: str, hashed: str) -> bool:
    return hmac.compare_digest(_hash(secret), hashed)


def _hash(secret: str) -> str:
    # A slow, salted hash protects what can be guessed. These are 256 random bits, which no speed of guessing finds.
    return hashlib.sha256(secret.encode()).hexdigest()


def replace(path: Path, content: bytes) -> None:
    """Replace a file at once, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(f"{path.suffix}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)
