"""Deployment mistakes as Django system checks, each with its remedy. `manage.py check --deploy` asks them all, and so
does `manage.py doctor`.

A value that cannot be read at all never comes this far: hub.env refuses it. Here is what is readable and unwise.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 -- Django's own name
from django.http.request import validate_host

from hub import env, machine

# 128 random bits in base64 are 22 characters; Django asks for 50, as its own keys have.
KEY_LENGTH = 50
# As mosquitto/entrypoint.sh asks for: whoever has it commands every device.
MQTT_SECRET_LENGTH = 32
# PostgreSQL slows nobody down who guesses.
DATABASE_SECRET_LENGTH = 16
# Of random characters so many differ; and none of these words comes about by chance.
MOST_REGULAR = 5
EXAMPLES = ("insecure", "change", "example", "password")


@register(Tags.security, deploy=True)
def deployment(**_kwargs: Any) -> Sequence[CheckMessage]:  # noqa: ANN401 -- Django's signature
    """What this process was started with."""
    return list(mistakes(settings.ENV))


def mistakes(given: env.Env) -> Iterator[CheckMessage]:
    """Everything unwise in a production environment."""
    yield from secrets(given)
    yield from addresses(given)
    yield from broker(given)
    yield from parts(given)


def guessable(secret: str, length: int) -> bool:
    """Whether somebody could guess it: it is shorter than this, all too regular, or an example."""
    return len(secret) < length or len(set(secret)) < MOST_REGULAR or any(word in secret.lower() for word in EXAMPLES)


def secrets(given: env.Env) -> Iterator[CheckMessage]:
    """What nobody may guess, and the pages that would tell."""
    if guessable(given.secret_key, KEY_LENGTH):
        yield Error(
            "SECRET_KEY is short, or is an example.",
            hint="Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(50))'",
            id="hub.E001",
        )
    if given.mqtt_url and guessable(given.mqtt_url.password or "", MQTT_SECRET_LENGTH):
        yield Error(
            "The password in MQTT_URL is missing, short, or an example: with it one commands every device.",
            hint="Make one with: openssl rand -hex 32; mosquitto/README.md says how it is changed.",
            id="hub.E005",
        )
    yield from database_password(given.database_url)
    if given.hub_debug:
        yield Error(
            "HUB_DEBUG shows tracebacks with settings and data to whoever causes a fault.",
            hint="Take HUB_DEBUG away.",
            id="hub.E007",
        )


def database_password(address: str) -> Iterator[CheckMessage]:
    """The password of a PostgreSQL that is reached over TCP; through a socket the system says who it is."""
    url = urlsplit(address)
    if not url.scheme.startswith("postgres") or not url.hostname:
        return
    password = unquote(url.password or "")
    if not password:
        yield Warning(
            "DATABASE_URL has no password: PostgreSQL lets in whoever reaches it, or the password is elsewhere.",
            hint="ALTER ROLE … PASSWORD with what openssl rand -hex 32 makes, and have pg_hba.conf ask for it.",
            id="hub.W006",
        )
    elif guessable(password, DATABASE_SECRET_LENGTH) or password == url.username:
        yield Error(
            "The password in DATABASE_URL is short, an example, or the user's name.",
            hint="ALTER ROLE … PASSWORD with what openssl rand -hex 32 makes, and write it into DATABASE_URL.",
            id="hub.E006",
        )


def addresses(given: env.Env) -> Iterator[CheckMessage]:
    """Under which names browsers may come."""
    if "*" in given.allowed_hosts:
        yield Error(
            "ALLOWED_HOSTS lets every host name in.",
            hint="Name the hosts under which the hub is reached: ALLOWED_HOSTS=hub.example.org",
            id="hub.E002",
        )
    if broad := [host for host in given.allowed_hosts if host.startswith(".")]:
        yield Warning(
            f"ALLOWED_HOSTS lets in every name below {', '.join(broad)}, whoever it belongs to.",
            hint="Name the hosts under which the hub is reached, one by one.",
            id="hub.W005",
        )
    if not given.hub_origins:
        if not all(map(machine.loopback, given.allowed_hosts)):
            yield Error(
                "HUB_ORIGINS is missing, so plain HTTP is not redirected and cookies may travel readable.",
                hint="Name the full origins of the pages: HUB_ORIGINS=https://hub.example.org",
                id="hub.E003",
            )
        return
    if not given.https:
        yield Warning(
            "HUB_ORIGINS holds plain http: passwords and sessions can be read on the way.",
            hint="Put a proxy with TLS before the hub, and write https:// in HUB_ORIGINS.",
            id="hub.W001",
        )
    hosts = [urlsplit(origin).hostname or "" for origin in given.hub_origins]
    if strangers := [host for host in hosts if not validate_host(host, given.allowed_hosts)]:
        yield Error(
            f"HUB_ORIGINS names {strangers[0]}, which ALLOWED_HOSTS does not let in.",
            hint=f"Add {strangers[0]} to ALLOWED_HOSTS, or take it from HUB_ORIGINS.",
            id="hub.E008",
        )


def broker(given: env.Env) -> Iterator[CheckMessage]:
    """How the bridge and the devices reach the broker, and who keeps its accounts."""
    mqtt = given.mqtt_url
    if mqtt and not mqtt.tls and not machine.loopback(mqtt.host):
        yield Warning(
            f"MQTT to {mqtt.host} is not encrypted: the bridge's password can be read on the way.",
            hint="Give the broker a certificate (docs/tls.md) and write mqtts:// in MQTT_URL. In a private network of "
            "containers it may stay so.",
            id="hub.W002",
        )
    if mqtt and not given.mqtt_public_tls and not machine.loopback(given.mqtt_public_host):
        yield Warning(
            f"Devices are told {given.mqtt_public_host}:{given.mqtt_public_port}, without TLS: their passwords can be "
            "read on the way.",
            hint="Give the broker a certificate (docs/tls.md) and set MQTT_PUBLIC_PORT=8883.",
            id="hub.W004",
        )
    if mqtt and given.broker_accounts == "none":
        yield Warning(
            "BROKER_ACCOUNTS is none: a device that is disabled or deleted is let in by the broker all the same.",
            hint="With Mosquitto set BROKER_ACCOUNTS=dynsec; else keep the accounts yourself.",
            id="hub.W007",
        )


def parts(given: env.Env) -> Iterator[CheckMessage]:
    """Which channel layer and database the processes share."""
    if given.mqtt_url and not given.redis_url:
        yield Error(
            "MQTT_URL names a broker of its own, but REDIS_URL is missing: the bridge and the web are then several "
            "processes, and an in-memory channel layer reaches only one.",
            hint="Start Redis and set REDIS_URL=redis://host:6379/0",
            id="hub.E004",
        )
    if given.database_url.startswith("sqlite"):
        yield Warning(
            "The database is SQLite, which one process at a time can write.",
            hint="Set DATABASE_URL=postgres://user:password@host:5432/name",
            id="hub.W003",
        )
