"""The administrator's pages: they open, and they change devices through the registry."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from devices import commands, intake, registry, sealing, wire
from devices.models import Device, Fleet, Frame, Membership, Reject
from tests.django.conftest import refuse

HOSTILE = "<script>alert(1)</script>"
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


def decide(client: Client, action: str, *rows: Reject) -> str:
    asked = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(url("devices_reject_changelist"), asked, follow=True).content.decode()


def test_rejects_are_summed_up_by_device_and_reason_and_filtered_by_both(admin: Client, pump: Device) -> None:
    for payload in (b"1", b"2", b"2"):
        refuse(payload=payload)
    refuse(key="", topic="nowhere", detail=HOSTILE)
    html = admin.get(url("devices_reject_changelist")).content.decode()
    assert "?key=%3Dpump-1&amp;reason__exact=not_json" in html
    assert "(none named)" in html
    assert HOSTILE not in html
    one = admin.get(url("devices_reject_changelist"), {"key": "=", "reason__exact": "not_json"})
    assert [row.topic for row in one.context["cl"].result_list] == ["nowhere"]


def test_a_reject_is_shown_as_text_and_hex_with_the_fault_marked(admin: Client, pump: Device) -> None:
    refuse(payload=b'{"a": \xff, "b": "%s"}' % HOSTILE.encode(), reason="not_utf8", position=6, detail=HOSTILE)
    html = admin.get(url("devices_reject_change", Reject.objects.get().pk)).content.decode()
    assert "<mark>\\xff</mark>" in html
    assert "7b 22 61 22 3a 20 <mark>ff</mark> 2c" in html
    assert "00000  " in html
    assert HOSTILE not in html


def test_chosen_rejects_are_replayed_or_discarded(admin: Client, greenhouse: Fleet) -> None:
    for level in range(3):
        message = wire.Message(topic="hub/tank/telemetry", payload=b'{"level": %d}' % level, received_at=1)
        intake.take([message], {}, 1)
    registry.create("tank", greenhouse)
    first, second, third = Reject.objects.order_by("pk")
    assert "Replayed 2: 2 frames stored" in decide(admin, "replay", first, second)
    assert Frame.objects.count() == 2
    assert "Discarded 1." in decide(admin, "discard", third)
    assert not Reject.objects.exists()


def test_an_administrator_of_some_things_only_looks(client: Client, pump: Device) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_reject"))
    client.force_login(clerk)
    refuse()
    assert "not_json" in client.get(url("devices_reject_changelist")).content.decode()
    for action in ("replay", "discard", "delete_selected"):
        decide(client, action, Reject.objects.get())
    assert Reject.objects.get().count == 1


def test_who_is_no_administrator_is_sent_away(client: Client, alice: User) -> None:
    client.force_login(alice)
    assert client.get(url("devices_device_changelist")).status_code == 302
