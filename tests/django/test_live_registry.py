"""The registry is live: what is made, renamed, moved, disabled or deleted anywhere shows on every open page, soon."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from devices import registry, telemetry, wire
from devices.models import Device, Fleet, Head
from tests.django.conftest import NOW, Clients, frame

# --- devices that were made past the registry: they have no head


@pytest.fixture
def bare(greenhouse: Fleet) -> Device:
    return Device.objects.create(key="bare", fleet=greenhouse, secret_box="x")


def test_a_device_from_a_shell_is_shown_as_one_that_never_spoke(bare: Device, alice: User, api: Clients) -> None:
    listed = api(alice).get("/api/v1/devices/").json()["results"]
    assert [(one["key"], one["head"]["seq"], one["presence"]["state"]) for one in listed] == [("bare", 0, "never")]


@pytest.mark.parametrize("page", ["/", "/devices/bare/", "/devices/bare/state.json", "/admin/devices/device/"])
def test_a_device_from_a_shell_breaks_no_page(page: str, bare: Device, root: User, client: Client) -> None:
    client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(page).status_code == 200


@pytest.mark.parametrize("address", ["", "frames/", "commands/", "events/", "export/"])
def test_a_device_from_a_shell_can_be_asked_for(address: str, bare: Device, alice: User, api: Clients) -> None:
    assert api(alice).get(f"/api/v1/devices/bare/{address}").status_code == 200


def test_a_device_from_a_shell_can_be_commanded_and_deleted(bare: Device, alice: User, api: Clients) -> None:
    client = api(alice)
    assert client.post("/api/v1/devices/bare/commands/", {"name": "relay", "args": 1}).status_code == 201
    assert client.patch("/api/v1/devices/bare/", {"name": "Bare"}).json()["name"] == "Bare"
    assert client.delete("/api/v1/devices/bare/").status_code == 204


def test_a_device_from_a_shell_is_completed_by_the_sweep_and_can_then_be_heard(bare: Device, pump: Device) -> None:
    telemetry.record([frame(pump)], NOW)
    registry.complete()
    assert telemetry.record([frame(bare)], NOW).refused == []
    registry.complete()
    assert dict(Head.objects.values_list("device__key", "seq")) == {"bare": 1, "pump-1": 1}


def test_the_head_of_a_device_from_a_shell_is_not_stored_by_being_looked_at(bare: Device) -> None:
    assert Device.objects.get(key="bare").head.values == {}
    assert not Head.objects.exists()


# --- who rings


def test_a_name_that_a_device_gives_itself_rings_once(pump: Device, django_capture_on_commit_callbacks: Any) -> None:
    Device.objects.update(name="")
    with django_capture_on_commit_callbacks() as rung:
        registry.learn(wire.Announce(device="pump-1", name="Pump", model="P1"))
        registry.learn(wire.Announce(device="pump-1", name="Other", model="P2"))
    assert len(rung) == 1
