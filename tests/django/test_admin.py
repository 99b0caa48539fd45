"""The administrator's pages: they open, and they change devices through the registry."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from devices import commands, registry, sealing
from devices.models import Device, Fleet, Membership, Reject
from tests.django.conftest import refuse

NEW = {"key": "fan-1", "name": "Fan", "gateway": "", "enabled": "on"}


@pytest.fixture
def admin(root: User, client: Client) -> Client:
    client.force_login(root)
    return client


def url(page: str, *args: Any) -> str:
    return reverse(f"admin:{page}", args=args)


def choose(admin: Client, action: str, *devices: Device) -> str:
    asked = {"action": action, "_selected_action": [device.pk for device in devices]}
    return admin.post(url("devices_device_changelist"), asked, follow=True).content.decode()


@pytest.mark.parametrize("model", ["device", "fleet", "command", "reject"])
def test_every_list_opens(model: str, admin: Client, pump: Device) -> None:
    commands.issue(pump, "relay", "on", user=None, now=1)
    refuse("pump-1", b"\xff", "not_utf8", topic="t")
    assert admin.get(url(f"devices_{model}_changelist"), {"q": "pump"}).status_code == 200


def test_every_form_opens(admin: Client, pump: Device, alice: User, say: Any) -> None:
    say(pump)
    command, _ = commands.issue(pump, "relay", "on", user=None, now=1)
    refuse("pump-1", b"\xff", "not_utf8", topic="t")
    pages = [
        url("devices_device_add"),
        url("devices_device_change", pump.pk),
        url("devices_fleet_add"),
        url("devices_fleet_change", pump.fleet.pk),
        url("devices_command_change", command.pk),
        url("devices_reject_change", Reject.objects.get().pk),
        url("auth_user_add"),
        url("auth_user_change", alice.pk),
    ]
    assert {page: admin.get(page).status_code for page in pages} == dict.fromkeys(pages, 200)


def test_a_new_device_shows_its_secret_once(
    admin: Client, greenhouse: Fleet, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as rung:
        answer = admin.post(url("devices_device_add"), {**NEW, "fleet": greenhouse.pk}, follow=True)
    device = Device.objects.get()
    assert sealing.unseal(device.secret_box) in answer.content.decode()
    assert sealing.unseal(device.secret_box) not in admin.get(url("devices_device_change", device.pk)).content.decode()
    assert (device.head.seq, len(rung)) == (0, 1)


def test_a_key_cannot_be_changed_and_other_things_ring(
    admin: Client, pump: Device, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as rung:
        asked = {**NEW, "name": "Big pump", "fleet": pump.fleet.pk}
        asked |= {"metrics-TOTAL_FORMS": 0, "metrics-INITIAL_FORMS": 0}
        assert admin.post(url("devices_device_change", pump.pk), asked).status_code == 302
    pump.refresh_from_db()
    assert (pump.key, pump.name, len(rung)) == ("pump-1", "Big pump", 1)


def test_a_gateway_that_does_not_fit_is_refused_in_the_form(admin: Client, pump: Device, greenhouse: Fleet) -> None:
    child, _ = registry.create("child", greenhouse, gateway=pump)
    answer = admin.post(url("devices_device_add"), {**NEW, "fleet": greenhouse.pk, "gateway": child.pk})
    assert "choose one that does not" in answer.content.decode()


def test_rotate_shows_the_new_secret(admin: Client, pump: Device) -> None:
    before = pump.secret_version
    shown = choose(admin, "rotate", pump)
    pump.refresh_from_db()
    assert pump.secret_version == before + 1
    assert sealing.unseal(pump.secret_box) in shown


def test_disable_takes_the_account_away_and_enable_gives_it_back(admin: Client, pump: Device) -> None:
    choose(admin, "disable", pump)
    assert registry.credentials() == []
    choose(admin, "enable", pump)
    assert [account.key for account in registry.credentials()] == ["pump-1"]


def test_deleting_asks_and_then_forgets_the_journal(
    admin: Client, pump: Device, say: Any, django_assert_max_num_queries: Any
) -> None:
    say(pump, 30)
    with django_assert_max_num_queries(10):
        asked = admin.get(url("devices_device_delete", pump.pk))
    assert "with its journal" in asked.content.decode()
    assert admin.post(url("devices_device_delete", pump.pk), {"post": "yes"}).status_code == 302
    assert not Device.objects.exists()


def test_a_gateway_is_not_deleted_under_its_devices(admin: Client, pump: Device, greenhouse: Fleet) -> None:
    registry.create("child", greenhouse, gateway=pump)
    admin.post(url("devices_device_delete", pump.pk), {"post": "yes"})
    assert Device.objects.count() == 2
    asked = {
        "action": "delete_selected",
        "_selected_action": list(Device.objects.values_list("pk", flat=True)),
        "post": 1,
    }
    admin.post(url("devices_device_changelist"), asked)
    assert not Device.objects.exists()


def test_a_fleet_gets_its_members(admin: Client, greenhouse: Fleet, charlie: User) -> None:
    asked = {
        "name": "Greenhouse",
        "slug": "greenhouse",
        "memberships-TOTAL_FORMS": 1,
        "memberships-INITIAL_FORMS": 0,
        "memberships-0-user": charlie.pk,
        "memberships-0-role": "operator",
        "memberships-0-fleet": greenhouse.pk,
    }
    assert admin.post(url("devices_fleet_change", greenhouse.pk), asked).status_code == 302
    assert Membership.objects.get(fleet=greenhouse).role == "operator"


def test_evidence_is_only_looked_at(admin: Client, pump: Device) -> None:
    command, _ = commands.issue(pump, "relay", "on", user=None, now=1)
    assert admin.get(url("devices_command_add")).status_code == 403
    assert admin.post(url("devices_command_delete", command.pk), {"post": "yes"}).status_code == 403


def test_who_is_no_administrator_is_sent_away(client: Client, alice: User) -> None:
    client.force_login(alice)
    assert client.get(url("devices_device_changelist")).status_code == 302
