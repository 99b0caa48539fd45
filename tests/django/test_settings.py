"""The deployment checks, the three health addresses, and how static files leave the house."""

import asyncio
import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import structlog
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import CheckMessage
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from pytest_django import Settings

from hub import checks, env, logs, static
from hub.settings import channel_layer, database

MADE = "9f4b1c06d2e8a7350b6cf1d94e27a81c"
PRODUCTION = {
    "DATABASE_URL": f"postgres://hub:{MADE}@db:5432/hub",
    "REDIS_URL": "redis://cache:6379/0",
    "MQTT_URL": f"mqtts://bridge:{MADE}@broker.example.org",
    "BROKER_ACCOUNTS": "dynsec",
    "SECRET_KEY": "Zk3-pQ9_" * 8,
    "ALLOWED_HOSTS": "hub.example.org",
    "HUB_ORIGINS": "https://hub.example.org",
}


def mistakes(**different: str) -> list[CheckMessage]:
    return list(checks.mistakes(env.read({"HUB_DATA": "/nowhere", **PRODUCTION, **different})))


def test_a_production_environment_is_clean() -> None:
    assert mistakes() == []


@pytest.mark.parametrize(
    ("different", "found"),
    [
        ({"SECRET_KEY": "short"}, "hub.E001"),
        ({"SECRET_KEY": "django-insecure-" + "k" * 50}, "hub.E001"),
        ({"SECRET_KEY": "k" * 60}, "hub.E001"),
        ({"MQTT_URL": "mqtts://bridge:secret@broker.example.org"}, "hub.E005"),
        ({"MQTT_URL": "mqtts://broker.example.org"}, "hub.E005"),
        ({"MQTT_URL": f"mqtts://bridge:example-{MADE}@broker.example.org"}, "hub.E005"),
        ({"MQTT_URL": f"mqtts://bridge:{'0' * 40}@broker.example.org"}, "hub.E005"),
        ({"DATABASE_URL": "postgres://hub:hub@db/hub"}, "hub.E006"),
        ({"DATABASE_URL": "postgres://hub:short@db/hub"}, "hub.E006"),
        ({"DATABASE_URL": f"postgres://{MADE}:{MADE}@db/hub"}, "hub.E006"),
        ({"DATABASE_URL": "postgres://hub@db/hub"}, "hub.W006"),
        ({"HUB_DEBUG": "1"}, "hub.E007"),
        ({"ALLOWED_HOSTS": "hub.example.org,*"}, "hub.E002"),
        ({"ALLOWED_HOSTS": "hub.example.org,.example.org"}, "hub.W005"),
        ({"ALLOWED_HOSTS": "other.example.org"}, "hub.E008"),
        ({"HUB_ORIGINS": ""}, "hub.E003"),
        ({"REDIS_URL": ""}, "hub.E004"),
        ({"HUB_ORIGINS": "https://hub.example.org,http://hub.example.org", "HUB_PLAIN": "http"}, "hub.W001"),
        ({"MQTT_URL": f"mqtt://bridge:{MADE}@broker", "MQTT_PUBLIC_PORT": "8883", "HUB_PLAIN": "mqtt"}, "hub.W002"),
        ({"MQTT_PUBLIC_PORT": "1883"}, "hub.W004"),
        ({"BROKER_ACCOUNTS": "none"}, "hub.W007"),
        ({"DATABASE_URL": "sqlite:////data/hub.sqlite3"}, "hub.W003"),
    ],
)
def test_each_deployment_mistake_is_found_with_a_hint(different: dict[str, str], found: str) -> None:
    (only,) = mistakes(**different)
    assert only.id == found
    assert only.hint


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_plain_mqtt_on_loopback_is_fine(host: str) -> None:
    assert mistakes(MQTT_URL=f"mqtt://bridge:{MADE}@{host}:1883") == []


def test_a_hub_that_only_this_machine_reaches_needs_no_origins() -> None:
    assert mistakes(HUB_ORIGINS="", ALLOWED_HOSTS="localhost,127.0.0.1,[::1]") == []


def test_who_reaches_postgresql_through_its_socket_needs_no_password() -> None:
    assert mistakes(DATABASE_URL="postgres:///hub") == []


def test_no_finding_repeats_a_secret() -> None:
    found = mistakes(MQTT_URL="mqtts://bridge:hush@b", DATABASE_URL="postgres://hub:hush@db/hub", SECRET_KEY="hush")
    assert len(found) == 3
    assert not [each for each in found if "hush" in f"{each.msg} {each.hint}"]


def manage(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    keep = {
        name: value for name, value in os.environ.items() if name not in {each.upper() for each in env.Env.__slots__}
    }
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command,
        cwd=env.CHECKOUT,
        env={**keep, **environ, "HUB_NO_BOOTSTRAP": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_djangos_own_deployment_checks_are_clean_in_production(tmp_path: Path) -> None:
    done = manage({**PRODUCTION, "HUB_DATA": str(tmp_path)}, "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


def test_a_mistaken_environment_is_named_without_a_traceback(tmp_path: Path) -> None:
    done = manage({"HUB_DATA": str(tmp_path), "MQTT_URL": "nonsense", "HUB_DEBUG": "nonsense"}, "check")
    assert done.returncode == 1
    assert done.stderr.startswith("The environment has mistakes:\n  - ")
    assert "Traceback" not in done.stderr


# --- health


def test_the_process_is_alive_even_without_a_database(client: Client) -> None:
    assert client.get("/healthz").json() == {"alive": True}


@pytest.mark.django_db
def test_ready_means_the_database_answers(client: Client) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"ready": True, "database": True, "bridge": "unknown"})


@pytest.mark.django_db
def test_not_ready_is_503_and_does_not_say_why(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": "redis://127.0.0.1:1"}]},
        }
    }
    response = client.get("/readyz")
    told = {"ready": False, "database": True, "layer": False, "bridge": "unknown"}
    assert (response.status_code, response.json()) == (503, told)


def test_metrics_are_prometheus_text(client: Client) -> None:
    response = client.get("/metrics")
    assert response["Content-Type"].startswith("text/plain")
    assert b"process_start_time_seconds" in response.content


# --- static files

UPLOT = "vendor/uplot/uPlot.esm.js"


def test_front_end_libraries_are_served_without_collectstatic(client: Client) -> None:
    response = client.get(staticfiles_storage.url(UPLOT))
    assert response.status_code == 200
    assert response.content == Path(str(finders.find(UPLOT))).read_bytes()
    assert response["Content-Type"].startswith("text/javascript")


async def test_they_are_served_the_same_under_asgi(async_client: AsyncClient) -> None:
    response = await async_client.get(staticfiles_storage.url(UPLOT))
    assert response.status_code == 200
    assert not response.streaming


def test_a_browser_that_has_the_file_gets_304(client: Client) -> None:
    first = client.get(staticfiles_storage.url(UPLOT))
    again = client.get(staticfiles_storage.url(UPLOT), headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_static_middleware_is_no_detour_in_either_world() -> None:
    async def asynchronous(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("a")

    def synchronous(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("s")

    assert asyncio.iscoroutinefunction(static.Files(synchronous)) is False
    assert static.Files(asynchronous).asynchronous


@pytest.mark.parametrize(
    "folder", ["@tabler/core/dist/css", "@tabler/core/dist/js", "@tabler/core/dist/img", "uplot/dist"]
)
def test_only_chosen_folders_of_node_modules_are_public(folder: str) -> None:
    chosen = {Path(path) for _, path in settings.STATICFILES_DIRS}
    assert env.CHECKOUT / "node_modules" / folder in chosen
    assert len([path for path in chosen if "node_modules" in path.parts]) == 4


def test_collectstatic_hashes_every_name(tmp_path: Path) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.conf import settings; from django.core.management import call_command as c\n"
        f"settings.STATIC_ROOT = {str(tmp_path)!r}; c('collectstatic', verbosity=0, interactive=False)\n"
        "from django.contrib.staticfiles.storage import staticfiles_storage as s\n"
        f"print(s.url({UPLOT!r}))"
    )
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "hub.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=env.CHECKOUT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/static/vendor/uplot/uPlot.esm.")
    assert done.stdout.strip() != f"/static/{UPLOT}"
    modules = [path.read_text(encoding="utf-8") for path in tmp_path.glob("dashboard/*.????????????.js")]
    imported = {name for text in modules for name in re.findall(r'^import .* from "(.+)";$', text, re.MULTILINE)}
    assert any("/live/index." in name for name in imported)
    assert all(re.search(r"\.[0-9a-f]{12}\.js$", name) for name in imported)


# --- parts and logs


def test_sqlite_waits_and_commits_to_the_disk() -> None:
    options = database("sqlite:////tmp/x.sqlite3")["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in options["init_command"]
    assert "synchronous=FULL" in options["init_command"]


def test_the_layer_of_several_processes_is_pub_sub_under_its_own_prefix() -> None:
    layer = channel_layer("redis://cache")
    assert layer["BACKEND"] == "channels_redis.pubsub.RedisPubSubChannelLayer"
    assert layer["CONFIG"]["prefix"] == "hub"


def written(event: str = "happened", *words: object, **fields: object) -> str:
    """The line that this event makes, by structlog or, with words, by the standard library."""
    stream = io.StringIO()
    line = logs.configure()["formatters"]["line"]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=line["foreign_pre_chain"], processors=line["processors"])
    )
    logger = logging.getLogger("hub.tests.logs")
    logger.addHandler(handler)
    try:
        if words:
            logger.warning(event, *words)
        else:
            structlog.get_logger("hub.tests.logs").warning(event, **fields)
    finally:
        logger.removeHandler(handler)
    return stream.getvalue()


def test_an_event_is_one_line_of_key_and_value() -> None:
    line = written(device="pump-1", text="two\nlines")
    assert line.count("\n") == 1
    assert "event=happened" in line
    assert "device=pump-1" in line
    assert line.startswith("at=")


FORGED = "at=2026-01-01T00:00:00Z level=info event=well"
ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0", '"\n', '\\"\n']


@pytest.mark.parametrize("end", ENDS)
def test_no_text_forges_a_line(end: str) -> None:
    text = f"pump{end}{FORGED}"
    for line in (written(text), written(device=text), written("refused: %s", text), written(error=ValueError(text))):
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        assert line.startswith("at=2")
        assert f" {FORGED}" not in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;mine\a", "\\x1b[2J\\x1b]0;mine\\x07"),  # clears the screen, names the window
        ("\x9b31m", "\\x9b31m"),
        ("pump\u202etxt.exe", "pump\\u202etxt.exe"),
        ("a\bb\x7f", "a\\x08b\\x7f"),
        ("\ud800", "\\ud800"),
        ("Größe 温度 °C", "Größe 温度 °C"),
    ],
)
def test_no_text_is_obeyed_by_a_terminal(text: str, shown: str) -> None:
    line = written(device=text)
    assert line.rstrip("\n").isprintable()
    assert shown in line.replace("\\\\", "\\")


def test_secrets_do_not_reach_the_log() -> None:
    line = written(mqtt_password="hush", url="mqtt://bridge:hush@host", authorization="Token hush")
    assert "hush" not in line


@pytest.mark.parametrize(
    "path",
    ["/share/hush/pump-1/", "/invitation/hush/", "/sign-in/?next=/invitation/hush/", "?next=%2Finvitation%2Fhush%2F"],
)
def test_what_a_link_opens_does_not_reach_the_log(path: str) -> None:
    line = written(text=f"Not Found: {path}")
    assert "hush" not in line
    assert "[hidden]" in line


@pytest.mark.parametrize("level", get_args(env.LogLevel))
def test_no_level_logs_what_is_in_pages_and_statements(level: env.LogLevel) -> None:
    told = logs.configure(level)
    assert told["root"]["level"] == level
    for name in ("django.template", "django.db.backends"):
        assert told["loggers"][name]["level"] in ("WARNING", "ERROR")
