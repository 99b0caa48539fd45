"""The whole hub for tests, started as its users start it: the demo's one command, or the parts of docker-compose.yml.

Plain Python, no pytest. `with running_demo(folder) as demo: demo.url …`, `with running_production(folder) as hub: …`.
Each part is a real process on a free loopback port, can be stopped, killed and started again, and ends with the test.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import httpx
import yaml

from tests import services
from tests.live import Follower, Live
from tests.services import LOOPBACK, ROOT, Service

T = TypeVar("T")

PASSWORD: Final = "correct horse battery"
# Whatever is waited for here takes moments; a machine with other work may take this long.
PATIENCE_S: Final = 30.0
POLL_S: Final = 0.02
BIN: Final = Path(sys.executable).parent


class Device(NamedTuple):
    """What POST devices/ tells once."""

    key: str
    secret: str


class Part(Service):
    """One of our own processes; remembers with what it ended."""

    code: int | None = None

    def _finish(self, number: signal.Signals) -> None:
        child = self._child
        super()._finish(number)
        self.code = child.returncode if child else self.code

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Hub:
    """What both set-ups offer to whoever has an account; unpacks as (url, user, password)."""

    user = "admin"
    password = PASSWORD

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env
        self.url = ""
        self.mqtt_host, self.mqtt_port = LOOPBACK, 0
        self._tokens: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return iter((self.url, self.user, self.password))

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws/v1/live/"

    def manage(self, *command: str, **env: str) -> str:
        """Run one of the hub's commands beside it, and return what it says."""
        ended = subprocess.run(
            [sys.executable, ROOT / "manage.py", *command],
            env=os.environ | self.env | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * PATIENCE_S,
        )
        assert ended.returncode == 0, f"{command[0]}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def add_users(self, **people: dict[str, str] | None) -> None:
        """Make people with PASSWORD, each in fleets (slug → role) that are made if need be; None: a superuser."""
        self.manage("shell", "-v", "0", "-c", _ADD_USERS, HUB_TEST=json.dumps([PASSWORD, people]))

    def token(self, user: str | None = None) -> str:
        """A token of this person, made over REST."""
        name = user or self.user
        if name not in self._tokens:
            asked = {"username": name, "password": PASSWORD if user else self.password}
            answer = httpx.post(f"{self.url}/api/v1/tokens/", json=asked, timeout=PATIENCE_S, trust_env=False)
            self._tokens[name] = answer.raise_for_status().json()["token"]
        return self._tokens[name]

    def rest(self, method: str, path: str, *, user: str | None = None, **options: Any) -> httpx.Response:
        """Ask the API: `rest("GET", "devices/")`; `json=…` and `params=…` as httpx has them."""
        headers = {"Authorization": f"Token {self.token(user)}"}
        return httpx.request(
            method, f"{self.url}/api/v1/{path}", headers=headers, timeout=PATIENCE_S, trust_env=False, **options
        )

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer that must not be a refusal."""
        answer = self.rest(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def live(self, user: str | None = None) -> Live:
        """A socket of this person."""
        return Live(self.socket_url, self.token(user))

    def follower(self, *devices: str) -> Follower:
        """Whoever follows these devices from their first frame on, whatever is restarted meanwhile."""
        return Follower(self.socket_url, self.token(), *devices)

    def add_device(self, key: str, *, fleet: str = "main", user: str | None = None) -> Device:
        """Make a device over REST."""
        made = self.ask("POST", "devices/", json={"key": key, "fleet": fleet}, user=user)
        return Device(made["key"], made["secret"])

    def frames(self, key: str, after: int = 0) -> list[list[Any]]:
        """The whole journal of a device behind a cursor, over REST."""
        found: list[list[Any]] = []
        cursor: int | None = after
        while cursor is not None:
            page = self.ask("GET", f"devices/{key}/frames/", params={"after": cursor, "limit": 1000})
            found += page["frames"]
            cursor = page["next"]
        return found


_ADD_USERS: Final = """
import json, os
from django.contrib.auth.models import User
from devices.models import Fleet, Membership
password, people = json.loads(os.environ["HUB_TEST"])
for name, fleets in people.items():
    user = User.objects.create_user(name, password=password, is_superuser=fleets is None, is_staff=fleets is None)
    for slug, role in (fleets or {}).items():
        fleet, _ = Fleet.objects.get_or_create(slug=slug, defaults={"name": slug.title()})
        Membership.objects.create(user=user, fleet=fleet, role=role)
"""


# --- the demo


class Demo(Hub):
    """`manage.py demo`, with what it printed."""

    def __init__(self, folder: Path, part: Part) -> None:
        super().__init__(folder, {**PLAIN, "HUB_DATA": str(folder)})
        self.part = part
        self.user, self.password = self._printed("user"), self._printed("password")
        self.url = self._printed("Hub ready")
        self.mqtt_host, _, port = self._printed("mqtt").rpartition(":")
        self.mqtt_port = int(port)

    def _printed(self, name: str) -> str:
        found = re.findall(rf"^{name}: (.+)$", self.part.said(), re.MULTILINE)
        return str(found[-1])

    @property
    def parts(self) -> list[Part]:
        return [self.part]


@contextmanager
def running_demo(
    tmp: Path, *, devices: int = 5, simulators: bool = True, options: Sequence[str] = (), **env: str
) -> Iterator[Demo]:
    """The demo with its data in `tmp` (and `env` as further settings); it is ended by Ctrl-C, and has to end well."""
    services.need("nats")
    http, mqtt = services.free_port(), services.free_port()
    command: list[str | Path] = [sys.executable, ROOT / "manage.py", "demo", "--no-browser", "--data", tmp]
    command += ["--http-port", str(http), "--mqtt-port", str(mqtt), "--devices", str(devices), *options]
    command += [] if simulators else ["--no-simulators"]
    log = tmp / "demo.log"
    log.write_text("")
    part = Part(
        command,
        http,
        f"http://{LOOPBACK}:{http}",
        log,
        env={**PLAIN, **env},
        ready=lambda: "\nHub ready: " in log.read_text(errors="replace"),
        end=signal.SIGINT,
    )
    with _running(part):
        yield Demo(tmp, part)
        assert part.alive, f"the demo ended by itself: {part.said()[-2000:]}"
        part.stop()
    assert part.code == 0, f"the demo ended with {part.code}: {part.said()[-2000:]}"


@contextmanager
def _running(service: Service) -> Iterator[None]:
    with services.running(service):
        yield


# --- production


class Production(Hub):
    """The parts of docker-compose.yml, each its own process. All may be stopped, killed and started again."""

    mosquitto: Service
    redis: Service
    postgres: Service
    webs: list[Part]
    bridges: list[Part]

    @property
    def parts(self) -> list[Part]:
        return [*self.webs, *self.bridges]

    def set_up(self) -> None:
        """What is done once: tables, the first user, and a fleet each for Mandy and Charlie as its manager."""
        self.manage(*compose()["services"]["migrate"]["command"][2:])
        self.add_users(**{self.user: None}, mandy={"main": "manager"}, charlie={"brewery": "manager"})

    def web(self, *through: str) -> Part:
        """One more web server, as compose starts it (`through` another command), on a port of its own."""
        port = services.free_port()
        url = f"http://{LOOPBACK}:{port}"
        command = [*through, *command_of("web", {"0.0.0.0": LOOPBACK, "8000": str(port)})]
        log = self.folder / f"web-{port}.log"
        return Part(command, port, url, log, env=self.env, ready=lambda: _answers(f"{url}/readyz"))

    def bridge(self, name: str = "main") -> "Bridge":
        """One more bridge, as compose starts it."""
        command = [*command_of("bridge", {}), "--name", name]
        return Bridge(command, self.folder / f"bridge-{name}.log", self.env, self.folder / f"bridge-{name}.alive")


class Bridge(Part):
    """`manage.py bridge`; ready when it has touched the file that compose's health check looks at."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: dict[str, str], alive: Path) -> None:
        super().__init__(
            command, 0, "", log, env=env, ready=lambda: alive.exists() and alive.stat().st_mtime > self.started
        )
        self.started = 0.0

    def launch(self) -> None:
        self.started = time.time()
        super().launch()


@contextmanager
def running_production(
    tmp: Path, *, bridges: int = 1, webs: int = 1, durable: bool = False, **env: str
) -> Iterator[Production]:
    """Everything that `docker compose up` starts, from this machine's own packages; with a superuser.

    `durable`: PostgreSQL syncs, as it does by itself; `env`: further settings.
    """
    with ExitStack() as stack:
        hub = Production(tmp, {})
        hub.mosquitto = stack.enter_context(services.mosquitto(tmp))
        hub.redis = stack.enter_context(services.redis(tmp))
        hub.postgres = stack.enter_context(services.postgres(tmp, fsync=durable))
        hub.mqtt_port = hub.mosquitto.port
        hub.env = {**production_environment(hub), **env}
        hub.set_up()
        hub.webs = [hub.web() for _ in range(webs)]
        hub.bridges = [hub.bridge("main" if index == 0 else f"other-{index}") for index in range(bridges)]
        for part in hub.parts:  # together: each takes seconds to load
            stack.callback(part.kill)
            part.launch()
        for part in hub.parts:
            part.start()
        hub.url = hub.webs[0].url
        yield hub


def production_environment(hub: Production) -> dict[str, str]:
    """What compose gives to the hub's containers, with the addresses of this machine's services."""
    here = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "DATABASE_URL": hub.postgres.url,
        "REDIS_URL": hub.redis.url,
        "MQTT_URL": hub.mosquitto.url,
        "BROKER_ACCOUNTS": "dynsec",
        "ALLOWED_HOSTS": LOOPBACK,
        "HUB_ORIGINS": "",
        "HUB_PLAIN": "",
        "MQTT_CA": "",
        "MQTT_PUBLIC_HOST": LOOPBACK,
        "MQTT_PUBLIC_PORT": str(hub.mosquitto.port),
        "HUB_DATA": str(hub.folder),
        "HUB_FIRMWARE_MB": "",
        "HUB_OUTGOING": "",
        "HUB_RATE": "",
        "HUB_BURST": "",
        "HUB_PROXIES": "",
        "HUB_API_RATE": "",
        "HUB_API_BURST": "",
        "HUB_CONNECTIONS": "",
        "BRIDGE_SHARE": "",
        "HUB_SECOND_FACTOR": "",
        "HUB_LOG_LEVEL": "",
    }
    assert here.keys() == compose()["services"]["web"]["environment"].keys(), "compose gives other variables"
    return {**PLAIN, **here}


# Nothing of this process's own settings may reach the hub under test.
PLAIN: Final = {
    **dict.fromkeys(
        ("DATABASE_URL", "REDIS_URL", "MQTT_URL", "SECRET_KEY", "HUB_ORIGINS", "HUB_DEBUG", "HUB_DATA"), ""
    ),
    **dict.fromkeys(("MQTT_PUBLIC_HOST", "MQTT_PUBLIC_PORT", "ALLOWED_HOSTS", "BROKER_ACCOUNTS"), ""),
    **dict.fromkeys(("BRIDGE_SHARE", "HUB_OUTGOING", "HUB_RATE", "HUB_BURST", "HUB_PLAIN", "MQTT_CA"), ""),
    **dict.fromkeys(("HUB_PROXIES", "HUB_API_RATE", "HUB_API_BURST", "HUB_CONNECTIONS"), ""),
    **dict.fromkeys(("HUB_SECOND_FACTOR", "HUB_LOG_LEVEL"), ""),
    "DJANGO_SETTINGS_MODULE": "hub.settings",
    "HUB_NO_BOOTSTRAP": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}


def compose() -> dict[str, Any]:
    """docker-compose.yml, with its anchors merged."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return found


def command_of(service: str, here: dict[str, str]) -> list[str | Path]:
    """What compose runs as this service, with some addresses replaced, by the programs of this environment."""
    program, *rest = compose()["services"][service]["command"]
    for shipped, ours in here.items():
        rest = [word.replace(shipped, ours) for word in rest]
    rest = [str(ROOT / word) if word == "manage.py" else word for word in rest]
    return [sys.executable if program == "python" else BIN / program, *rest]


# --- waiting


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def eventually(look: Callable[[], T], what: str = "", patience_s: float = PATIENCE_S) -> T:
    """What `look` returns, as soon as that is something."""
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {patience_s:g} s in vain: {what or look}"
        time.sleep(POLL_S)
    return found
