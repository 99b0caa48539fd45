"""The bridge's work behind the ingest: one step at a time, until little is left."""

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections

from bridge import upkeep
from bridge.threads import Threads
from bridge.upkeep import Upkeep
from devices.history import retention, rollups
from devices.models import Device, Frame, Rolled

pytestmark = pytest.mark.django_db(transaction=True)


class Enough(Exception):
    """The test has seen what it wanted."""


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads("upkeep", 1)
    yield made
    made._executor.submit(connections.close_all).result()
    made.end()


async def test_steps_go_on_while_there_is_much_and_rest_when_little_is_left(
    pump: Device, say: Any, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "STEP", 100)
    await sync_to_async(say)(pump, 150)
    work = Upkeep(threads)
    assert await work.step()
    await sync_to_async(say)(pump, 150)
    assert not await work.step()
    assert (await Rolled.objects.aget()).seq == 200


async def test_it_prunes_once_a_minute_and_at_once_until_nothing_is_due(
    pump: Device, say: Any, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "STEP", 100)
    monkeypatch.setattr(upkeep, "now_ms", lambda: 2**42)
    await sync_to_async(say)(pump, 150)
    await Device.objects.aupdate(keep_raw=1)
    work = Upkeep(threads)
    while await work.step():
        pass
    assert not await Frame.objects.aexists()
    monkeypatch.setattr(retention, "prune", lambda *_: pytest.fail("it was asked again within a minute"))
    assert not await work.step()


async def test_a_database_that_is_away_is_waited_for(
    pump: Device, say: Any, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync_to_async(say)(pump, 3)
    roll, tries = rollups.roll, []

    def away_once(limit: int) -> int:
        tries.append(limit)
        if len(tries) == 1:
            raise OperationalError("the server went away")
        return roll(limit)

    async def stop_or_go_on(seconds: float) -> None:
        if seconds == upkeep.EVERY_S and len(tries) > 1:
            raise Enough

    monkeypatch.setattr(rollups, "roll", away_once)
    monkeypatch.setattr(upkeep.asyncio, "sleep", stop_or_go_on)
    with pytest.raises(Enough):
        await Upkeep(threads).run()
    assert (await Rolled.objects.aget()).seq == 3
