"""Devices and fleets: who may see and do what, keys, secrets, and what devices say about themselves."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError

from devices import learning, registry, sealing, telemetry, wire
from devices.errors import Refusal
from devices.models import Device, Fleet, Head, Membership, Metric, Role
from devices.values import Bad
from tests.django.together import together

NOW = 1_790_000_000_000


@pytest.fixture
def cellar(db: None) -> Fleet:
    return Fleet.objects.create(slug="cellar", name="Cellar")


@pytest.fixture
def tank(cellar: Fleet) -> Device:
    return registry.create("tank", cellar)[0]


def member(fleet: Fleet, role: str, **kind: Any) -> User:
    user = User.objects.create_user(f"user-{User.objects.count()}", **kind)
    if role:
        Membership.objects.create(fleet=fleet, user=user, role=role)
    return user


# --- who may see and do what


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("", []),
        ("viewer", ["viewer"]),
        ("operator", ["viewer", "operator"]),
        ("manager", ["viewer", "operator", "manager"]),
    ],
)
def test_each_role_includes_those_before_it(tank: Device, role: str, may: list[str]) -> None:
    user = member(tank.fleet, role)
    assert [each.value for each in Role if tank in registry.visible_to(user, each)] == may
    for each in Role:
        if each.value in may:
            assert registry.find(user, "tank", each) == tank
        else:
            with pytest.raises(Refusal) as refused:
                registry.find(user, "tank", each)
            assert refused.value.status == (403 if may else 404)


def test_what_may_not_be_seen_looks_like_what_does_not_exist(tank: Device) -> None:
    stranger = member(Fleet.objects.create(slug="attic", name="Attic"), "manager")
    for key in ("tank", "nothing"):
        with pytest.raises(Refusal) as refused:
            registry.find(stranger, key, Role.MANAGER)
        assert (refused.value.status, refused.value.code) == (404, "device_unknown")
        assert refused.value.message == f"There is no device {key!r}, or you may not see it."


def test_a_role_in_one_fleet_is_none_in_another(tank: Device) -> None:
    user = member(Fleet.objects.create(slug="attic", name="Attic"), "manager")
    Membership.objects.create(fleet=tank.fleet, user=user, role="viewer")
    assert registry.find(user, "tank") == tank
    with pytest.raises(Refusal, match="In the fleet Cellar this takes the role operator; ask a manager"):
        registry.find(user, "tank", Role.OPERATOR)


def test_a_superuser_may_everything_and_an_inactive_one_nothing(tank: Device) -> None:
    root = member(tank.fleet, "", is_superuser=True)
    assert registry.find(root, "tank", Role.MANAGER) == tank
    root.is_active = False
    assert not registry.visible_to(root).exists()


@pytest.mark.parametrize("role", list(Role))
def test_an_inactive_member_and_nobody_see_nothing(tank: Device, role: Role) -> None:
    assert not registry.visible_to(member(tank.fleet, "manager", is_active=False), role).exists()
    assert not registry.visible_to(AnonymousUser(), role).exists()


@pytest.mark.parametrize("key", ["a\0", "\ud800", "x" * 1000, "", "Tank"])
def test_what_is_no_key_is_unknown_and_asks_no_database(tank: Device, key: str) -> None:
    with pytest.raises(Refusal) as refused:
        registry.find(member(tank.fleet, "manager"), key)
    assert refused.value.status == 404


# --- create, rotate, remove


@pytest.mark.parametrize("key", ["", "-a", "Tank", "a b", "a/b", "a\n", "a\0", "é", "x" * 64, "+", "#"])
def test_a_bad_key_is_refused_with_what_a_key_is(cellar: Fleet, key: str) -> None:
    with pytest.raises(Refusal, match="must have lower case letters, digits, - and _ alone") as refused:
        registry.create(key, cellar)
    assert (refused.value.code, refused.value.fields) == ("invalid", {"key": "is not a valid device key"})


def test_a_key_is_given_once_over_all_fleets(tank: Device) -> None:
    with pytest.raises(Refusal, match="A device 'tank' exists already; choose another key") as refused:
        registry.create("tank", Fleet.objects.create(slug="attic", name="Attic"))
    assert refused.value.status == 409
    assert Device.objects.count() == Head.objects.count() == 1


def test_a_secret_is_shown_once_and_kept_sealed(cellar: Fleet) -> None:
    device, secret = registry.create("tank", cellar)
    assert len(secret) >= 43
    assert secret not in device.secret_box
    assert sealing.unseal(device.secret_box) == secret
    assert registry.credentials() == [registry.Credentials("tank", secret, device.secret_version)]


def test_each_rotation_makes_another_secret_and_the_version_grow(tank: Device) -> None:
    before = tank.secret_version
    secrets = {registry.rotate(tank) for _ in range(3)}
    assert len(secrets) == 3
    (account,) = registry.credentials()
    assert (account.version - before, account.secret in secrets) == (3, True)


@pytest.mark.django_db(transaction=True)
def test_two_rotations_at_once_are_two_versions() -> None:
    tank, _ = registry.create("tank", Fleet.objects.create(slug="cellar", name="Cellar"))
    together(*[lambda: registry.rotate(tank)] * 3)
    assert registry.account_versions() == {"tank": tank.secret_version + 3}


def test_a_disabled_device_and_a_gateways_child_have_no_account(tank: Device) -> None:
    registry.create("valve", tank.fleet, gateway=tank)
    off, _ = registry.create("off", tank.fleet)
    registry.change(off, {"enabled": False})
    assert list(registry.account_versions()) == ["tank"]
    directory = registry.directory()
    assert {key: (entry.enabled, entry.gateway) for key, entry in directory.items()} == {
        "tank": (True, None),
        "valve": (True, "tank"),
        "off": (False, None),
    }


def test_a_device_goes_with_all_that_it_said(tank: Device) -> None:
    telemetry.record([wire.Frame(device="tank", values={"t": 1}, received_at=NOW)], NOW)
    registry.remove(tank)
    assert [model.objects.count() for model in (Device, Head, Metric)] == [0, 0, 0]
    again, _ = registry.create("tank", tank.fleet)
    assert telemetry.after(again.pk, 0, 9) == []


def test_a_gateway_with_children_stays(tank: Device) -> None:
    registry.create("valve", tank.fleet, gateway=tank)
    with pytest.raises(Refusal, match="Other devices speak through this gateway; move or delete them first"):
        registry.remove(tank)


@pytest.mark.django_db
def test_every_change_rings_the_bridges(django_capture_on_commit_callbacks: Any) -> None:
    fleet = Fleet.objects.create(slug="cellar", name="Cellar")
    with django_capture_on_commit_callbacks() as rung:
        tank, _ = registry.create("tank", fleet)
        registry.rotate(tank)
        registry.change(tank, {"enabled": False})
        registry.remove(tank)
    assert len(rung) == 4


# --- the fleet for a new device


def test_a_device_goes_into_the_only_fleet_that_one_manages(cellar: Fleet) -> None:
    manager = member(cellar, "manager")
    Membership.objects.create(fleet=Fleet.objects.create(slug="attic", name="Attic"), user=manager, role="operator")
    assert registry.fleet_for(manager, None) == cellar
    assert registry.fleet_for(manager, "cellar") == cellar


@pytest.mark.parametrize(
    ("slug", "message", "status"),
    [
        (None, "You manage several fleets; say which with `fleet`.", 400),
        ("nowhere", "There is no fleet 'nowhere' that you manage.", 404),
    ],
)
def test_of_several_fleets_one_has_to_be_named(cellar: Fleet, slug: str | None, message: str, status: int) -> None:
    manager = member(cellar, "manager")
    Membership.objects.create(fleet=Fleet.objects.create(slug="attic", name="Attic"), user=manager, role="manager")
    with pytest.raises(Refusal) as refused:
        registry.fleet_for(manager, slug)
    assert (refused.value.message, refused.value.status) == (message, status)


def test_who_manages_nothing_puts_a_device_nowhere(cellar: Fleet) -> None:
    with pytest.raises(Refusal) as refused:
        registry.fleet_for(member(cellar, "operator"), None)
    assert refused.value.status == 403


# --- what devices say about themselves


def learn(**said: Any) -> Device:
    learning.learn(wire.Announce(device="tank", **said))
    return Device.objects.get(key="tank")


def metrics() -> dict[str, tuple[str, str, str]]:
    rows = Metric.objects.values_list("name", "unit", "device_class", "type")
    return {name: (unit, device_class, type_) for name, unit, device_class, type_ in rows}


def test_only_what_is_given_changes(tank: Device) -> None:
    learn(name="Tank", model="T1", fw="1", commands={"led": {"type": "bool"}})
    device = learn(fw="2", commands={"mode": {"type": "enum", "options": ["a"]}})
    assert (device.name, device.model, device.firmware) == ("Tank", "T1", "2")
    assert device.commands == {"led": {"type": "bool"}, "mode": {"type": "enum", "options": ["a"]}}


def test_a_command_announced_again_is_described_anew(tank: Device) -> None:
    learn(commands={"led": {"type": "number", "min": 0}})
    assert learn(commands={"led": {"type": "bool"}}).commands == {"led": {"type": "bool"}}


def test_a_device_does_not_rename_itself_after_a_person_named_it(tank: Device) -> None:
    registry.change(tank, {"name": "Rain water"})
    assert learn(name="ESP-3F2A").name == "Rain water"


def test_a_metric_is_what_was_announced_else_what_everybody_knows(tank: Device) -> None:
    learn(metrics={"temperature": {"unit": "K"}, "humidity": {}, "foo": {"unit": "bar", "class": "pressure"}})
    assert metrics() == {
        "temperature": ("K", "temperature", ""),
        "humidity": ("%", "humidity", ""),
        "foo": ("bar", "pressure", ""),
    }


def test_an_announcement_mends_what_was_guessed_and_keeps_the_type(tank: Device) -> None:
    telemetry.record([wire.Frame(device="tank", values={"temperature": 70}, received_at=NOW)], NOW)
    learn(metrics={"temperature": {"unit": "°F"}})
    assert metrics() == {"temperature": ("°F", "temperature", "number")}


def test_nobody_learns_from_a_device_that_does_not_exist(cellar: Fleet) -> None:
    learning.learn(wire.Announce(device="tank", metrics={"t": {}}))
    assert not Metric.objects.exists()


def test_500_metrics_and_200_commands_are_learned_and_one_more_is_refused_whole(tank: Device) -> None:
    learn(metrics={f"m{number}": {} for number in range(500)})
    learn(commands={f"c{number}": {"type": "bool"} for number in range(200)})
    with pytest.raises(Bad, match="too_many_metrics: more than 500 metrics; announce fewer"):
        learn(fw="9", metrics={"m0": {"unit": "V"}, "one more": {}})
    with pytest.raises(Bad, match="too_many_metrics: more than 200 commands; announce fewer"):
        learn(fw="9", commands={"one more": {"type": "bool"}})
    assert learn(metrics={"m0": {"unit": "V"}}, commands={"c0": {"type": "action"}}).firmware == ""
    assert metrics()["m0"] == ("V", "", "")


def test_a_secret_sealed_under_another_key_costs_its_device_only(
    cellar: Fleet, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry.create("old-1", cellar)
    settings.SECRET_KEY = "another key than the one before, as after a restored backup"
    _, secret = registry.create("new-1", cellar)
    assert [(one.key, one.secret) for one in registry.credentials()] == [("new-1", secret)]
    assert "old-1" in caplog.text
    assert "rotate" in caplog.text


def test_a_key_with_a_newline_behind_it_is_no_key(cellar: Fleet) -> None:
    with pytest.raises(ValidationError):
        Device(key="pump-1\n", fleet=cellar, secret_box="-").full_clean()


def test_a_device_made_again_under_its_key_is_another_one_to_the_broker(cellar: Fleet) -> None:
    registry.create("tank", cellar)
    before = registry.account_versions()
    registry.remove(Device.objects.get(key="tank"))
    registry.create("tank", cellar)
    assert registry.account_versions() != before
