"""The way out: publish, and know what became of it.

What is taken here from paho beneath aiomqtt (private names, pinned by tests/system/test_mqtt.py) is what "sent means
sent" needs: the reason code of each PUBACK.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.mqtt import link
from bridge.mqtt.link import DisconnectedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.reasoncodes import ReasonCode

    from bridge.mqtt.address import MqttUrl

PUBLISH_TIMEOUT_S: Final = 10.0
NO_MATCHING_SUBSCRIBERS: Final = 0x10


class NotSentError(Exception):
    """The broker has not got it, for sure: it may be sent again."""


class UnsureError(Exception):
    """The connection broke or the answer is missing: the broker may have it or not."""


class Outbound:
    """One connection that publishes, and knows what became of each message.

    Separate from the listening one: a message that the broker dislikes costs this connection alone. MQTT 5 where the
    broker has it, for its reason codes and message expiry; else 3.1.1.
    """

    def __init__(self, url: MqttUrl, client_id: str, *, v5: bool) -> None:
        """Prepare; `async with` connects."""
        self._v5 = v5
        self._client = link.client(url, v5=v5, identifier=client_id, clean_session=None if v5 else True)
        self._paho = self._client._client
        self._paho.on_publish = self._published
        self._pending: dict[int, asyncio.Future[int]] = {}

    async def __aenter__(self) -> Self:
        """Connect; DisconnectedError says why not."""
        await link.connect(self._client)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        with suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    @property
    def is_open(self) -> bool:
        """Whether the connection is still there."""
        return not self._client._disconnected.done()

    def when_closed(self, call: Callable[[], None]) -> None:
        """Have this called once the connection is gone."""
        self._client._disconnected.add_done_callback(lambda _: call())

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool, expiry_s: int | None = None) -> None:
        """Return when the broker has it. NotSentError: it has not; UnsureError: nobody knows."""
        properties = None
        if self._v5 and expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, expiry_s)
        info = self._paho.publish(topic, payload, qos, retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotSentError(f"not connected (code {info.rc})")
        if qos == 0:
            return
        answer = asyncio.get_running_loop().create_future()
        self._pending[info.mid] = answer
        try:
            gone = self._client._disconnected
            await asyncio.wait([answer, gone], timeout=PUBLISH_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pending.pop(info.mid, None)
        if not answer.done():
            raise UnsureError("the broker did not answer")
        if answer.result() == NO_MATCHING_SUBSCRIBERS:
            raise NotSentError("the device is not subscribed")
        if answer.result() >= link.REFUSED:
            raise NotSentError(f"the broker refused it (reason 0x{answer.result():02x})")

    def _published(self, _client: object, _userdata: object, mid: int, code: ReasonCode, _properties: object) -> None:
        if (answer := self._pending.get(mid)) is not None and not answer.done():
            answer.set_result(code.value)


@asynccontextmanager
async def outbound(url: MqttUrl, client_id: str) -> AsyncIterator[Outbound]:
    """Connect with MQTT 5, or with 3.1.1 to a broker that does not speak it."""
    connection = await _connected(url, client_id)
    try:
        yield connection
    finally:
        await connection.__aexit__()


async def _connected(url: MqttUrl, client_id: str) -> Outbound:
    with suppress(DisconnectedError):
        return await Outbound(url, client_id, v5=True).__aenter__()
    return await Outbound(url, client_id, v5=False).__aenter__()
