"""Deployment mistakes as Django system checks, each with its remedy. `manage.py check --deploy` asks them all.

A value that cannot be read at all never comes this far: hub.env refuses it. Here is what is readable and unwise.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 -- Django's own name

from hub import env

# 128 random bits in base64 are 22 characters; Django asks for 50, as its own keys have.
KEY_LENGTH = 50


@register(Tags.security, deploy=True)
def deployment(**_kwargs: Any) -> Sequence[CheckMessage]:  # noqa: ANN401 -- Django's signature
    """What this process was started with."""
    return list(mistakes(settings.ENV))


def mistakes(given: env.Env) -> Iterator[CheckMessage]:
    """Everything unwise in a production environment."""
    yield from key(given)
    yield from addresses(given)
    yield from parts(given)


def key(given: env.Env) -> Iterator[CheckMessage]:
    """The key signs sessions and encrypts device secrets."""
    if len(given.secret_key) < KEY_LENGTH or "insecure" in given.secret_key or "change" in given.secret_key:
        yield Error(
            "SECRET_KEY is short, or is an example.",
            hint="Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(50))'",
            id="hub.E001",
        )


def addresses(given: env.Env) -> Iterator[CheckMessage]:
    """Under which names browsers may come."""
    if "*" in given.allowed_hosts:
        yield Error(
            "ALLOWED_HOSTS lets every host name in.",
            hint="Name the hosts under which the hub is reached: ALLOWED_HOSTS=hub.example.org",
            id="hub.E002",
        )
    if not given.hub_origins:
        yield Error(
            "HUB_ORIGINS is missing, so no page of another address than this process's own can open a live socket.",
            hint="Name the full origins of the pages: HUB_ORIGINS=https://hub.example.org",
            id="hub.E003",
        )
    elif not given.https:
        yield Warning(
            "HUB_ORIGINS holds plain http: passwords and sessions can be read on the way.",
            hint="Put a proxy with TLS before the hub, and write https:// in HUB_ORIGINS.",
            id="hub.W001",
        )


def parts(given: env.Env) -> Iterator[CheckMessage]:
    """Which broker, channel layer and database the processes share."""
    mqtt = given.mqtt_url
    if mqtt and not given.redis_url:
        yield Error(
            "MQTT_URL names a broker of its own, but REDIS_URL is missing: the bridge and the web are then several "
            "processes, and an in-memory channel layer reaches only one.",
            hint="Start Redis and set REDIS_URL=redis://host:6379/0",
            id="hub.E004",
        )
    if mqtt and not mqtt.tls and mqtt.host not in env.LOOPBACK and mqtt.host != "::1":
        yield Warning(
            f"MQTT to {mqtt.host} is not encrypted: the bridge's password can be read on the way.",
            hint="Give the broker a certificate and write mqtts:// in MQTT_URL. Within one private network of "
            "containers, silence hub.W002.",
            id="hub.W002",
        )
    if given.database_url.startswith("sqlite"):
        yield Warning(
            "The database is SQLite, which one process at a time can write.",
            hint="Set DATABASE_URL=postgres://user:password@host:5432/name",
            id="hub.W003",
        )
