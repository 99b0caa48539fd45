"""A client of the live socket that knows docs/protocol/live.md and nothing else: `Live` asks, `Follower` never misses.

Synchronous, so that a test can kill and start servers beside it.
"""

import json
import threading
import time
from contextlib import ExitStack
from typing import Any, Final, Self

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests import asyncapi

# Everything here takes moments; a machine with other work may take this long.
PATIENCE_S: Final = 30.0
RETRY_S: Final = 0.2

Message = dict[str, Any]


class Live:
    """One socket. Gives credit for each data and fleet message; `heard` keeps all that came."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.heard: list[Message] = []
        self._headers = {"Authorization": f"Token {token}"} if token else {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        patience: dict[str, Any] = {"open_timeout": PATIENCE_S, "ping_interval": None}  # who goes first is the hub
        socket = connect(self.url, additional_headers=self._headers, proxy=None, max_size=None, **patience)
        self.socket: ClientConnection = self._stack.enter_context(socket)
        try:
            if self._headers:
                self.until(type="welcome")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def say(self, **message: Any) -> None:
        """Send one message; `kind` stands for `type`."""
        self.socket.send(json.dumps({"type": message.pop("kind"), **message}))

    def sub(self, *devices: str, since: Message | None = None, id_: str = "s") -> Message:
        """Subscribe, and return `ok` or `err`."""
        self.say(kind="sub", id=id_, devices=list(devices), since=since)
        return self.until(id=id_)

    def command(self, device: str, name: str, args: Any = None, **more: Any) -> Message:
        """Give an order, and return `ok` (with the command's id) or `err`."""
        self.say(kind="cmd", id="c", device=device, name=name, args=args, **more)
        return self.until(id="c")

    def next(self, patience_s: float = PATIENCE_S) -> Message:
        """The next message; TimeoutError when there is none."""
        message: Message = json.loads(self.socket.recv(timeout=patience_s))
        asyncapi.expect("hub", message)
        self.heard.append(message)
        if message["type"] in {"data", "fleet"}:
            self.say(kind="credit", n=1)
        return message

    def until(self, **wanted: Any) -> Message:
        """The next message that says all this."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                message = self.next(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"waited in vain for {wanted}; heard {self.heard[-10:]}") from None
            if all(message.get(name) == value for name, value in wanted.items()):
                return message

    def command_state(self, command: str, state: str) -> Message:
        """What was said of a command when it came to this state: where the bridge is quick, before its `ok`."""
        wanted = {"type": "cmd_state", "command": command, "state": state}
        heard = (message for message in self.heard if wanted.items() <= message.items())
        return next(heard, None) or self.until(**wanted)

    def row(self, device: str, **values: Any) -> list[Any]:
        """The next row of this device that has these values: [seq, ts, values, flags]."""
        while True:
            frames = self.until(type="data")["devices"].get(device, {"frames": []})["frames"]
            for frame in frames:
                if values.items() <= frame[2].items():
                    found: list[Any] = frame
                    return found


class Follower:
    """Follows devices through any number of sockets, each resumed by cursor. `with` starts and ends it.

    rows   device → every row that came, in order; cuts: how often the socket went away; faults: what must not happen
    """

    def __init__(self, url: str, token: str, *devices: str) -> None:
        self.rows: dict[str, list[list[Any]]] = {device: [] for device in devices}
        self.cuts = 0
        self.faults: list[str] = []
        self._url, self._token = url, token
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(PATIENCE_S)

    def cursor(self) -> dict[str, int]:
        return {device: rows[-1][0] if rows else 0 for device, rows in self.rows.items()}

    def seqs(self, device: str) -> list[int]:
        return [row[0] for row in self.rows[device]]

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with Live(self._url, self._token) as live:
                    self._follow(live)
            except asyncapi.Unlike as unlike:
                self.faults.append(str(unlike))
            except (OSError, WebSocketException, AssertionError):
                self.cuts += 1
                self._ended.wait(RETRY_S)

    def _follow(self, live: Live) -> None:
        answer = live.sub(*self.rows, since={"cursor": self.cursor()})
        assert answer["type"] == "ok", answer
        while not self._ended.is_set():
            live.heard.clear()
            try:
                message = live.next(RETRY_S)
            except TimeoutError:
                continue
            if message["type"] == "data":
                self._take(message)
            elif message["type"] in ("gap", "lag", "err", "end"):
                self.faults.append(json.dumps(message))

    def _take(self, message: Message) -> None:
        for device, part in message["devices"].items():
            if part["prev"] != self.cursor()[device]:
                self.faults.append(f"{device}: {part['prev']} does not follow {self.cursor()[device]}")
            self.rows[device] += part["frames"]
