"""The bridge's book: who is registered, as the registry said last, and the broker's accounts, which follow it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, TypeAlias

from bridge.accounts import Account, Accounts
from devices import registry

if TYPE_CHECKING:
    from bridge.threads import Threads

logger = logging.getLogger(__name__)

# New accounts in one go: where there are many, Mosquitto takes about a second for them.
AT_ONCE: Final = 50

OpenAccounts: TypeAlias = Callable[[], AbstractAsyncContextManager[Accounts]]


class Book:
    """`open_accounts` opens the broker's accounts; None where they are not ours to keep."""

    def __init__(self, open_accounts: OpenAccounts | None, threads: Threads) -> None:
        """Know nobody yet."""
        self.directory: dict[str, registry.Entry] = {}
        # Key → version of the secret that the broker has; None: nobody knows what it has.
        self.known: dict[str, int] | None = None
        self._open_accounts = open_accounts
        self._threads = threads

    async def reload(self) -> None:
        """Read the registry. Who was put there past its own door gets what is needed first."""
        await self._threads.run(registry.complete)
        self.directory = await self._threads.run(registry.directory)

    async def bring_accounts_up_to_date(self, *, whole: bool) -> bool:
        """Tell the broker what changed since the last time, or the whole truth; whether that was all of it.

        Of many new accounts only some are made at once: whoever loses theirs meanwhile does not wait for the others.
        """
        if self._open_accounts is None:
            return True
        versions = await self._threads.run(registry.account_versions)
        if whole or self.known is None:
            await self._reconcile()
        elif versions != self.known:
            known = self.known
            gone = [key for key in known if key not in versions]
            changed = [key for key, version in versions.items() if known.get(key, version) != version]
            new = [key for key in versions if key not in known]
            async with self._open_accounts() as accounts:
                await accounts.apply(await self._accounts([*changed, *new[:AT_ONCE]]), gone)
            later = set(new[AT_ONCE:])
            self.known = {key: version for key, version in versions.items() if key not in later}
            return not later
        self.known = versions
        return True

    async def _reconcile(self) -> None:
        assert self._open_accounts is not None
        async with self._open_accounts() as accounts:
            changes = await accounts.reconcile(await self._accounts(None))
        if changes:
            logger.info("accounts: %s", changes)

    async def _accounts(self, keys: list[str] | None) -> list[Account]:
        found = await self._threads.run(registry.credentials, keys)
        return [Account(key=one.key, secret=one.secret, version=one.version) for one in found]
