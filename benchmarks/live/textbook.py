"""A live socket as Channels' tutorial has it: each is a member of each device's group, and sends on what it hears.

`daphne benchmarks.live.textbook:application`. It lets in whom the hub lets in, asks the database whether the devices
may be seen, and says what the hub says, so that the same crowd can count. No history, no credit, no reading back.
"""

from __future__ import annotations

from typing import Any

import msgspec
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter

from hub.asgi import application as hub  # first: it brings Django up

from channels.auth import AuthMiddlewareStack  # isort: skip
from knox.auth import TokenAuthentication  # isort: skip
from dashboard import protocol, reads  # isort: skip
from devices import groups  # isort: skip

encode = msgspec.json.Encoder().encode


class Textbook(AsyncWebsocketConsumer):
    """One socket."""

    async def connect(self) -> None:
        """Let in who has a token."""
        headers = dict(self.scope["headers"])
        _, _, token = headers[b"authorization"].partition(b" ")
        self.user, _ = await reads.run(TokenAuthentication().authenticate_credentials, token)
        self.keys: list[str] = []
        await self.accept()
        await self.send(text_data=protocol.text(kind="welcome"))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # noqa: ARG002
        """Join the groups of these devices; nothing else is asked."""
        message = msgspec.json.decode(text_data or "{}")
        if message["type"] != "sub":
            return
        await reads.run(reads.rows_of, self.user, message["devices"])
        for key in message["devices"]:
            await self.channel_layer.group_add(groups.device_group(key), self.channel_name)
            self.keys.append(key)
        await self.send(text_data=protocol.text(kind="ok", id=message["id"]))
        await self.send(text_data=protocol.text(kind="live", id=message["id"]))

    async def disconnect(self, code: int) -> None:  # noqa: ARG002  Channels' signature
        """Leave them."""
        for key in self.keys:
            await self.channel_layer.group_discard(groups.device_group(key), self.channel_name)

    async def device_frames(self, message: groups.Frames) -> None:
        """Send on what was announced, at once."""
        part = {"prev": message["prev"], "frames": message["frames"]}
        told = {"type": "data", "id": "s", "phase": "live", "devices": {message["device"]: part}}
        await self.send(text_data=encode(told).decode())

    async def device_state(self, message: dict[str, Any]) -> None:
        """Leave presence out: it is not what is measured."""

    async def device_watch(self, message: dict[str, Any]) -> None:
        """Ignore: said to bridges."""


application = ProtocolTypeRouter({"http": hub, "websocket": AuthMiddlewareStack(Textbook.as_asgi())})
