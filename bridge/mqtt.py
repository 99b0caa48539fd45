"""The only module that knows aiomqtt: where the broker is, and how to talk to it.

Nothing here knows topics of devices, rows or groups.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

import aiomqtt
import msgspec

Exchange = Callable[[bytes], Awaitable[bytes]]

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}

CONTROL_TOPIC: Final = "$CONTROL/dynamic-security/v1"
CONTROL_RESPONSES: Final = f"{CONTROL_TOPIC}/response"

# 100 devices in one message take Mosquitto about a second (it rewrites its file for each command);
# a broker that is silent for half a minute is not going to answer.
CONTROL_TIMEOUT_S: Final = 30.0

# A SUBACK at or above this is a refusal (MQTT 3.1.1 section 3.9.3).
REFUSED: Final = 0x80


class MqttUrlError(ValueError):
    """The MQTT URL cannot be used; the message says what to write instead, never the password."""


class ControlError(Exception):
    """The broker's control channel failed; the message says what to look at."""


class MqttUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where a broker is and who we are there."""

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `mqtt[s]://[user:secret@]host[:port]`; user and secret may be percent-encoded."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            reason = "the port must be a number from 1 to 65535, an IPv6 host in [brackets]"
            # Not chained: urlsplit quotes what it could not read, which may be half a secret.
            raise MqttUrlError(_explain(reason)) from None
        if fault := _fault(parts):
            raise MqttUrlError(_explain(fault))
        return cls(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=DEFAULT_PORTS[parts.scheme] if port is None else port,
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    def __repr__(self) -> str:
        """Show the URL as it may be logged: without the password."""
        user = "" if self.username is None else f"{quote(self.username, safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}:{self.port}"


def _explain(fault: str) -> str:
    return f"MQTT URL: {fault}; write mqtt[s]://user:secret@host:port"


def _fault(parts: SplitResult) -> str | None:
    """Name what is wrong with a split URL, without repeating any of its secrets."""
    if parts.scheme not in DEFAULT_PORTS:
        return f"the scheme must be mqtt or mqtts, not {parts.scheme!r}"
    if not parts.hostname:
        return "the host is missing"
    if parts.port == 0:
        return "the port must be a number from 1 to 65535"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return "nothing may follow the port (percent-encode '/', '?' and '#' in a secret)"
    if parts.password is not None and not parts.username:
        return "there is a secret but no user"
    return None


@asynccontextmanager
async def control(url: MqttUrl, *, timeout_s: float = CONTROL_TIMEOUT_S) -> AsyncIterator[Exchange]:
    """Open Mosquitto's dynamic-security channel and yield `exchange(request) -> answer`.

    One request is under way at a time; Mosquitto answers the asking client only, in order.
    Everything that goes wrong is a ControlError.
    """
    try:
        async with _connection(url) as client:
            await _listen(client, url)
            yield _Control(client, url, timeout_s).exchange
    except aiomqtt.MqttError as error:
        msg = f"{url!r}: {error}; is the broker up, and are user and secret right?"
        raise ControlError(msg) from error


def _connection(url: MqttUrl) -> aiomqtt.Client:
    return aiomqtt.Client(
        url.host,
        url.port,
        username=url.username,
        password=url.password,
        protocol=aiomqtt.ProtocolVersion.V311,
        tls_context=ssl.create_default_context() if url.scheme == "mqtts" else None,
    )


async def _listen(client: aiomqtt.Client, url: MqttUrl) -> None:
    granted = await client.subscribe(CONTROL_RESPONSES, qos=1)
    codes = [code if isinstance(code, int) else code.value for code in granted]
    if any(code >= REFUSED for code in codes):
        msg = f"{url!r}: this account may not read {CONTROL_RESPONSES}; it needs the control role"
        raise ControlError(msg)


class _Control:
    """Requests and answers on one connection; after a silence it is spent.

    A late answer would else be taken for the next request's.
    """

    def __init__(self, client: aiomqtt.Client, url: MqttUrl, timeout_s: float) -> None:
        self._client = client
        self._url = url
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._spent = False

    async def exchange(self, request: bytes) -> bytes:
        async with self._turn:
            if self._spent:
                msg = f"{self._url!r}: an earlier request was never answered; connect again"
                raise ControlError(msg)
            self._spent = True
            answer = await self._ask(request)
            self._spent = False
            return answer

    async def _ask(self, request: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.publish(CONTROL_TOPIC, request, qos=1)
                message = await anext(self._client.messages)
        except TimeoutError as error:
            msg = (
                f"{self._url!r}: dynamic security did not answer within {self._timeout_s:g} s; "
                "is the plugin loaded, and may this account use $CONTROL?"
            )
            raise ControlError(msg) from error
        return bytes(message.payload)
