"""os.environ → one frozen, typed value. The only module that reads the environment; knows nothing of Django.

Every mistake is collected, so that one start names them all. A secret `NAME` may also be given as `NAME_FILE`, the path
of a file that holds it (Docker and Kubernetes secrets). An empty variable counts as not set. docs/settings.md has all.
"""

import os
import re
import secrets
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from hub import machine

CHECKOUT = Path(__file__).resolve().parent.parent
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
BrokerAccounts = Literal["dynsec", "nats", "none"]
SecondFactor = Literal["off", "optional", "required"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
T = TypeVar("T")
D = TypeVar("D")

# What may also be given as NAME_FILE: each of them can hold a password.
SECRETS = ("DATABASE_URL", "REDIS_URL", "MQTT_URL", "SECRET_KEY")
DATABASES = ("sqlite", "postgres", "postgresql")
MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}
# What may be allowed to travel readable from machine to machine.
PLAIN = ("mqtt", "http")
# What databases hold in a column of a device's own limits.
MOST = 2**31 - 1
WORDS_FOR_TRUE = ("1", "true", "yes", "on")
WORDS_FOR_FALSE = ("0", "false", "no", "off")


class Mistaken(Exception):
    """The environment is not usable. The message names each variable, what is wrong with it, and what to write."""

    def __init__(self, mistakes: list[str]) -> None:
        """`mistakes`: one sentence each."""
        self.mistakes = mistakes
        super().__init__("The environment has mistakes:\n" + "\n".join(f"  - {each}" for each in mistakes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mqtt:
    """Where the broker is, and as whom the bridge speaks to it."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """All that the deployment decides. A field is named like its variable, in lower case."""

    database_url: str = field(repr=False)
    redis_url: str | None = field(repr=False)
    mqtt_url: Mqtt | None
    mqtt_ca: Path | None
    mqtt_public_host: str
    mqtt_public_port: int
    broker_accounts: BrokerAccounts
    bridge_share: str
    secret_key: str = field(repr=False)
    allowed_hosts: tuple[str, ...]
    hub_origins: tuple[str, ...]
    hub_plain: tuple[str, ...]
    hub_data: Path
    hub_rate: int
    hub_burst: int
    hub_outgoing: tuple[tuple[str, int], ...]
    hub_second_factor: SecondFactor
    hub_log_level: LogLevel
    hub_proxies: int
    hub_api_rate: int
    hub_api_burst: int
    hub_connections: int
    hub_firmware_mb: int
    hub_debug: bool

    @property
    def https(self) -> bool:
        """Whether every browser comes over TLS: then cookies are Secure and plain HTTP is redirected."""
        return over_tls(self.hub_origins)

    @property
    def mqtt_public_tls(self) -> bool:
        """Whether devices are told to speak TLS: on its usual port, and where the bridge does so itself."""
        shared = self.mqtt_url is not None and self.mqtt_url.tls and self.mqtt_url.port == self.mqtt_public_port
        return shared or self.mqtt_public_port == MQTT_PORTS["mqtts"]


def read(environ: Mapping[str, str]) -> Env:
    """The environment as value. Raises Mistaken, which names every mistake at once.

    Reads the files that `*_FILE` variables name; makes a SECRET_KEY in HUB_DATA for a hub of one process that has none.
    """
    return _Reader(environ).env()


def current() -> Env:
    """This process's environment."""
    return read(os.environ)


def in_ci() -> bool:
    """Whether this is a continuous-integration run, where a skipped test is an error. For tests only."""
    return os.environ.get("CI", "").lower() in WORDS_FOR_TRUE


def has_screen() -> bool:
    """Whether a browser could open a window here."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class _Reader:
    """Reads one variable after the other and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.mistakes: list[str] = []

    def env(self) -> Env:
        data = self.parsed("HUB_DATA", lambda text: Path(text).expanduser().absolute(), CHECKOUT / ".data")
        redis_url = self.parsed("REDIS_URL", redis_address, None)
        mqtt = self.parsed("MQTT_URL", mqtt_address, None)
        pages = self.parsed("HUB_ORIGINS", origins, ())
        values = Env(
            database_url=self.parsed("DATABASE_URL", database_address, f"sqlite:///{data / 'hub.sqlite3'}"),
            redis_url=redis_url,
            mqtt_url=mqtt,
            mqtt_ca=self.parsed("MQTT_CA", authority, None),
            mqtt_public_host=self.parsed("MQTT_PUBLIC_HOST", str, mqtt.host if mqtt else "localhost"),
            mqtt_public_port=self.parsed("MQTT_PUBLIC_PORT", port_number, mqtt.port if mqtt else 1883),
            broker_accounts=self.parsed("BROKER_ACCOUNTS", broker_accounts, "none"),
            bridge_share=self.parsed("BRIDGE_SHARE", share, ""),
            secret_key=self.secret_key(data, shared=redis_url is not None),
            allowed_hosts=self.parsed("ALLOWED_HOSTS", listed, LOOPBACK),
            hub_origins=pages,
            hub_plain=self.parsed("HUB_PLAIN", plain, ()),
            hub_data=data,
            hub_rate=self.parsed("HUB_RATE", count, 1_000),
            hub_burst=self.parsed("HUB_BURST", count, 30_000),
            hub_outgoing=self.parsed("HUB_OUTGOING", places, ()),
            hub_second_factor=self.parsed("HUB_SECOND_FACTOR", second_factor, "off"),
            hub_log_level=self.parsed("HUB_LOG_LEVEL", log_level, "INFO"),
            hub_proxies=self.parsed("HUB_PROXIES", count_or_none, int(over_tls(pages))),
            hub_api_rate=self.parsed("HUB_API_RATE", count, 100),
            hub_api_burst=self.parsed("HUB_API_BURST", count, 2_000),
            hub_connections=self.parsed("HUB_CONNECTIONS", count, 5_000),
            hub_firmware_mb=self.parsed("HUB_FIRMWARE_MB", count, 64),
            hub_debug=self.parsed("HUB_DEBUG", yes_or_no, default=False),
        )
        self.mistakes += readable_on_the_way(values)
        if self.mistakes:
            raise Mistaken(self.mistakes)
        return values

    def parsed(self, name: str, parse: Callable[[str], T], default: D) -> T | D:
        """What `parse` makes of the variable; the default where it is not set, or wrong (which is then noted)."""
        text = self.text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as problem:
            self.mistakes.append(f"{name} {problem}")
            return default

    def text(self, name: str) -> str:
        """The variable's text, or that of the file which NAME_FILE names; empty where there is neither."""
        text = self.environ.get(name, "").strip()
        path = self.environ.get(f"{name}_FILE", "").strip() if name in SECRETS else ""
        if not path:
            return text
        if text:
            self.mistakes.append(f"{name} and {name}_FILE are both set; keep one of them.")
            return text
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            self.mistakes.append(f"{name}_FILE names {path}, which cannot be read ({problem}).")
            return ""

    def secret_key(self, data: Path, *, shared: bool) -> str:
        """The given key; a hub of one process may do without: its own is made once and kept in HUB_DATA."""
        given = self.text("SECRET_KEY")
        if given:
            return given
        if shared:
            self.mistakes.append(
                "SECRET_KEY is missing: with REDIS_URL several processes must share one. Make it with "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"
            )
            return ""
        try:
            return kept_secret(data / "secret_key")
        except OSError as problem:
            self.mistakes.append(
                f"HUB_DATA is {data}, where nothing can be kept ({problem}); name a folder that can be written."
            )
            return ""


def kept_secret(path: Path) -> str:
    """The secret in this file, which is made (readable by its owner only) when it is not there yet."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(made := secrets.token_urlsafe(50))
    return made


def readable_on_the_way(given: Env) -> Iterator[str]:
    """What would carry passwords through a network as they are, and was not told that it may: a mistake each."""
    mqtt = given.mqtt_url
    if mqtt and not mqtt.tls and "mqtt" not in given.hub_plain and not machine.loopback(mqtt.host):
        yield (
            f"MQTT_URL is plain mqtt:// to {mqtt.host}: the bridge's password and all readings could be read on the "
            "way. Write mqtts:// (docs/tls.md says how), or HUB_PLAIN=mqtt if the network between is private."
        )
    for origin in given.hub_origins:
        host = urlsplit(origin).hostname or ""
        if origin.startswith("http://") and "http" not in given.hub_plain and not machine.loopback(host):
            yield (
                f"HUB_ORIGINS holds {origin}, which is plain: passwords and sessions could be read on the way. Put a "
                "proxy with TLS before the hub and write https:// (docs/tls.md says how), or HUB_PLAIN=http if the "
                "network between is private."
            )


def database_address(text: str) -> str:
    """The same text, where it names a database that the hub knows. It may hold a password, so no error repeats it."""
    if urlsplit(text).scheme not in DATABASES:
        raise ValueError("must be sqlite:///path or postgres://user:password@host:5432/name.")
    return text


def redis_address(text: str) -> str:
    """The same text, where it is a Redis address."""
    url = urlsplit(text)
    if url.scheme not in ("redis", "rediss", "unix") or not (url.hostname or url.path):
        raise ValueError("must be redis://host:6379/0 (rediss:// for TLS).")
    return text


def mqtt_address(text: str) -> Mqtt:
    """The parts of mqtt[s]://user:secret@host:port. User and secret may be percent-encoded."""
    url = urlsplit(text)
    if url.scheme not in MQTT_PORTS or not url.hostname or url.path.strip("/"):
        raise ValueError("must be mqtt://user:secret@host:1883 (mqtts:// for TLS).")
    return Mqtt(
        host=url.hostname,
        port=_port(url) or MQTT_PORTS[url.scheme],
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        tls=url.scheme == "mqtts",
    )


def _port(url: SplitResult) -> int | None:
    """The port of an address, if it names one. (Python's own error says "Port could not be cast".)"""
    try:
        return url.port
    except ValueError:
        raise ValueError("has a port that is not a number from 1 to 65535.") from None


def port_number(text: str) -> int:
    """A TCP port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:  # noqa: PLR2004 -- ports have 16 bits
        raise ValueError(f"is {text!r}; it must be a number from 1 to 65535.")
    return int(text)


def one_of(words: tuple[str, ...], text: str) -> str:
    """A word of these."""
    if text not in words:
        raise ValueError(f"is {text!r}; it must be one of {', '.join(words)}.")
    return text


def broker_accounts(text: str) -> BrokerAccounts:
    """How the broker learns of devices."""
    return cast("BrokerAccounts", one_of(get_args(BrokerAccounts), text))


def second_factor(text: str) -> SecondFactor:
    """Whether signing in may, or must, take more than a password; that needs a package of its own."""
    chosen = cast("SecondFactor", one_of(get_args(SecondFactor), text))
    if chosen != "off" and find_spec("allauth") is None:
        raise ValueError(
            f"is {text!r}, and the package for it is missing: "
            "pip install --require-hashes -r requirements-second-factor.lock"
        )
    return chosen


def log_level(text: str) -> LogLevel:
    """From which level on something is logged."""
    return cast("LogLevel", one_of(get_args(LogLevel), text.upper()))


def share(text: str) -> str:
    """The name of a group of subscribers, which is one level of a topic."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError(f"is {text!r}; it must be a name of letters, digits, '_' and '-', such as hub.")
    return text


def listed(text: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def origins(text: str) -> tuple[str, ...]:
    """Full origins between commas: scheme and host, a port if it is unusual, nothing after it."""
    found = listed(text)
    for origin in found:
        url = urlsplit(origin)
        if url.scheme not in ("http", "https") or not url.hostname or f"{url.scheme}://{url.netloc}" != origin:
            raise ValueError(
                f"holds {origin!r}; it must be a full origin such as https://hub.example.org, with nothing after it."
            )
    return found


def authority(text: str) -> Path:
    """The file of certificates that are trusted to vouch for the broker."""
    path = Path(text).expanduser().absolute()
    try:
        ssl.create_default_context(cafile=path)
    except OSError as problem:
        raise ValueError(f"names {path}, which holds no certificate that can be read ({problem}).") from None
    return path


def plain(text: str) -> tuple[str, ...]:
    """What may travel readable."""
    found = listed(text)
    if unknown := [word for word in found if word not in PLAIN]:
        raise ValueError(f"holds {unknown[0]!r}; it must be one or both of {', '.join(PLAIN)}.")
    return found


def places(text: str) -> tuple[tuple[str, int], ...]:
    """Hosts with their ports, between commas."""
    return tuple(map(_place, listed(text)))


def _place(text: str) -> tuple[str, int]:
    url = urlsplit(f"//{text}")
    port = _port(url)
    if not url.hostname or not port or "@" in text or url.path or url.query or url.fragment:
        raise ValueError(
            f"holds {text!r}; it must be a host with its port such as alerts.internal:9000 or [fd00::1]:80."
        )
    return url.hostname, port


def over_tls(pages: tuple[str, ...]) -> bool:
    """Whether there are origins, and all of them https: then a proxy stands before the hub."""
    return bool(pages) and all(origin.startswith("https://") for origin in pages)


def count_or_none(text: str) -> int:
    """A number of something of which there may be none."""
    return 0 if text == "0" else count(text)


def count(text: str) -> int:
    """A number of something of which there is at least one."""
    if not text.isdecimal() or not 0 < int(text) <= MOST:
        raise ValueError(f"is {text!r}; it must be a number from 1 to {MOST}.")
    return int(text)


def yes_or_no(text: str) -> bool:
    """A switch."""
    if text.lower() not in WORDS_FOR_TRUE + WORDS_FOR_FALSE:
        raise ValueError(f"is {text!r}; it must be 1 or 0.")
    return text.lower() in WORDS_FOR_TRUE
