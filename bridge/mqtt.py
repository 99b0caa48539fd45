"""The only module that knows aiomqtt: where the broker is, and how to talk to it.

Nothing here knows topics of devices, rows or groups. aiomqtt acknowledges on arrival and hides packet ids and reason
codes; what `Inbound` and `Outbound` take from paho beneath it (private names, pinned by tests/system/test_mqtt.py) is
what "acknowledge after the commit" and "sent means sent" need.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

import aiomqtt
import msgspec
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from devices import wire

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


class NotSentError(Exception):
    """The broker has not got it, for sure: it may be sent again."""


class UnsureError(Exception):
    """The connection broke or the answer is missing: the broker may have it or not."""


class DisconnectedError(Exception):
    """The connection is not there (any more); connect again with a new object."""


# Messages read but not yet stored. QoS 1 is bounded by what the broker lets be in flight (2,000 in our configuration);
# a flood of QoS 0 is not, so beyond this the socket is left unread and TCP slows the broker down.
BACKLOG: Final = 20_000
KEEPALIVE_S: Final = 30
PUBLISH_TIMEOUT_S: Final = 10.0
NO_MATCHING_SUBSCRIBERS: Final = 0x10


class Inbound:
    """One connection that listens, with a persistent session: what arrives is acknowledged when `ack` says so.

    An object is one generation of the connection: an acknowledgement can reach no other one.
    """

    def __init__(self, url: MqttUrl, client_id: str) -> None:
        """Prepare; `async with` connects."""
        self._client = aiomqtt.Client(
            url.host,
            url.port,
            username=url.username,
            password=url.password,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion.V311,  # 28 µs a message instead of 100 with MQTT 5
            clean_session=False,
            keepalive=KEEPALIVE_S,
            tls_context=ssl.create_default_context() if url.scheme == "mqtts" else None,
        )
        self._paho = self._client._client
        self._paho.manual_ack_set(on=True)
        self._paho.on_message = self._arrived
        self._backlog: deque[wire.Message] = deque()
        self._news = asyncio.Event()
        self._paused = False
        self._finishing = False
        self._open = False

    async def __aenter__(self) -> Self:
        """Connect; DisconnectedError says why not."""
        try:
            await self._client.__aenter__()
        except aiomqtt.MqttError as error:
            raise DisconnectedError(str(error)) from error
        self._open = True
        self._client._disconnected.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect. What was not acknowledged will be sent again to the next connection."""
        self._open = False
        with suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    async def subscribe(self, filters: Iterable[str]) -> None:
        """Listen to these filters with QoS 1."""
        try:
            for filter_ in filters:
                granted = await self._client.subscribe(filter_, qos=1)
                if any((code if isinstance(code, int) else code.value) >= REFUSED for code in granted):
                    raise DisconnectedError(f"the broker does not let this account subscribe to {filter_}")
        except aiomqtt.MqttError as error:
            raise DisconnectedError(str(error)) from error

    async def receive(self, limit: int) -> list[wire.Message]:
        """Wait for messages and take what is there, at most `limit`, in order. None are left: after `finish` alone."""
        while not self._backlog:
            if self._finishing:
                return []
            if self._client._disconnected.done():
                raise DisconnectedError("the broker closed the connection")
            self._news.clear()
            await self._news.wait()
        taken = [self._backlog.popleft() for _ in range(min(limit, len(self._backlog)))]
        if self._paused and not self._finishing and len(self._backlog) < BACKLOG // 2:
            self._resume()
        return taken

    def finish(self) -> None:
        """Read no more from the broker: `receive` gives what was read already, and then nothing."""
        self._finishing = True
        self._news.set()
        if not self._paused:
            self._pause()

    def ack(self, messages: Iterable[wire.Message]) -> None:
        """Acknowledge, in the order of arrival; nothing happens on a connection that is gone."""
        if not self._open or self._client._disconnected.done():
            return
        for message in messages:
            if message.qos:
                self._paho.ack(message.mid, message.qos)

    def _arrived(self, _client: object, _userdata: object, message: MQTTMessage) -> None:
        self._backlog.append(
            wire.Message(
                topic=message._topic.decode(errors="replace"),
                payload=bytes(message.payload),
                received_at=time.time_ns() // 1_000_000,
                qos=message.qos,
                retain=message.retain,
                dup=message.dup,
                mid=message.mid,
            ),
        )
        self._news.set()
        if len(self._backlog) >= BACKLOG and not self._paused:
            self._pause()

    def _pause(self) -> None:
        if (socket := self._paho.socket()) is not None:
            self._paused = True
            asyncio.get_running_loop().remove_reader(socket.fileno())

    def _resume(self) -> None:
        self._paused = False
        if (socket := self._paho.socket()) is not None:
            asyncio.get_running_loop().add_reader(socket.fileno(), self._read)
            asyncio.get_running_loop().call_soon(self._read)

    def _read(self) -> None:
        try:
            self._paho.loop_read()
            # What TLS has decoded already does not make the socket readable again.
            while (socket := self._paho.socket()) is not None and getattr(socket, "pending", int)():
                self._paho.loop_read()
        except Exception as error:  # noqa: BLE001  as aiomqtt's own reader: whatever it is, the connection is over
            if not self._client._disconnected.done():
                self._client._disconnected.set_exception(error)


class Outbound:
    """One connection that publishes, and knows what became of each message.

    Separate from the listening one: a message that the broker dislikes costs this connection alone. MQTT 5 where the
    broker has it, for its reason codes and message expiry; else 3.1.1.
    """

    def __init__(self, url: MqttUrl, client_id: str, *, v5: bool) -> None:
        """Prepare; `async with` connects."""
        self._v5 = v5
        self._client = aiomqtt.Client(
            url.host,
            url.port,
            username=url.username,
            password=url.password,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if v5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if v5 else True,
            keepalive=KEEPALIVE_S,
            tls_context=ssl.create_default_context() if url.scheme == "mqtts" else None,
        )
        self._paho = self._client._client
        self._paho.on_publish = self._published
        self._pending: dict[int, asyncio.Future[int]] = {}

    async def __aenter__(self) -> Self:
        """Connect; DisconnectedError says why not."""
        try:
            await self._client.__aenter__()
        except aiomqtt.MqttError as error:
            raise DisconnectedError(str(error)) from error
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
        if answer.result() >= REFUSED:
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
