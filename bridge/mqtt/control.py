"""Mosquitto's control channel: requests and answers, one at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiomqtt

from bridge.mqtt import link

if TYPE_CHECKING:
    from bridge.mqtt.address import MqttUrl

Exchange = Callable[[bytes], Awaitable[bytes]]

CONTROL_TOPIC: Final = "$CONTROL/dynamic-security/v1"
CONTROL_RESPONSES: Final = f"{CONTROL_TOPIC}/response"

# 100 devices in one message take Mosquitto about a second (it rewrites its file for each command);
# a broker that is silent for half a minute is not going to answer.
CONTROL_TIMEOUT_S: Final = 30.0


class ControlError(Exception):
    """The broker's control channel failed; the message says what to look at."""


@asynccontextmanager
async def control(url: MqttUrl, *, timeout_s: float = CONTROL_TIMEOUT_S) -> AsyncIterator[Exchange]:
    """Open Mosquitto's dynamic-security channel and yield `exchange(request) -> answer`.

    One request is under way at a time, on the whole broker: answers carry nothing that tells whose they are.
    Everything that goes wrong is a ControlError.
    """
    try:
        async with link.client(url) as client:
            await _listen(client, url)
            yield _Control(client, url, timeout_s).exchange
    except aiomqtt.MqttError as error:
        msg = f"{url!r}: {error}; is the broker up, and are user and secret right?"
        raise ControlError(msg) from error


async def _listen(client: aiomqtt.Client, url: MqttUrl) -> None:
    if not await link.subscribe(client, CONTROL_RESPONSES):
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
                # The broker acknowledges when it is done, which takes as long as the answer.
                await self._client.publish(CONTROL_TOPIC, request, qos=1, timeout=math.inf)
                message = await anext(self._client.messages)
        except TimeoutError as error:
            msg = (
                f"{self._url!r}: dynamic security did not answer within {self._timeout_s:g} s; "
                "is the plugin loaded, and may this account use $CONTROL?"
            )
            raise ControlError(msg) from error
        return bytes(message.payload)
