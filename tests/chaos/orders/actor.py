"""Devices in a process of their own, which is killed: `python -m tests.chaos.orders.actor JOB`, a file with a Job.

Each carries out what it is told by writing it down (`acts`), and answers. Of which kind it is (`kinds`) decides what it
knows after it was killed, and what the broker keeps for it.
"""

import asyncio
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiomqtt
import msgspec

from devices import wire
from telemetry_hub.device import Order, client
from telemetry_hub.device.words import Send
from tests.chaos.orders import acts
from tests.chaos.orders.acts import Act, Acts
from tests.chaos.orders.fuse import Fuse
from tests.chaos.orders.kinds import KINDS, REMEMBERS, Job, Kind, refusals

# One that is stopped stays, as far as the broker knows, until it is to come back.
KEEPALIVE_S: Final = 300
RETRY_S: Final = 0.2


class Device:
    """One device."""

    def __init__(self, key: str, secret: str, kind: Kind, job: Job) -> None:
        self.key = key
        self._secret, self._kind, self._job = secret, kind, job
        self._ready = Path(job.ready)
        self._acts, self._refused = Acts(Path(job.acts)), Acts(refusals(job.acts))
        self._fuse = Fuse(Path(job.folder))
        done = (act.cid for act in acts.read(Path(job.acts)) if act.device == key)
        self._known = deque(done if kind.keeps else (), maxlen=REMEMBERS)

    async def live(self) -> None:
        while True:
            with suppress(aiomqtt.MqttError):
                await self._connected()
            await asyncio.sleep(RETRY_S)

    async def _connected(self) -> None:
        will = aiomqtt.Will(wire.topic(self.key, wire.STATUS), b"offline", qos=1, retain=True)
        async with aiomqtt.Client(
            self._job.host, self._job.port, identifier=self.key, username=self.key, password=self._secret,
            clean_session=not self._kind.persistent, will=will, timeout=5, keepalive=KEEPALIVE_S,
        ) as client:  # fmt: skip
            await client.subscribe(f"hub/{self.key}/cmd/#", qos=1)
            if self._kind.remembers:
                meta = msgspec.json.encode({"remembers": REMEMBERS})
                await client.publish(wire.topic(self.key, wire.META), meta, qos=1, retain=True)
            await client.publish(wire.topic(self.key, wire.STATUS), b"online", qos=1, retain=True)
            self._ready.touch()
            async for message in client.messages:
                await self._take(client, str(message.topic).rpartition("/")[2])

    async def _take(self, client: aiomqtt.Client, cid: str) -> None:
        self._fuse.passing("received")
        answer = self._obey(cid)
        self._fuse.passing("acted")
        await client.publish(f"hub/{self.key}/ack/{cid}", answer, qos=1)
        self._fuse.passing("answered")

    def _obey(self, cid: str) -> bytes:
        if cid in self._known:
            return b"ok"
        ends = wire.expiry_of(cid)
        assert ends is not None, f"{cid} says no end"
        now = time.time_ns() // 1_000_000
        if self._kind.clock and now > ends:
            self._refused.note(Act(cid, self.key, now))
            return b"expired"
        self._acts.note(Act(cid, self.key, now))
        if self._kind.keeps:
            self._known.append(cid)
        return b"ok"


class Shipped(client.Device):
    """A device on the client that programs use. It acts where a program would: in the function of a command."""

    def __init__(self, key: str, secret: str, job: Job) -> None:
        super().__init__(key, secret, job.host, job.port, buffer=Path(job.folder) / f"{key}.sqlite", tls=False)
        self._fuse, self._file, self._ready = Fuse(Path(job.folder)), Acts(Path(job.acts)), Path(job.ready)
        self.command("act", type="action")(self._act)

    async def _act(self, order: Order) -> None:
        self._fuse.passing("received")
        self._file.note(Act(order.cid, self.key, time.time_ns() // 1_000_000))
        self._fuse.passing("acted")

    def up(self) -> None:
        super().up()
        self._ready.touch()

    def done(self, send: Send) -> None:
        super().done(send)
        if "/ack/" in send.publish.topic:
            self._fuse.passing("answered")


async def work(job: Job) -> None:
    async with asyncio.TaskGroup() as lives:
        for key, secret, kind in job.devices:
            device = (
                Shipped(key, secret, job).run() if kind == "shipped" else Device(key, secret, KINDS[kind], job).live()
            )
            lives.create_task(device, name=key)


def main() -> None:
    asyncio.run(work(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)))


if __name__ == "__main__":
    main()
