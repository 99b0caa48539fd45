"""Stands at the door of a nats-server: says who may come in, and as what (its "auth callout"), and throws out.

It speaks nats-server's own protocol, in lines, over one loopback connection as the system account; a thread of its own
answers, so that nothing else in this process can keep a device waiting outside. One porter serves one run of a server.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, BinaryIO, Final

import msgspec

from bridge.accounts import AccountsError
from bridge.accounts.nkeys import Key, claims

# The server's own account, and that of everybody who is told no other: there it keeps MQTT's sessions.
SYSTEM: Final = "$SYS"
GLOBAL: Final = "$G"
# Where it asks who may come in, where it tells who has gone, and where it answers us.
ASKED: Final = "$SYS.REQ.USER.AUTH"
LEFT: Final = "$SYS.ACCOUNT.*.DISCONNECT"
ANSWERS: Final = "_INBOX.porter"
# No connection has this number. That the server says so shows that it lives, also when nobody is to be thrown out.
NOBODY: Final = 0
# A server that lives answers in a millisecond, and so do we.
PATIENCE_S: Final = 5.0


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who stands at the door. `connection` is the server's number for it."""

    connection: int
    mqtt: bool
    client_id: str
    user: str
    secret: str


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody may do inside, as subjects."""

    user: str
    publish: list[str]
    subscribe: list[str]


class _Offered(msgspec.Struct):
    server_id: str
    nonce: str


class _Client(msgspec.Struct):
    id: int
    type: str = ""
    mqtt_id: str = ""


class _Options(msgspec.Struct):
    user: str = ""
    password: str = msgspec.field(default="", name="pass")


class _Server(msgspec.Struct):
    id: str


class _Question(msgspec.Struct):
    server_id: _Server
    user_nkey: str
    client_info: _Client
    connect_opts: _Options


class _Asked(msgspec.Struct):
    nats: _Question


class _Gone(msgspec.Struct):
    client: _Client


class Porter:
    """`admit` is asked for everybody who comes; `left` is told of every connection that has ended."""

    def __init__(self, admit: Callable[[Caller], Rights | None], left: Callable[[int], None]) -> None:
        """Make the keys, which are this porter's alone: they are in no file, and end with it."""
        self._admit = admit
        self._left = left
        self._issuer = Key("account")
        self._own = Key("user")
        self._server = ""
        self._socket: socket.socket | None = None
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._asked: set[str] = set()
        self._numbers = itertools.count()
        self._on_post = False

    @property
    def settings(self) -> dict[str, Any]:
        """What the server's configuration has to say, so that it asks us and nobody else."""
        callout = {"issuer": self._issuer.name, "account": SYSTEM, "auth_users": [self._own.name]}
        return {
            "accounts": {SYSTEM: {"users": [{"nkey": self._own.name}]}},
            "authorization": {"timeout": PATIENCE_S, "auth_callout": callout},
        }

    @property
    def on_post(self) -> bool:
        """Whether somebody answers at the door."""
        return self._on_post

    def open(self, port: int) -> None:
        """Take up the post at the server that listens there; return when it asks us. OSError when it does not."""
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        lines = connection.makefile("rb")
        try:
            self._introduce(connection, lines)
        except BaseException:
            lines.close()
            connection.close()
            raise
        connection.settimeout(None)
        self._socket = connection
        self._on_post = True
        threading.Thread(target=self._listen, args=(connection, lines), name="porter", daemon=True).start()

    def _introduce(self, connection: socket.socket, lines: BinaryIO) -> None:
        offered = msgspec.json.decode(lines.readline().removeprefix(b"INFO "), type=_Offered)
        self._server = offered.server_id
        login = {"nkey": self._own.name, "sig": self._own.sign(offered.nonce.encode())}
        hello = json.dumps({**login, "name": "porter", "verbose": False, "pedantic": False, "protocol": 1})
        subscriptions = "".join(f"SUB {subject} {subject}\r\n" for subject in (ASKED, LEFT, f"{ANSWERS}.*"))
        connection.sendall(f"CONNECT {hello}\r\n{subscriptions}PING\r\n".encode())
        while not (line := lines.readline()).startswith(b"PONG"):
            if not line or line.startswith(b"-ERR"):
                raise ConnectionError(line.decode(errors="replace"))

    def throw_out(self, connections: Iterable[int]) -> None:
        """End these connections, and return when they have; AccountsError when the server does not do as told."""
        inboxes = {f"{ANSWERS}.{next(self._numbers)}": each for each in (*connections, NOBODY)}
        with self._changed:
            self._asked |= inboxes.keys()
        try:
            for inbox, connection in inboxes.items():
                self._publish(f"$SYS.REQ.SERVER.{self._server}.KICK", b'{"cid":%d}' % connection, inbox)
            with self._changed:
                done = self._changed.wait_for(lambda: not (self._on_post and self._asked & inboxes.keys()), PATIENCE_S)
        except OSError:
            done = False
        finally:
            with self._changed:
                self._asked -= inboxes.keys()
        if not done or not self._on_post:
            raise AccountsError("the embedded broker is not running any more, or does not answer; start the hub again")

    def _publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        self._write(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload))

    def _write(self, line: bytes) -> None:
        if self._socket is None:
            raise ConnectionError("nobody stands at the door yet")
        with self._writing:
            self._socket.sendall(line)

    def _listen(self, connection: socket.socket, lines: BinaryIO) -> None:
        try:
            with suppress(OSError), connection, lines:  # the server may be killed
                for line in lines:
                    self._hear(line, lines)
        finally:
            with self._changed:
                self._on_post = False
                self._changed.notify_all()

    def _hear(self, line: bytes, lines: BinaryIO) -> None:
        match line.decode().split():
            case ["PING"]:
                self._write(b"PONG\r\n")
            case ["MSG", subject, about, *reply, length]:
                said = lines.read(int(length) + len("\r\n"))
                if about == ASKED:
                    self._answer(said, reply[0])
                elif about == LEFT:
                    self._left(msgspec.json.decode(said, type=_Gone).client.id)
                else:
                    with self._changed:
                        self._asked.discard(subject)
                        self._changed.notify_all()

    def _answer(self, token: bytes, reply: str) -> None:
        asked = msgspec.json.decode(claims(token), type=_Asked).nats
        who, login = asked.client_info, asked.connect_opts
        caller = Caller(
            connection=who.id, mqtt=who.type == "mqtt", client_id=who.mqtt_id, user=login.user, secret=login.password
        )
        now = int(time.time())
        rights = self._admit(caller)
        said = {"jwt": self._pass(rights, asked.user_nkey, now)} if rights else {"error": "not let in"}
        answer = {"sub": asked.user_nkey, "aud": asked.server_id.id, "nats": said | _kind("authorization_response")}
        self._publish(reply, self._issuer.token(answer, now).encode())

    def _pass(self, rights: Rights, user: str, now: int) -> str:
        """Return what the server goes by for as long as this connection lasts."""
        limits = {"subs": -1, "data": -1, "payload": -1, "allowed_connection_types": ["MQTT"]}
        may = {"pub": {"allow": rights.publish}, "sub": {"allow": rights.subscribe}}
        return self._issuer.token(
            {"sub": user, "aud": GLOBAL, "name": rights.user, "nats": may | limits | _kind("user")}, now
        )


def _kind(name: str) -> dict[str, object]:
    return {"type": name, "version": 2}
