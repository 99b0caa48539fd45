"""Short visits, which leave no session: whether a broker lets somebody in, and what it says of itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from bridge.mqtt import link
from bridge.mqtt.link import DisconnectedError

if TYPE_CHECKING:
    from bridge.mqtt.address import MqttUrl

# What is retained comes at once; what is not there never does.
RETAINED_S: Final = 2.0


async def knock(url: MqttUrl, client_id: str | None = None) -> bool | None:
    """Return whether the broker lets this login in under this client id; None: nobody answers there in MQTT."""
    try:
        async with link.client(url, identifier=client_id):
            return True
    except MqttConnectError:
        return False
    except aiomqtt.MqttError:
        return None


async def retained(url: MqttUrl, topic: str) -> str | None:
    """Return what is retained there; None where there is nothing, or we may not read it."""
    try:
        async with link.client(url) as client, asyncio.timeout(RETAINED_S):
            await link.subscribe(client, topic)
            message = await anext(client.messages)
    except TimeoutError:
        return None
    except aiomqtt.MqttError as error:
        raise DisconnectedError(str(error)) from error
    return bytes(message.payload).decode(errors="replace")
