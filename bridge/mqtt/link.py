"""One connection: how a client is made, and the ways in which it fails."""

from __future__ import annotations

import math
import ssl
from typing import TYPE_CHECKING, Any, Final

import aiomqtt

if TYPE_CHECKING:
    from bridge.mqtt.address import MqttUrl

KEEPALIVE_S: Final = 30
# A SUBACK or PUBACK at or above this is a refusal (MQTT 3.1.1 section 3.9.3, MQTT 5 section 3.4.2.1).
REFUSED: Final = 0x80


class DisconnectedError(Exception):
    """The connection is not there (any more); connect again with a new object."""


def client(url: MqttUrl, *, v5: bool = False, **more: Any) -> aiomqtt.Client:  # noqa: ANN401 -- aiomqtt's own options
    """Make a client that is not connected yet."""
    return aiomqtt.Client(
        url.host,
        url.port,
        username=url.username,
        password=url.password,
        protocol=aiomqtt.ProtocolVersion.V5 if v5 else aiomqtt.ProtocolVersion.V311,
        keepalive=KEEPALIVE_S,
        tls_context=ssl.create_default_context(cafile=url.ca) if url.scheme == "mqtts" else None,
        **more,
    )


async def connect(client_: aiomqtt.Client) -> None:
    """Connect; DisconnectedError says why not."""
    try:
        await client_.__aenter__()
    except aiomqtt.MqttError as error:
        raise DisconnectedError(str(error)) from error
    # Who holds the connection sees that it is over; asyncio need not complain that nobody asked why.
    client_._disconnected.add_done_callback(lambda over: over.cancelled() or over.exception())


async def subscribe(client_: aiomqtt.Client, filter_: str) -> bool:
    """Subscribe with QoS 1; whether the broker lets us. Waits for as long as the broker takes."""
    granted = await client_.subscribe(filter_, qos=1, timeout=math.inf)
    return all((code if isinstance(code, int) else code.value) < REFUSED for code in granted)
