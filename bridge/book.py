"""The bridge's book: who is registered, as the registry said last, and the broker's accounts, which follow it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeAlias

from bridge.accounts import Account, Accounts
from devices import registry

if TYPE_CHECKING:
    from bridge.threads import Threads

logger = logging.getLogger(__name__)

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

    async def bring_accounts_up_to_date(self, *, whole: bool) -> None:
        """Tell the broker what changed since the last time, or the whole truth."""
        if self._open_accounts is None:
            return
        versions = await self._threads.run(registry.account_versions)
        if whole or self.known is None:
            await self._reconcile()
        elif versions != self.known:
            changed = [key for key, version in versions.items() if self.known.get(key) != version]
            gone = [key for key in self.known if key not in versions]
            async with self._open_accounts() as accounts:
                await accounts.apply(await self._accounts(changed), gone)
        self.known = versions

    async def _reconcile(self) -> None:
        assert self._open_accounts is not None
        async with self._open_accounts() as accounts:
            changes = await accounts.reconcile(await self._accounts(None))
        if changes:
            logger.info("accounts: %s", changes)

    async def _accounts(self, keys: list[str] | None) -> list[Account]:
        found = await self._threads.run(registry.credentials, keys)
        return [Account(key=one.key, secret=one.secret, version=one.version) for one in found]
