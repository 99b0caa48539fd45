"""provision: credentials for a device, from the command line."""

import json
import shlex
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from devices import registry, sealing
from devices.models import Device, Fleet


def provision(*words: str) -> str:
    out = StringIO()
    call_command("provision", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def refused(*words: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        provision(*words)
    return caught.value


def test_the_first_device_makes_the_fleet_main(db: None) -> None:
    provision("fan-1", "--name", "Fan")
    device = Device.objects.get()
    assert (device.key, device.name, device.fleet.slug) == ("fan-1", "Fan", "main")


def test_the_secret_is_printed_once_and_opens_the_device(greenhouse: Fleet) -> None:
    shown = provision("fan-1")
    secret = sealing.unseal(Device.objects.get().secret_box)
    assert f"secret:   {secret} " in shown
    assert "username: fan-1" in shown


def test_the_example_works_as_it_is_printed(greenhouse: Fleet, settings: Any) -> None:
    settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT = "mqtt.example.org", 8883
    words = shlex.split(provision("fan-1").strip().splitlines()[-1])
    asked = dict(zip(words[1::2], words[2::2], strict=True))
    secret = sealing.unseal(Device.objects.get().secret_box)
    assert words[0] == "mosquitto_pub"
    assert (asked["-h"], asked["-p"], asked["-u"], asked["-i"]) == ("mqtt.example.org", "8883", "fan-1", "fan-1")
    assert (asked["-P"], asked["-t"], json.loads(asked["-m"])) == (secret, "hub/fan-1/telemetry", {"temperature": 21.5})


def test_json_is_for_programs_and_nothing_else_is_printed(db: None) -> None:
    shown = json.loads(provision("fan-1", "--json"))
    assert set(shown) == {"key", "secret", "mqtt", "fleet", "gateway"}
    assert shown["mqtt"]["username"] == "fan-1"


def test_a_device_behind_a_gateway_is_told_through_whom_it_speaks(greenhouse: Fleet) -> None:
    provision("gw-1")
    assert "hub/gw-1/sub/fan-1/telemetry" in provision("fan-1", "--gateway", "gw-1")


def test_an_existing_device_is_refused_with_the_way_out(greenhouse: Fleet) -> None:
    provision("fan-1")
    error = refused("fan-1")
    assert "--rotate" in str(error)
    assert error.returncode == 1


def test_rotate_prints_a_new_secret(greenhouse: Fleet) -> None:
    old = json.loads(provision("fan-1", "--json"))["secret"]
    new = json.loads(provision("fan-1", "--rotate", "--json"))["secret"]
    assert old != new
    assert sealing.unseal(Device.objects.get().secret_box) == new


def test_rotate_needs_a_device_and_changes_nothing_else(greenhouse: Fleet) -> None:
    assert "no device" in str(refused("fan-1", "--rotate"))
    registry.create("fan-1", greenhouse)
    assert refused("fan-1", "--rotate", "--name", "Fan").returncode == 2


def test_several_fleets_ask_which(greenhouse: Fleet, brewery: Fleet) -> None:
    error = refused("fan-1")
    assert (error.returncode, "brewery, greenhouse" in str(error)) == (2, True)
    provision("fan-1", "--fleet", "brewery")
    assert Device.objects.get().fleet == brewery


@pytest.mark.parametrize("words", [["Fan"], ["fan-1", "--fleet", "nowhere"], ["fan-1", "--gateway", "nobody"]])
def test_what_cannot_be_is_one_sentence(words: list[str], greenhouse: Fleet) -> None:
    error = refused(*words)
    assert error.returncode == 1
    assert not Device.objects.exists()


def test_a_refused_device_leaves_no_fleet_behind(db: None) -> None:
    refused("Fan")
    assert not Fleet.objects.exists()
