"""The shipped Mosquitto files: how the first account comes to be, and what is refused."""

import re
import secrets
import subprocess
from pathlib import Path

import pytest

from tests import services
from tests.system.stands import Stand

SECRET = secrets.token_urlsafe(32)


def refusal(tmp_path: Path, **env: str) -> str:
    """What the entry point says before it gives up."""
    conf = services.mosquitto_conf(tmp_path, services.free_port(), services.free_port())
    ended = subprocess.run(
        ["sh", services.ROOT / "mosquitto/entrypoint.sh"],
        env={"PATH": "/usr/sbin:/usr/bin:/bin", "MOSQUITTO_CONF": str(conf), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=services.TIMEOUT_S,
    )
    assert ended.returncode == 1
    assert not list(tmp_path.glob("mosquitto/dynamic-security.json*"))
    return ended.stderr


@pytest.mark.parametrize(
    ("env", "remedy"),
    [
        ({}, "MQTT_USERNAME"),
        ({"MQTT_PASSWORD": SECRET}, "MQTT_USERNAME"),
        ({"MQTT_USERNAME": "Hub-1"}, "MQTT_PASSWORD"),
        ({"MQTT_USERNAME": "Hub-1", "MQTT_PASSWORD": "short"}, "32 random characters"),
        ({"MQTT_USERNAME": "Hub-1", "MQTT_PASSWORD_FILE": "/nowhere"}, "cannot be read"),
        ({"MQTT_USERNAME": "pump-1", "MQTT_PASSWORD": SECRET}, "unlike any device key"),
        ({"MOSQUITTO_CONF": "/nowhere"}, "cannot be read"),
    ],
)
@pytest.mark.usefixtures("mosquitto")
def test_no_broker_starts_without_a_proper_account(tmp_path: Path, env: dict[str, str], remedy: str) -> None:
    said = refusal(tmp_path, **env)
    assert remedy in said
    assert SECRET not in said


def test_on_debian_the_documented_command_keeps_plain_mqtt_on_the_machine() -> None:
    guide = (services.ROOT / "mosquitto/README.md").read_text()
    (command,) = re.findall(r"^(sed .+) mosquitto\.conf > ", guide, re.MULTILINE)
    conf = services.ROOT / "mosquitto/mosquitto.conf"
    made = subprocess.run(["sh", "-c", f"{command} {conf}"], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^listener .*$", made, re.MULTILINE) == ["listener 1883 127.0.0.1"]
    assert "/mosquitto/data" not in made.replace("/var/lib/mosquitto/", "")


def test_the_running_broker_shows_the_hubs_secret_to_nobody(mosquitto: services.Service) -> None:
    secret = mosquitto.url.partition("@")[0].rpartition(":")[2]
    process = Path(f"/proc/{mosquitto.pid}")
    if not process.exists():
        pytest.skip("needs Linux's /proc")
    assert secret not in (process / "cmdline").read_text()
    assert secret not in (process / "environ").read_text()
    assert secret not in mosquitto.log.read_text()
    for file in (mosquitto.log.parent / "mosquitto").iterdir():
        assert secret.encode() not in file.read_bytes()


@pytest.mark.usefixtures("mosquitto")
def test_a_later_start_needs_no_secret(tmp_path: Path) -> None:
    with services.mosquitto(tmp_path) as broker:
        before = (tmp_path / "mosquitto/dynamic-security.json").read_bytes()
        broker.stop()
        broker.start()
        assert (tmp_path / "mosquitto/dynamic-security.json").read_bytes() == before


async def test_a_message_of_the_largest_size_goes_through(mosquitto: services.Service) -> None:
    stand = Stand(mosquitto)
    await stand.reconcile()
    async with stand.hub() as hub:
        assert await hub.subscribe("hub/big")
        await hub.publish("hub/big", "x" * 65_537)
        assert await hub.heard() == ("hub/big", "x" * 65_537)
