"""MQTT over TLS: the shipped script makes the certificates, the shipped files the broker, and the hub trusts it."""

import asyncio
import os
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiomqtt
import pytest

from tests import services
from tests.hub import Demo, eventually, running_demo
from tests.services import LOOPBACK, ROOT, Mosquitto
from tests.system.conftest import opened
from tests.system.stands import PATIENCE_S, Stand

NAMES: Final = ("localhost",)
CERTIFICATES: Final = ["sh", ROOT / "mosquitto/certificates.sh"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return services.certificates(tmp_path_factory.mktemp("certificates"), *NAMES)


@pytest.fixture(scope="module")
def broker(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    yield from opened(services.mosquitto(tmp_path_factory.mktemp("mosquitto"), certificates))


@pytest.fixture(scope="module")
def demo(broker: Mosquitto, certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A hub whose bridge reaches the broker over TLS alone."""
    address = f"mqtts://{broker.user}:{broker.secret}@localhost:{broker.tls_port}"
    env = {"MQTT_URL": address, "MQTT_CA": str(authority(certificates)), "BROKER_ACCOUNTS": "dynsec"}
    yield from opened(running_demo(tmp_path_factory.mktemp("demo"), devices=1, **env))


def authority(certificates: Path) -> Path:
    return certificates / "public" / "ca.crt"


async def handshake(broker: Mosquitto, trusted: ssl.SSLContext, host: str = "localhost") -> bytes:
    """The certificate that the broker shows, once it is believed."""
    async with asyncio.timeout(PATIENCE_S):
        _, writer = await asyncio.open_connection(host, broker.tls_port, ssl=trusted)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
    return found


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


async def test_who_trusts_the_authority_believes_the_broker(broker: Mosquitto, certificates: Path) -> None:
    assert await handshake(broker, ssl.create_default_context(cafile=authority(certificates)))


async def test_who_does_not_trust_it_refuses_the_broker(broker: Mosquitto) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(broker, ssl.create_default_context())


async def test_another_authority_of_the_same_name_does_not_vouch_for_it(broker: Mosquitto, tmp_path: Path) -> None:
    other = services.certificates(tmp_path, *NAMES)
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(broker, ssl.create_default_context(cafile=authority(other)))


async def test_a_name_that_is_not_in_the_certificate_is_refused(broker: Mosquitto, certificates: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        await handshake(broker, ssl.create_default_context(cafile=authority(certificates)), host=LOOPBACK)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_what_is_older_than_tls_1_2_is_refused(broker: Mosquitto, version: ssl.TLSVersion) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")  # or our own side would not even try
    old.minimum_version = old.maximum_version = version
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        await handshake(broker, old)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(broker: Mosquitto, certificates: Path, version: ssl.TLSVersion) -> None:
    trusted = ssl.create_default_context(cafile=authority(certificates))
    trusted.minimum_version = trusted.maximum_version = version
    assert await handshake(broker, trusted)


async def test_nobody_gets_in_without_a_login(broker: Mosquitto, certificates: Path) -> None:
    trusted = ssl.create_default_context(cafile=authority(certificates))
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        async with aiomqtt.Client("localhost", broker.tls_port, tls_context=trusted, timeout=PATIENCE_S):
            pass


async def test_a_renewed_certificate_is_taken_without_cutting_anybody_off(tmp_path: Path) -> None:
    own = services.certificates(tmp_path / "certificates", *NAMES)
    trusted = ssl.create_default_context(cafile=authority(own))
    with services.mosquitto(tmp_path, own) as broker:
        stand = Stand(broker)
        await stand.reconcile()
        before = await handshake(broker, trusted)
        async with stand.hub(port=broker.tls_port, tls_context=trusted) as client:
            assert await client.subscribe("hub/somebody/telemetry")
            services.certificates(own, *NAMES, "hub.example.org")
            broker.renew()
            async with asyncio.timeout(PATIENCE_S):
                while await handshake(broker, trusted) == before:
                    pass
            await client.publish("hub/somebody/telemetry", "still here")
            assert await client.heard() == ("hub/somebody/telemetry", "still here")


def test_a_broker_that_has_no_certificate_yet_says_that_it_is_to_be_restarted(tmp_path: Path) -> None:
    with services.mosquitto(tmp_path) as broker:
        renewed = subprocess.run(
            [*broker.entrypoint, "renew"], env=broker.environment, capture_output=True, text=True, check=False
        )
        assert renewed.returncode == 1
        assert "restart it once" in renewed.stderr
        assert "no TLS" in broker.log.read_text()


# --- the files


def test_the_keys_are_their_owners_alone(broker: Mosquitto, certificates: Path) -> None:
    assert modes(certificates / "authority") == {"ca.key": 0o600}
    assert modes(certificates / "server")["privkey.pem"] == 0o600
    assert modes(broker.folder / "mosquitto" / "tls") == {"privkey.pem": 0o600, "fullchain.pem": 0o600}
    assert modes(certificates / "public") == {"ca.crt": 0o644, "ca.der": 0o644}


def test_nothing_is_made_anew_as_long_as_it_is_good(certificates: Path) -> None:
    before = {path: path.read_bytes() for path in certificates.rglob("*") if path.is_file()}
    services.certificates(certificates, *NAMES)
    assert {path: path.read_bytes() for path in certificates.rglob("*") if path.is_file()} == before


def test_other_names_make_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    first = services.certificates(tmp_path, *NAMES)
    trusted, keys = authority(first).read_bytes(), (first / "server/privkey.pem").read_bytes()
    services.certificates(tmp_path, "hub.example.org", "2001:db8::1")
    assert authority(first).read_bytes() == trusted
    assert (first / "server/privkey.pem").read_bytes() != keys
    command = ["openssl", "x509", "-in", first / "server/fullchain.pem", "-noout", "-ext", "subjectAltName"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "DNS:hub.example.org, IP Address:2001:DB8:0:0:0:0:0:1" in said


@pytest.mark.parametrize(
    ("names", "gone", "said"),
    [
        ((), "", "name the hosts"),
        (("hub.example.org; rm",), "", "is neither a host name nor an address"),
        (("other.example.org",), "authority/ca.key", "bring it back"),
        (NAMES, "public/ca.crt", "begin anew"),
    ],
)
def test_an_authority_is_never_replaced_behind_ones_back(
    certificates: Path, tmp_path: Path, names: tuple[str, ...], gone: str, said: str
) -> None:
    subprocess.run(["cp", "-a", f"{certificates}/.", tmp_path], check=True)
    if gone:
        (tmp_path / gone).unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    env = os.environ | {"CERTIFICATES": str(tmp_path)}
    ended = subprocess.run([*CERTIFICATES, *names], env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


# --- the hub


def test_readings_and_commands_go_through_a_bridge_that_speaks_tls(demo: Demo) -> None:
    eventually(lambda: demo.ask("GET", "devices/sim-climate-1/")["head"]["seq"] > 1, "no reading came over TLS")
    order = demo.ask("POST", "devices/sim-climate-1/commands/", json={"name": "interval", "args": 1, "ttl_s": 30})
    eventually(lambda: demo.ask("GET", f"commands/{order['id']}/")["state"] == "succeeded", "it was not answered")


def test_a_device_that_knows_nothing_of_us_publishes_with_the_authority_alone(
    demo: Demo, broker: Mosquitto, certificates: Path
) -> None:
    device = demo.add_device("sensor")
    command = ["mosquitto_pub", "-h", "localhost", "-p", str(broker.tls_port), "--cafile", authority(certificates)]
    login = ["-i", device.key, "-u", device.key, "-P", device.secret]
    message = ["-q", "1", "-t", f"hub/{device.key}/telemetry", "-m", '{"temperature":21.5}']
    eventually(lambda: subprocess.run([*command, *login, *message], capture_output=True, check=False).returncode == 0)
    eventually(lambda: demo.frames(device.key), "the reading did not arrive")


def test_devices_are_told_the_encrypted_address(demo: Demo, broker: Mosquitto) -> None:
    told = demo.ask("POST", "devices/", json={"key": "told"})["mqtt"]
    assert (told["host"], told["port"]) == ("localhost", broker.tls_port)
