"""What the hub answers, searched for marked secrets: a middleware, and what goes out on live sockets."""

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.backends import base as sessions
from knox import crypto

from hub import pace
from tests import canary

# Answers that show a secret on purpose, this once, and why.
SHOWN_ONCE: Final = (
    ("POST", r"/api/v1/devices/", "a device was made"),
    ("POST", r"/api/v1/devices/[^/]+/rotate/", "a device got a new secret"),
    ("POST", r"/api/v1/devices/bulk/", "devices were made from a table"),
    ("POST", r"/api/v1/claim/", "a device came with its claim code"),
    ("POST", r"/api/v1/unclaimed/[^/]+/claim/", "a device was claimed that had published before"),
    ("POST", r"/api/v1/tokens/", "a token was made"),
    ("POST", r"/add/", "the page of a device that was made"),
    ("POST", r"/add/table/", "the page of devices that were made from a table"),
    ("POST", r"/unclaimed/[^/]+/claim/", "the page of a device that was claimed"),
    ("POST", r"/devices/[^/]+/secret/", "the page of a device's new secret"),
    ("POST", r"/api/v1/shares/", "a share link was made"),
    ("POST", r"/shares/", "the page of a share link that was made"),
    ("POST", r"/tokens/", "the page of a token that was made"),
    ("GET", r"/share/[^/]+/.*", "a link's own pages know the link by which they were asked for"),
    ("GET", r"/admin/devices/device/(\d+/change/)?", "what the admin says after making a device, or its new secret"),
)
# The same over the live socket: what REST calls a secret when it has made one.
ONCE: Final = ("secret", "token")


@cache
def begin() -> None:
    """Once: have the secrets that packages make bear the mark, too, and search what goes out on live sockets."""
    crypto.generate_bytes = _random
    sessions.get_random_string = canary.marked(sessions.get_random_string)
    pace._framed = _searched(pace._framed)
    AsyncWebsocketConsumer.send = _searched_later(AsyncWebsocketConsumer.send)


def _random(count: int) -> bytes:
    return os.urandom(count - len(canary.MARK)) + canary.MARK.encode()


class Answers:
    """A middleware that searches every answer but those that show a secret once."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[..., Any]) -> None:
        begin()
        self.get_response = get_response
        self.asynchronous = iscoroutinefunction(get_response)
        if self.asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        return self._awaited(request) if self.asynchronous else self._searched(request, self.get_response(request))

    async def _awaited(self, request: Any) -> Any:
        return self._searched(request, await self.get_response(request))

    def _searched(self, request: Any, response: Any) -> Any:
        if any(request.method == method and re.fullmatch(path, request.path) for method, path, _ in SHOWN_ONCE):
            return response
        place = f"answer to {request.method} {request.path}"
        headers = {name: value for name, value in response.items() if name.lower() != "set-cookie"}
        canary.search(f"{place} (headers)", str(headers))
        if not response.streaming:
            canary.search(place, response.content)
        elif response.is_async:
            response.streaming_content = _streamed(place, response.streaming_content)
        return response


async def _streamed(place: str, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for part in parts:
        canary.search(place, part)
        yield part


def _without_what_is_shown_once(text: str) -> str:
    """A message; of REST's answer to a call that made a secret, all but that."""
    message = json.loads(text) if '"answer"' in text else {}
    if message.get("type") != "answer" or not isinstance(message.get("body"), dict):
        return text
    return json.dumps({**message, "body": {name: part for name, part in message["body"].items() if name not in ONCE}})


def _searched(framed: Callable[[str], Any]) -> Callable[[str], Any]:
    def sent(text: str) -> Any:
        canary.search("live socket", _without_what_is_shown_once(text))
        return framed(text)

    return sent


def _searched_later(send: Callable[..., Any]) -> Callable[..., Any]:
    async def sent(socket: Any, text_data: str | None = None, **more: Any) -> None:
        canary.search("live socket", _without_what_is_shown_once(text_data or ""))
        await send(socket, text_data, **more)

    return sent
