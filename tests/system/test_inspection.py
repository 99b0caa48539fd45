"""What the doctor finds open: at a broker that is set up badly, and at ours; in a data folder; among people."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from bridge import mqtt
from bridge.accounts import Account
from devices.models import Device
from hub import checks, doctor, env, inspection
from hub.inspection import Patient, Sick, Unwise
from tests import services
from tests.services import LOOPBACK
from tests.system.conftest import opened
from tests.system.stands import Stand


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Service]:
    """A broker as found on many a machine: everybody may do everything."""
    folder = tmp_path_factory.mktemp("careless")
    port = services.free_port()
    (folder / "careless.conf").write_text(f"listener {port} {LOOPBACK}\nallow_anonymous true\n")

    def service() -> services.Service:
        command = [services.need("mosquitto"), "-c", folder / "careless.conf"]
        return services.Service(command, port, f"mqtt://{LOOPBACK}:{port}", folder / "careless.log")

    try:
        made = service()
    except services.Missing as missing:
        pytest.skip(str(missing))
    yield from opened(services.running(made))


def patient(key: str, secret: str, port: int) -> Patient:
    url = mqtt.MqttUrl(scheme="mqtt", host=LOOPBACK, port=port, username=key, password=secret)
    return Patient(Device(key=key), secret, url)


@pytest.fixture
def two(careless: services.Service) -> tuple[Patient, Patient]:
    return patient("one", "x", careless.port), patient("other", "y", careless.port)


@pytest.fixture
async def ours(broker: Stand) -> tuple[Patient, Patient]:
    """Two devices on the shipped Mosquitto."""
    accounts = [Account(key=key, secret=secrets.token_hex(16), version=1) for key in ("one", "other")]
    await broker.reconcile(*accounts)
    one, other = (patient(account.key, account.secret, broker.service.port) for account in accounts)
    return one, other


@pytest.fixture
def bridges_own(broker: Stand, settings: Settings) -> None:
    settings.MQTT = env.mqtt_address(broker.service.url)


# --- brokers


async def test_a_broker_that_lets_strangers_in_is_sick(two: tuple[Patient, Patient]) -> None:
    with pytest.raises(Sick, match="without a login"):
        await inspection.strangers(two[0])


async def test_a_broker_without_walls_is_sick(two: tuple[Patient, Patient]) -> None:
    with pytest.raises(Sick, match="needs ACLs"):
        await inspection.walls(two[0])


async def test_a_broker_where_one_device_cuts_another_off_is_sick(
    two: tuple[Patient, Patient], settings: Settings
) -> None:
    settings.MQTT = env.mqtt_address("mqtt://localhost")
    with pytest.raises(Sick, match="client ids"):
        await inspection.names(*two)


async def test_ours_withstands_all_that(ours: tuple[Patient, Patient]) -> None:
    assert "lets nobody in" in await inspection.strangers(ours[0])
    assert "hears nothing" in await inspection.walls(ours[0])
    assert "no device can" in await inspection.names(*ours)


@pytest.mark.usefixtures("bridges_own")
async def test_the_version_is_asked_with_the_bridges_own_login() -> None:
    try:
        said = await inspection.version()
    except Unwise as unwise:  # as it is with Debian 12's
        said = str(unwise)
    assert said.startswith("mosquitto version 2.")


def test_an_old_version_is_unwise_and_may_have_been_mended_by_its_distribution() -> None:
    with pytest.raises(Unwise, match=r"CVE-2024-8376.*2\.0\.11-1\.2\+deb12u2"):
        inspection.judged("mosquitto version 2.0.11")
    assert "nothing is known" in inspection.judged("mosquitto version 2.1.2")


@pytest.mark.usefixtures("bridges_own")
async def test_a_wrong_login_of_the_bridge_is_told(broker: Stand, settings: Settings) -> None:
    settings.MQTT = env.mqtt_address(f"mqtt://Hub-1:wrong@{LOOPBACK}:{broker.service.port}")
    with pytest.raises(Sick, match="MQTT_URL"):
        await inspection.version()


async def test_who_answers_in_plain_mqtt_is_noticed(careless: services.Service, broker: Stand) -> None:
    assert await inspection.takes_plain(LOOPBACK, careless.port)
    assert await inspection.takes_plain(LOOPBACK, broker.service.port), "it refuses, but it was told the password"
    assert not await inspection.takes_plain(LOOPBACK, services.free_port())


@pytest.mark.parametrize(("tls", "scheme"), [(True, "mqtts"), (False, "mqtt")])
def test_the_doctor_connects_as_devices_are_told_to(settings: Settings, tmp_path: Path, tls: bool, scheme: str) -> None:
    settings.MQTT = env.mqtt_address("mqtt://localhost")
    settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT, settings.MQTT_PUBLIC_TLS = "hub.example.org", 8883, tls
    settings.MQTT_CA = tmp_path / "ca.crt"
    found = doctor.address()
    assert (found.scheme, found.host, found.port, found.ca) == (scheme, "hub.example.org", 8883, str(settings.MQTT_CA))


# --- the data folder


@pytest.fixture
def data(tmp_path: Path, settings: Settings) -> Iterator[Path]:
    settings.HUB_DATA = tmp_path / "data"
    settings.HUB_DATA.mkdir(mode=0o700)
    for name in inspection.KEYS:
        (settings.HUB_DATA / name).touch(mode=0o600)
    yield Path(settings.HUB_DATA)
    for name in inspection.KEYS:
        (settings.HUB_DATA / name).chmod(0o600)


def test_a_folder_of_its_owners_alone_is_well(data: Path) -> None:
    (data / "secret_key").chmod(0o644)
    assert "its owner's alone" in inspection.folder()


def test_a_folder_that_others_may_enter_is_unwise(data: Path) -> None:
    data.chmod(0o755)
    with pytest.raises(Unwise, match="chmod 700"):
        inspection.folder()


@pytest.mark.parametrize("name", inspection.KEYS)
def test_a_key_that_others_may_read_is_sick(data: Path, name: str) -> None:
    data.chmod(0o755)
    (data / name).chmod(0o640)
    with pytest.raises(Sick, match=name):
        inspection.folder()


def test_what_the_hub_makes_is_its_owners_alone(tmp_path: Path, settings: Settings) -> None:
    settings.HUB_DATA = tmp_path / "new"
    env.read({"HUB_DATA": str(settings.HUB_DATA)})
    assert "its owner's alone" in inspection.folder()


# --- people


@pytest.mark.django_db
@pytest.mark.parametrize("guess", ["mighty", ""])
def test_an_administrator_with_the_first_password_anybody_tries_is_sick(guess: str) -> None:
    User.objects.create_superuser("mighty", password="correct horse battery")
    assert "administrators: 1" in inspection.people()
    user = User.objects.get()
    user.set_password(guess)
    user.save()
    with pytest.raises(Sick, match="changepassword mighty"):
        inspection.people()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "make", [lambda user: user.set_unusable_password(), lambda user: setattr(user, "password", "")]
)
def test_an_administrator_without_a_password_is_unwise(make: Callable[[User], None]) -> None:
    user = User.objects.create_superuser("mighty", password="correct horse battery")
    make(user)
    user.save()
    with pytest.raises(Unwise, match="mighty has no password"):
        inspection.people()


# --- the settings


@pytest.mark.parametrize(("key", "well"), [("short", False), ("Zk3-pQ9_" * 8, True)])
def test_what_check_deploy_calls_an_error_is_sick(data: Path, settings: Settings, key: str, well: bool) -> None:
    settings.ENV = env.read({"SECRET_KEY": key, "HUB_DATA": str(data), "DATABASE_URL": "sqlite:///x"})
    settings.MQTT = env.mqtt_address("mqtt://localhost")
    said: list[tuple[str, str, str]] = []
    assert doctor.settled(lambda *line: said.append(line)) is well
    assert [verdict for verdict, _, _ in said] == (["unwise"] if well else ["sick", "unwise"])
    assert len(said) == len(list(checks.mistakes(settings.ENV)))
