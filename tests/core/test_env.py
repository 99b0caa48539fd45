"""hub.env: what it makes of an environment, and that each mistake is named with its remedy."""

import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from hub import env

A_KEY = "k" * 60


def read(data: Path, **variables: str) -> env.Env:
    return env.read({"HUB_DATA": str(data), **variables})


def mistakes(data: Path, **variables: str) -> list[str]:
    with pytest.raises(env.Mistaken) as caught:
        read(data, **variables)
    return caught.value.mistakes


def test_an_empty_environment_is_a_hub_of_one_process(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.database_url == f"sqlite:///{tmp_path / 'hub.sqlite3'}"
    assert (found.redis_url, found.mqtt_url, found.broker_accounts) == (None, None, "none")
    assert (found.mqtt_public_host, found.mqtt_public_port) == ("localhost", 1883)
    assert (found.hub_origins, found.hub_debug, found.https) == ((), False, False)
    assert "localhost" in found.allowed_hosts


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    empty = {each.name.upper(): "" for each in fields(env.Env) if each.name != "hub_data"}
    assert read(tmp_path, **empty) == read(tmp_path)


def test_a_production_environment_is_read_whole(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        DATABASE_URL="postgres://hub:pw@db:5432/hub",
        REDIS_URL="redis://cache:6379/0",
        MQTT_URL="mqtts://bridge:p%40ss@broker.example.org",
        BROKER_ACCOUNTS="dynsec",
        SECRET_KEY=A_KEY,
        ALLOWED_HOSTS="hub.example.org, other.example.org",
        HUB_ORIGINS="https://hub.example.org,https://other.example.org:8443",
        MQTT_PUBLIC_PORT="9883",
        HUB_OUTGOING="Alerts.internal:9000, [fd00::1]:80",
    )
    assert found.hub_outgoing == (("alerts.internal", 9000), ("fd00::1", 80))
    assert found.mqtt_url == env.Mqtt(
        host="broker.example.org", port=8883, username="bridge", password="p@ss", tls=True
    )
    assert (found.mqtt_public_host, found.mqtt_public_port) == ("broker.example.org", 9883)
    assert found.allowed_hosts == ("hub.example.org", "other.example.org")
    assert found.https


@pytest.mark.parametrize(
    ("origins", "said", "proxies"),
    [
        ("", "", 0),
        ("http://hub.example.org", "", 0),
        ("https://hub.example.org,http://hub.example.org", "", 0),
        ("https://hub.example.org", "", 1),
        ("https://hub.example.org", "0", 0),
        ("", "2", 2),
    ],
)
def test_a_proxy_is_believed_where_there_must_be_one_or_one_is_named(
    origins: str, said: str, proxies: int, tmp_path: Path
) -> None:
    assert read(tmp_path, HUB_ORIGINS=origins, HUB_PROXIES=said, HUB_PLAIN="http").hub_proxies == proxies


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MQTT_URL": "broker:1883"}, "MQTT_URL must be mqtt://"),
        ({"MQTT_URL": "mqtt://broker:99999"}, "MQTT_URL has a port that is not a number"),
        ({"MQTT_URL": "mqtt://broker/topic"}, "MQTT_URL must be mqtt://"),
        ({"MQTT_URL": "http://broker"}, "MQTT_URL must be mqtt://"),
        ({"REDIS_URL": "localhost:6379", "SECRET_KEY": A_KEY}, "REDIS_URL must be redis://"),
        ({"DATABASE_URL": "mysql://hub@db/hub"}, "DATABASE_URL must be sqlite:///path or postgres://"),
        ({"BROKER_ACCOUNTS": "emqx"}, "BROKER_ACCOUNTS is 'emqx'; it must be one of dynsec, nats, none."),
        ({"HUB_ORIGINS": "hub.example.org"}, "HUB_ORIGINS holds 'hub.example.org'; it must be a full origin"),
        ({"HUB_ORIGINS": "https://hub.example.org/"}, "HUB_ORIGINS holds 'https://hub.example.org/'"),
        ({"HUB_OUTGOING": "alerts.internal"}, "HUB_OUTGOING holds 'alerts.internal'; it must be a host with its port"),
        ({"HUB_OUTGOING": "a:1,http://b:2"}, "HUB_OUTGOING holds 'http://b:2'"),
        ({"HUB_OUTGOING": "a:99999"}, "HUB_OUTGOING has a port that is not a number from 1 to 65535"),
        ({"HUB_SECOND_FACTOR": "on"}, "HUB_SECOND_FACTOR is 'on'; it must be one of off, optional, required."),
        ({"HUB_LOG_LEVEL": "loud"}, "HUB_LOG_LEVEL is 'LOUD'; it must be one of DEBUG, INFO, WARNING, ERROR."),
        ({"HUB_DEBUG": "perhaps"}, "HUB_DEBUG is 'perhaps'; it must be 1 or 0."),
        ({"MQTT_PUBLIC_PORT": "0"}, "MQTT_PUBLIC_PORT is '0'; it must be a number from 1 to 65535."),
        ({"MQTT_PUBLIC_PORT": "²"}, "MQTT_PUBLIC_PORT is '²'"),
        ({"REDIS_URL": "redis://cache"}, "SECRET_KEY is missing"),
        ({"MQTT_URL": "mqtt://broker"}, "MQTT_URL is plain mqtt:// to broker"),
        ({"MQTT_URL": "mqtt://192.0.2.7", "HUB_PLAIN": "http"}, "MQTT_URL is plain mqtt:// to 192.0.2.7"),
        ({"HUB_ORIGINS": "http://hub.example.org"}, "HUB_ORIGINS holds http://hub.example.org, which is plain"),
        (
            {"HUB_ORIGINS": "https://a.org,http://b.org", "HUB_PLAIN": "mqtt"},
            "HUB_ORIGINS holds http://b.org, which is",
        ),
        ({"HUB_PLAIN": "mqtt,https"}, "HUB_PLAIN holds 'https'; it must be one or both of mqtt, http."),
        ({"MQTT_CA": "/nowhere/ca.crt"}, "MQTT_CA names /nowhere/ca.crt, which holds no certificate that can be read"),
        ({"MQTT_CA": __file__}, f"MQTT_CA names {__file__}, which holds no certificate"),
        ({"SECRET_KEY_FILE": "/nowhere/key"}, "SECRET_KEY_FILE names /nowhere/key, which cannot be read"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path: Path, variables: Mapping[str, str], said: str) -> None:
    (only,) = mistakes(tmp_path, **variables)
    assert only.startswith(said)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "hub.localhost"])
def test_what_stays_on_this_machine_may_be_plain(tmp_path: Path, host: str) -> None:
    found = read(tmp_path, MQTT_URL=f"mqtt://{host}:1884", HUB_ORIGINS=f"http://{host}:8000")
    assert found.hub_plain == ()


def test_what_is_to_cross_a_network_plain_is_said_for_each(tmp_path: Path) -> None:
    urls = {"MQTT_URL": "mqtt://broker", "HUB_ORIGINS": "http://hub.example.org"}
    assert len(mistakes(tmp_path, **urls)) == 2
    assert len(mistakes(tmp_path, **urls, HUB_PLAIN="mqtt")) == 1
    assert read(tmp_path, **urls, HUB_PLAIN="http, mqtt").hub_plain == ("http", "mqtt")


@pytest.mark.parametrize(
    ("variables", "tls"),
    [
        ({}, False),
        ({"MQTT_PUBLIC_PORT": "8883"}, True),
        ({"MQTT_URL": "mqtt://localhost", "MQTT_PUBLIC_PORT": "8883"}, True),
        ({"MQTT_URL": "mqtts://broker:9883"}, True),
        ({"MQTT_URL": "mqtts://broker", "MQTT_PUBLIC_PORT": "1883"}, False),
    ],
)
def test_devices_are_told_to_speak_tls_where_they_can(tmp_path: Path, variables: Mapping[str, str], tls: bool) -> None:
    assert read(tmp_path, **variables).mqtt_public_tls is tls


def test_all_mistakes_are_named_together(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, MQTT_URL="x", HUB_DEBUG="x", HUB_ORIGINS="x")) == 3


def test_no_error_repeats_a_secret(tmp_path: Path) -> None:
    said = "\n".join(
        mistakes(tmp_path, MQTT_URL="http://u:hush@b", DATABASE_URL="x://u:hush@b", REDIS_URL="x://:hush@b")
    )
    assert "hush" not in said


def test_the_value_can_be_shown_without_its_secrets(tmp_path: Path) -> None:
    found = read(tmp_path, MQTT_URL="mqtts://u:hush@b", DATABASE_URL="postgres://u:hush@b/n", SECRET_KEY="hush" * 20)
    assert "hush" not in repr(found)


@pytest.mark.parametrize("name", env.SECRETS)
def test_each_secret_may_come_from_a_file(tmp_path: Path, name: str) -> None:
    value = {"DATABASE_URL": "postgres://u:p@h/n", "REDIS_URL": "redis://h", "MQTT_URL": "mqtts://u:p@h"}.get(
        name, A_KEY
    )
    file = tmp_path / "secret"
    file.write_text(value + "\n", encoding="utf-8")
    others = {} if name == "SECRET_KEY" else {"SECRET_KEY": A_KEY}
    assert read(tmp_path, **others, **{f"{name}_FILE": str(file)}) == read(tmp_path, **others, **{name: value})


def test_a_secret_given_twice_is_a_mistake(tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, SECRET_KEY=A_KEY, SECRET_KEY_FILE="/some/file")
    assert "keep one of them" in only


def test_what_is_no_secret_has_no_file(tmp_path: Path) -> None:
    assert not read(tmp_path, HUB_DEBUG_FILE="/nowhere").hub_debug


def test_a_missing_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = read(tmp_path).secret_key
    assert len(first) >= 50
    assert read(tmp_path).secret_key == first
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_is_a_mistake(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    (only,) = mistakes(blocker)
    assert only.startswith(f"HUB_DATA is {blocker}")


def documented() -> set[str]:
    return {each.name.upper() for each in fields(env.Env)}


def test_the_example_lists_every_variable() -> None:
    example = (env.CHECKOUT / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == documented()


def test_the_example_is_without_mistakes(tmp_path: Path) -> None:
    example = (env.CHECKOUT / ".env.example").read_text(encoding="utf-8")
    env.read(dict(re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE)) | {"HUB_DATA": str(tmp_path)})


def test_the_guide_has_a_row_for_every_variable_and_says_which_take_a_file() -> None:
    guide = (env.CHECKOUT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)`( \(or `_FILE`\))? \|", guide, re.MULTILINE)
    assert {name for name, _ in rows} == documented()
    assert {name for name, file in rows if file} == set(env.SECRETS)


def test_a_second_factor_without_its_package_is_a_mistake_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(tmp_path, HUB_SECOND_FACTOR="required").hub_second_factor == "required"
    monkeypatch.setitem(sys.modules, "allauth", None)  # as Python finds it where it is not installed
    (only,) = mistakes(tmp_path, HUB_SECOND_FACTOR="required")
    assert only.endswith("is missing: pip install --require-hashes -r requirements-second-factor.lock")
    assert read(tmp_path, HUB_SECOND_FACTOR="off").hub_second_factor == "off"
