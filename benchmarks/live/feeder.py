"""Stores frames and announces them, as a bridge does: `python -m benchmarks.live.feeder`, asked by benchmarks.live.ask.

It runs in the environment of a hub. A device is announced at most twenty times a second, the devices one after the
other; what is more than that comes as several frames in one announcement. `late`: how far it was behind its plan.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import django

django.setup()

from asgiref.sync import sync_to_async  # noqa: E402  the settings come first
from django.contrib.auth.models import User  # noqa: E402
from django.db import connection, transaction  # noqa: E402

from benchmarks.live import ask  # noqa: E402
from benchmarks.live.publisher import now_us  # noqa: E402
from devices import groups, journal, registry  # noqa: E402
from devices.models import Device, Fleet, Head, Membership, Role, Token  # noqa: E402
from devices.values import Value  # noqa: E402

TICK_S: Final = 0.005
SPACING_S: Final = 0.05
HEADS: Final = "UPDATE devices_head AS head SET seq = new.seq FROM unnest(%s::bigint[], %s::bigint[]) AS new (pk, seq) "


class Feeder:
    """What may be asked."""

    def __init__(self) -> None:
        """Have no devices yet."""
        self._devices: dict[str, int] = {}
        self._heads: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._going = False
        self._said = self._nothing()

    @staticmethod
    def _nothing() -> dict[str, float]:
        return {"frames": 0, "announcements": 0, "late ms": 0.0}

    async def prepare(self, devices: int) -> dict[str, Any]:
        """Make a member of a fleet and its devices; once for each database."""
        return await sync_to_async(_prepared)(devices)

    async def feed(self, keys: list[str], rate: float) -> None:
        """Feed so many frames a second, dealt to these devices in turn, from now on."""
        if self._task is not None:
            await self.stop()
        self._devices, self._heads = await sync_to_async(_found)(keys)
        self._said = self._nothing()
        self._going = True
        self._task = asyncio.create_task(self._feed(keys, rate))
        self._task.add_done_callback(_loudly)

    async def stop(self) -> dict[str, float]:
        """Feed no more; say what was fed."""
        if self._task is not None:
            self._going = False  # not in the middle: what is stored is announced as well
            await asyncio.wait([self._task])
            self._task = None
        return self._said

    async def report(self) -> dict[str, float]:
        """Say what was fed since this was asked last."""
        said, self._said = self._said, self._nothing()
        return said

    async def _feed(self, keys: list[str], rate: float) -> None:
        turns = min(rate, len(keys) / SPACING_S)  # announcements a second
        began, done = time.monotonic(), 0
        while self._going:
            planned = int((time.monotonic() - began) * turns)
            self._said["late ms"] = max(self._said["late ms"], ((planned - done) / turns - TICK_S) * 1000)
            amounts = [int((at + 1) * rate / turns) - int(at * rate / turns) for at in range(done, planned)]
            if amounts:
                messages, rows = self._made([(keys[(done + at) % len(keys)], n) for at, n in enumerate(amounts)])
                await sync_to_async(_stored)(rows)
                await groups.announce(*messages)
                self._said["frames"] += len(rows)
                self._said["announcements"] += len(messages)
                done = planned
            await asyncio.sleep(TICK_S)

    def _made(self, due: list[tuple[str, int]]) -> tuple[list[groups.Message], list[journal.Row]]:
        messages, rows = list[groups.Message](), list[journal.Row]()
        for key, amount in due:
            prev, at = self._heads[key], now_us()
            now = time.time_ns() // 1_000_000
            values: dict[str, Value] = {"t": at, "temperature": 21.5, "humidity": 40.1}
            seqs = range(prev + 1, prev + 1 + amount)
            self._heads[key] = prev + amount
            rows += [journal.Row(self._devices[key], seq, now, now, None, 0, values, None) for seq in seqs]
            frames = [(seq, now, values, 0) for seq in seqs]
            messages.append(
                {"type": "device.frames", "device": key, "prev": prev, "frames": frames, "hops": [now, now, now]}
            )
        return messages, rows


def _prepared(devices: int) -> dict[str, Any]:
    fleet = Fleet.objects.create(slug="main", name="Main")
    user = User.objects.create_user("mandy")
    Membership.objects.create(user=user, fleet=fleet, role=Role.VIEWER)
    keys = [registry.create(f"d{number}", fleet)[0].key for number in range(devices)]
    _, token = Token.objects.create(user)
    return {"token": token, "keys": keys}


def _found(keys: list[str]) -> tuple[dict[str, int], dict[str, int]]:
    devices = dict(Device.objects.filter(key__in=keys).values_list("key", "pk"))
    heads = dict(Head.objects.filter(pk__in=devices.values()).values_list("device__key", "seq"))
    return devices, heads


def _stored(rows: list[journal.Row]) -> None:
    heads = {row.device_id: row.seq for row in rows}
    with transaction.atomic(), connection.cursor() as cursor:
        journal.append(rows)
        cursor.execute(f"{HEADS} WHERE head.device_id = new.pk", [list(heads), list(heads.values())])


def _loudly(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        raise SystemExit(f"the feeder has a fault: {error!r}")


async def main() -> None:
    """Answer."""
    await ask.serve(Feeder())


if __name__ == "__main__":
    asyncio.run(main())
