"""The bridge's book: what it tells the broker when the registry changed."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from bridge.accounts import Account, Changes
from bridge.book import AT_ONCE, Book
from bridge.threads import Threads
from devices import registry
from devices.models import Device, Fleet
from tests.django.live import run

pytestmark = pytest.mark.django_db(transaction=True)


class Listed:
    """A broker that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[list[str], list[str]]] = []

    async def reconcile(self, wanted: Sequence[Account]) -> Changes:
        self.told.append(([account.key for account in wanted], []))
        return Changes()

    async def apply(self, changed: Sequence[Account], gone: Sequence[str]) -> Changes:
        self.told.append(([account.key for account in changed], list(gone)))
        return Changes()


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads("book", 1)
    yield made
    made.end()


async def test_who_loses_an_account_does_not_wait_for_many_new_ones(
    threads: Threads, greenhouse: Fleet, pump: Device
) -> None:
    broker = Listed()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Listed]:
        yield broker

    valve = (await run(registry.create, "valve", greenhouse))[0]
    book = Book(opened, threads)
    assert await book.bring_accounts_up_to_date(whole=True)
    new = [f"new-{number:03}" for number in range(2 * AT_ONCE + 1)]
    for key in new:
        await run(registry.create, key, greenhouse)
    assert not await book.bring_accounts_up_to_date(whole=False)
    await run(registry.change, pump, {"enabled": False})
    await run(registry.rotate, valve)
    assert not await book.bring_accounts_up_to_date(whole=False)
    assert await book.bring_accounts_up_to_date(whole=False)
    assert [(sorted(keys), gone) for keys, gone in broker.told[1:]] == [
        (new[:AT_ONCE], []),
        ([*new[AT_ONCE : 2 * AT_ONCE], "valve"], ["pump-1"]),
        (new[2 * AT_ONCE :], []),
    ]
    assert book.known == await run(registry.account_versions)
