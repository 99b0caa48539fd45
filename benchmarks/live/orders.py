"""Operators, devices and a watcher: `python -m benchmarks.live.orders`, asked through benchmarks.live.ask.

Operators give commands at a steady rate, each on a connection of their own, over REST or over the live socket; each
command carries the time at which it was due. Devices note how long it took to them, and answer; the watcher, on a live
socket, notes when it is told that it succeeded. All in one process, so that there is one clock.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from benchmarks import load
from benchmarks.live import ask
from benchmarks.live.latency import Latencies

OPERATORS: Final = 32
PATIENCE_S: Final = 30.0
CONNACK, PUBLISH, SUBACK, PUBACK = 2, 3, 9, 4


def now_us() -> int:
    """Return the time that travels in each command."""
    return time.monotonic_ns() // 1000


class Device(asyncio.Protocol):
    """A device that does whatever it is told, at once."""

    def __init__(self, login: load.Login, took: Latencies) -> None:
        """Be ready to log in."""
        self._login, self._took = login, took
        self._unread = b""
        self._sent = 0
        self.ready = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(load.connect_packet(self._login))

    def data_received(self, data: bytes) -> None:
        """Take whole packets, all of which are short."""
        data = self._unread + data
        while len(data) > 1:
            size, head = (data[1], 2) if data[1] < 128 else (data[1] - 128 + 128 * data[2], 3)
            if len(data) < head + size:
                break
            self._hear(data[0] >> 4, data[head : head + size])
            data = data[head + size :]
        self._unread = data

    def _hear(self, kind: int, body: bytes) -> None:
        if kind == CONNACK:
            assert body[1] == 0, f"the broker refuses {self._login.key}: {body[1]}"
            status = load.publish_packet(self._login.key, b"online", 0, "status")
            self._transport.write(status + load.subscribe_packet(f"hub/{self._login.key}/cmd/#"))
        elif kind == SUBACK:
            self.ready.set()
        elif kind == PUBLISH:
            end = 2 + int.from_bytes(body[:2], "big")
            self._took.add(now_us() - int(body[end + 2 :]))
            cid = body[2:end].decode().rpartition("/")[2]
            self._sent += 1
            ack = load.publish_packet(self._login.key, b"ok", self._sent, f"ack/{cid}")
            self._transport.write(b"\x40\x02" + body[end : end + 2] + ack)


class Orders:
    """All of them."""

    def __init__(self) -> None:
        """Have nobody yet."""
        self._keys: list[str] = []
        self._reached, self._seen, self._answered = Latencies(), Latencies(), Latencies()
        self._sockets: list[ClientConnection] = []
        self._late_us = 0
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, mqtt: tuple[str, int], web: tuple[str, int], token: str, logins: list[tuple[str, str]]) -> int:
        """Connect everybody."""
        loop = asyncio.get_running_loop()
        self._token, self._web = token, web
        for login in logins:
            device = Device(load.Login(*login), self._reached)
            await loop.create_connection(lambda device=device: device, *mqtt)  # type: ignore[misc]
            await asyncio.wait_for(device.ready.wait(), PATIENCE_S)
            self._keys.append(login[0])
        for _ in range(OPERATORS):
            self._free.put_nowait(await asyncio.open_connection(*web))
        for _ in range(OPERATORS):
            self._sockets.append(await self._socket())
            self._task(self._operate(self._sockets[-1]))
        watcher = await self._socket()
        await watcher.send(json.dumps({"type": "sub", "id": "s", "devices": self._keys}))
        while json.loads(await watcher.recv())["type"] != "live":
            pass
        self._task(self._watch(watcher))
        return len(self._keys)

    async def _socket(self) -> ClientConnection:
        headers = {"Authorization": f"Token {self._token}"}
        return await connect(f"ws://{self._web[0]}:{self._web[1]}/ws/v1/live/", additional_headers=headers, proxy=None)

    def _task(self, work: Any) -> None:  # noqa: ANN401  a coroutine of any kind
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._tasks.discard(done) or (done.cancelled() or done.result()))

    async def _watch(self, socket: ClientConnection) -> None:
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "cmd_state" and message["state"] == "succeeded":
                self._seen.add(now_us() - int(message["args"]))
            elif message["type"] == "data":
                await socket.send('{"type": "credit", "n": 1}')

    async def _operate(self, socket: ClientConnection) -> None:
        async for text in socket:
            message = json.loads(text)
            assert message["type"] != "err", message
            if message["type"] == "ok":
                self._answered.add(now_us() - int(message["id"]))

    async def give(self, rate: float, seconds: float, door: str) -> dict[str, Any]:
        """Give so many commands a second for so long; say how long each took, once all are seen."""
        for one in (self._reached, self._seen, self._answered):
            one.counts.clear()
        self._late_us, count = 0, int(rate * seconds)
        began = now_us()
        for number in range(count):
            due = began + int(number / rate * 1e6)
            await asyncio.sleep(max(0, due - now_us()) / 1e6)
            ask = self._ask if door == "rest" else self._say
            self._task(ask(self._keys[number % len(self._keys)], due))
        deadline = time.monotonic() + PATIENCE_S
        while self._seen.amount < count and time.monotonic() < deadline:  # noqa: ASYNC110  of all
            await asyncio.sleep(0.05)
        told = {"answered": self._answered, "reached": self._reached, "seen": self._seen}
        return {"given": count, "late ms": self._late_us / 1000} | {name: one.told() for name, one in told.items()}

    async def _say(self, key: str, due: int) -> None:
        self._late_us = max(self._late_us, now_us() - due)
        said = {"type": "cmd", "id": str(due), "device": key, "name": "led", "args": due, "ttl_s": 60}
        # Each device has its operator, who hears what becomes of it.
        await self._sockets[self._keys.index(key) % OPERATORS].send(json.dumps(said))

    async def _ask(self, key: str, due: int) -> None:
        reader, writer = await self._free.get()
        self._late_us = max(self._late_us, now_us() - due)
        body = json.dumps({"name": "led", "args": due, "ttl_s": 60}).encode()
        writer.write(
            f"POST /api/v1/devices/{key}/commands/ HTTP/1.1\r\nHost: {self._web[0]}:{self._web[1]}\r\n"
            f"Authorization: Token {self._token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = head.partition("content-length:")[2].partition("\r\n")[0]
        answer = await reader.readexactly(int(length))
        assert " 201 " in head, f"{head}{answer.decode()}"
        self._answered.add(now_us() - due)
        self._free.put_nowait((reader, writer))


if __name__ == "__main__":
    asyncio.run(ask.serve(Orders()))
