"""A broker with its accounts, and clients that know nothing of the hub: what the same tests run on, whichever it is.

No wait is endless: silence is an error after PATIENCE_S.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiomqtt

from bridge import mqtt
from bridge.accounts import Account, Accounts, Changes
from bridge.accounts.dynsec import Dynsec
from tests import services

# Nothing here takes a second; this is how long a busy machine is forgiven.
PATIENCE_S: Final = 10.0
REFUSED: Final = 0x80


class Client:
    """One MQTT 3.1.1 connection, QoS 1 both ways; `async with` connects."""

    def __init__(self, port: int, username: str, secret: str, **options: Any) -> None:
        settings: dict[str, Any] = {"identifier": username, "timeout": PATIENCE_S} | options
        host = "localhost" if "tls_context" in settings else "127.0.0.1"  # certificates are for names
        self._client = aiomqtt.Client(host, port, username=username, password=secret, **settings)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        with suppress(aiomqtt.MqttError):  # it may have been cut before
            await self._client.__aexit__(None, None, None)

    async def subscribe(self, topic: str) -> bool:
        """Whether the broker granted it."""
        granted = await self._client.subscribe(topic, qos=1)
        return all((code if isinstance(code, int) else code.value) < REFUSED for code in granted)

    async def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        await self._client.publish(topic, payload, qos=1, retain=retain)

    async def heard(self) -> tuple[str, str]:
        """The next message."""
        async with asyncio.timeout(PATIENCE_S):
            message = await anext(self._client.messages)
        return str(message.topic), bytes(message.payload).decode()

    async def cut(self) -> bool:
        """Wait until the broker ends the connection; a message instead is an answer too."""
        try:
            await self.heard()
        except aiomqtt.MqttError:
            return True
        return False

    def drop(self) -> None:
        """Vanish without a word, as a device out of power."""
        sock = self._client._client.socket()
        assert isinstance(sock, socket.socket)
        sock.shutdown(socket.SHUT_RDWR)


class Stand:
    """One running broker."""

    def __init__(self, service: services.Nats | services.Service) -> None:
        self.service = service

    @asynccontextmanager
    async def accounts(self) -> AsyncIterator[Accounts]:
        if isinstance(self.service, services.Nats):
            yield self.service.accounts
            return
        url = mqtt.MqttUrl.parse(self.service.url)
        async with mqtt.control(url) as exchange:
            yield Dynsec(exchange, url.username or "", partial(mqtt.forget, url))

    async def reconcile(self, *wanted: Account) -> Changes:
        async with self.accounts() as accounts:
            return await accounts.reconcile(wanted)

    async def apply(self, *changed: Account, gone: tuple[str, ...] = ()) -> Changes:
        async with self.accounts() as accounts:
            return await accounts.apply(changed, gone)

    @property
    def files(self) -> list[Path]:
        """Where this broker keeps its device accounts."""
        if isinstance(self.service, services.Nats):
            return [self.service.folder / "accounts.json"]
        return [self.service.log.parent / "mosquitto" / "dynamic-security.json"]

    def lose_accounts(self) -> None:
        """Stop the broker, take away all that it knows of devices, start it again."""
        self.service.stop()
        for file in self.files:
            file.unlink()
        self.service.start()

    def hub(self, port: int = 0, **options: Any) -> Client:
        url = mqtt.MqttUrl.parse(self.service.url)
        return Client(port or url.port, url.username or "", url.password or "", **options)

    def device(self, account: Account, **options: Any) -> Client:
        return Client(self.service.port, account.key, account.secret, **options)

    async def refuses(self, account: Account) -> bool:
        """Whether this login is turned away."""
        try:
            async with self.device(account):
                return False
        except aiomqtt.MqttError:
            return True
