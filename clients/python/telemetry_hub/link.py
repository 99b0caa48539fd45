"""The socket to a hub: opened, listened to, pinged, and made again with jitter when it is cut. What is said and what
messages mean is state.py's business.
"""

import asyncio
import contextlib
import inspect
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NoReturn
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from telemetry_hub.errors import HubError, NotSignedIn, Unreachable, Unusable
from telemetry_hub.items import Connection
from telemetry_hub.state import SIGNED_OUT, State
from telemetry_hub.told import Told

# A token, or what gives one: called for each socket, so that it may be renewed.
Token = str | Callable[[], str | Awaitable[str]]

OPEN_S: Final = 10.0
WELCOME_S: Final = 10.0
PING_S: Final = 5.0
# A hub that says nothing for so long after a ping is not there any more.
PONG_S: Final = 8.0
CLOSE_S: Final = 1.0
# Ten seconds at most: nobody waits longer than that for a hub that is back.
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0
TOO_MANY_S: Final = 10.0
# A hub that restarts is back in a moment, and all its clients with it: they are spread over this.
RESTART_S: Final = 2.0
# A hub that welcomes and then fails is not to be asked twice a second: earlier failures count until this has passed.
STEADY_S: Final = 10.0
# The hub takes 200 messages at once and 50 a second; this stays below, whatever the program asks for.
BURST: Final = 100
RATE: Final = 40.0
# The hub's largest message: summaries of 200 devices, each with up to 500 metrics.
MAX_BYTES: Final = 16 * 2**20
# At DEBUG the package tells each header, and the token with it.
_logger: Final = logging.getLogger("telemetry_hub.socket")
_logger.setLevel(logging.INFO)
TICK_S: Final = 1.0

PATH: Final = "/ws/v1/live/"
SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
TOO_MANY, RESTART = 4429, 1012
REASONS: Final = {
    0: "the hub does not answer",
    1006: "the connection was cut",
    RESTART: "the hub restarts",
    4400: "the hub takes a message for no JSON: this program and the hub do not fit together",
    4401: "not signed in: the token is wrong or expired, or its user was signed out or deactivated. Make another one",
    4403: "the hub refuses this Origin, or plain http:// from another machine: set HUB_ORIGINS there, use https://",
    4408: "the hub heard nothing of use for too long",
    4409: "the hub knows an id already: a fault in this package",
    4413: "a message was larger than the hub takes (65,536 bytes)",
    TOO_MANY: "more than the hub takes: 100 subscriptions or 50 messages a second of one client, or too many sockets",
    4500: "a fault in the hub; its log has it",
}


def address_of(url: str) -> str:
    """Return the socket's address for a hub's, as one has it in a browser."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(f"{url!r} is no hub's address: it begins with http://, https://, ws:// or wss://")
    path = parts.path if parts.path.rstrip("/").endswith(PATH.rstrip("/")) else parts.path.rstrip("/") + PATH
    return urlunsplit((SCHEMES[parts.scheme], parts.netloc, path, "", ""))


def now_ms() -> int:
    """Return the time as the hub has it."""
    return time.time_ns() // 1_000_000


def pause_s(code: int, failures: int, told_s: float = 0.0) -> float:
    """Return how long to wait before the next try: longer after each failure, and never the same for all clients.

    `told_s`: the hub said when it takes this client again.
    """
    if code == RESTART and failures == 1:
        return RESTART_S * random.random()  # noqa: S311  no secret
    full: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10))
    return ((told_s or TOO_MANY_S) if code == TOO_MANY else 0.0) + full * (0.5 + random.random() / 2)  # noqa: S311  no secret


class Link:
    """One client's connection. `hear` gets what came, `tick` is called each second while there is a socket."""

    def __init__(self, url: str, token: Token, hear: Callable[[list[Told]], None], tick: Callable[[], None]) -> None:
        """Be ready to connect."""
        self.address = address_of(url)
        self.state = State(renewable=callable(token))
        self.welcomed = asyncio.Event()
        self._token = token
        self._hear = hear
        self._tick = tick
        self._words = asyncio.Event()
        self._failures = 0
        self._why = ""
        self._told_s = 0.0

    def speak(self) -> None:
        """There is something to say."""
        self._words.set()

    async def stay(self, give_up_s: float | None) -> None:
        """Be connected, again and again; ends with an error only."""
        began = time.monotonic()
        while True:
            code = await self._once()
            again, told = self.state.closed(code)
            self._hear(told)
            if not again:
                raise self._last(code)
            first = not self.welcomed.is_set()
            if first and give_up_s is not None and time.monotonic() - began >= give_up_s:
                raise Unreachable(f"no hub answers at {self.address}: {self._why}")
            self._failures += 1
            pause = pause_s(code, self._failures, self._told_s)
            self._hear([Told(items=(Connection(up=False, because=self._why, retry_s=pause),))])
            await asyncio.sleep(pause)

    def _last(self, code: int) -> HubError:
        if code == SIGNED_OUT:
            return NotSignedIn(f"{self.address}: {self._why}.")
        return Unusable(f"{self.address}: {self._why}.")

    async def _once(self) -> int:
        """Open a socket and use it until it ends; return the code that it ended with, 0 when there was none."""
        try:
            headers = {"Authorization": f"Token {await self._next_token()}", "User-Agent": USER_AGENT}
            async with connect(
                self.address,
                additional_headers=headers,
                compression=None,
                open_timeout=OPEN_S,
                ping_interval=None,  # the protocol has its own, which asks the hub and not only the server before it
                close_timeout=CLOSE_S,
                max_size=MAX_BYTES,
                logger=_logger,
            ) as socket:
                return await self._use(socket)
        except InvalidStatus as error:
            self._why = f"no hub answers there, but something that says {error.response.status_code}"
        except (OSError, WebSocketException) as error:
            self._why = str(error) or REASONS[0]
        return 0

    async def _next_token(self) -> str:
        given = self._token() if callable(self._token) else self._token
        return await given if inspect.isawaitable(given) else given

    async def _use(self, socket: ClientConnection) -> int:
        mouth = asyncio.create_task(self._speak(socket), name="hub link")
        began, self._told_s = time.monotonic(), 0.0
        try:
            await self._listen(socket)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            self._why = REASONS.get(code) or f"the connection was closed with {code}"
            return code
        except TimeoutError:
            self._why = REASONS[0]
            return 0
        finally:
            if time.monotonic() - began > STEADY_S:
                self._failures = 0
            mouth.cancel()
            await asyncio.gather(mouth, return_exceptions=True)

    async def _listen(self, socket: ClientConnection) -> NoReturn:
        patience = WELCOME_S
        while True:
            async with asyncio.timeout(patience):
                text = await socket.recv()
            message = json.loads(text)
            self._hear(self.state.hear(message, now_ms()))
            if message["type"] == "err":
                self._told_s = message.get("retry_after_s", 0.0)
            if message["type"] == "welcome":
                patience = PING_S + PONG_S
                self.welcomed.set()
                self._hear([Told(items=(Connection(up=True),))])
            if self.state.say:
                self.speak()

    async def _speak(self, socket: ClientConnection) -> None:
        """Say what is to be said, as fast as the hub takes it; ping; tick."""
        left, at, ping_at = float(BURST), time.monotonic(), 0.0
        with contextlib.suppress(ConnectionClosed):  # who listens hears of it, too
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._words.wait()
                self._words.clear()
                now = time.monotonic()
                if self.state.up and now - ping_at >= PING_S:
                    ping_at = now
                    self.state.say.append({"type": "ping"})
                self._tick()
                while self.state.say:
                    now = time.monotonic()
                    left, at = min(BURST, left + (now - at) * RATE), now
                    if left < 1:
                        await asyncio.sleep((1 - left) / RATE)
                        continue
                    left -= 1
                    await socket.send(json.dumps(self.state.say.pop(0), allow_nan=False))


def _user_agent() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return f"telemetry-hub-client/{version('telemetry-hub-client')}"
    return "telemetry-hub-client"


USER_AGENT: Final = _user_agent()
