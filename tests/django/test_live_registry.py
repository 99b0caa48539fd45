"""The registry is live: what is made, renamed, moved, disabled or deleted anywhere shows on every open page, soon."""

import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from channels.layers import channel_layers
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from dashboard import calls, fanout, permits
from dashboard.protocol import Call
from devices import learning, registry, telemetry, wire
from devices.models import Device, Fleet, Head
from tests.django.conftest import NOW, Clients, frame
from tests.django.live import Live, publish, run, signed_in, token

pytest_plugins = ("tests.django.live_fixtures",)

Way = Callable[..., None]

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
        learning.learn(wire.Announce(device="pump-1", name="Pump", model="P1"))
        learning.learn(wire.Announce(device="pump-1", name="Other", model="P2"))
    assert len(rung) == 1


# --- every way to change something


def by_service(device: Device, **changes: Any) -> None:
    registry.change(device, changes)  # type: ignore[arg-type]  # as they are


def by_rest(device: Device, **changes: Any) -> None:
    answer = administrators_api().patch(f"/api/v1/devices/{device.key}/", _by_slug(changes))
    assert answer.status_code == 200, answer.content


def by_call(device: Device, **changes: Any) -> None:
    called("PATCH", f"devices/{device.key}/", _by_slug(changes))


def by_admin(device: Device, **changes: Any) -> None:
    form = {"name": device.name, "fleet": device.fleet_id, "gateway": "", "enabled": device.enabled, **NO_METRICS}
    form |= {name: value.pk if isinstance(value, Fleet) else value for name, value in changes.items()}
    if not form["enabled"]:
        del form["enabled"]
    in_admin("change", form, device.pk)


def by_admins_action(device: Device, *, enabled: bool) -> None:
    assert not enabled
    in_admin("changelist", {"action": "disable", "_selected_action": [device.pk]})


def by_save(device: Device, **changes: Any) -> None:
    for name, value in changes.items():
        setattr(device, name, value)
    device.save()


def by_update(device: Device, **changes: Any) -> None:
    Device.objects.filter(pk=device.pk).update(**changes)


def by_sql(device: Device, **changes: Any) -> None:
    for name, value in changes.items():
        column, given = ("fleet_id", value.pk) if isinstance(value, Fleet) else (name, value)
        sql(f"UPDATE devices_device SET {column} = %s WHERE id = %s", given, device.pk)  # noqa: S608  a column's name


def create_by_page(fleet: Fleet) -> None:
    signed_in_browser().post("/add/", {"key": "new-1", "name": "New", "fleet": fleet.slug})


def create_by_service(fleet: Fleet) -> None:
    registry.create("new-1", fleet, "New")


def create_by_rest(fleet: Fleet) -> None:
    asked = {"key": "new-1", "name": "New", "fleet": fleet.slug}
    assert administrators_api().post("/api/v1/devices/", asked).status_code == 201


def create_by_call(fleet: Fleet) -> None:
    called("POST", "devices/", {"key": "new-1", "name": "New", "fleet": fleet.slug})


def create_by_admin(fleet: Fleet) -> None:
    in_admin("add", {"key": "new-1", "name": "New", "fleet": fleet.pk, "gateway": "", "enabled": "on"})


def create_by_shell(fleet: Fleet) -> None:
    Device.objects.create(key="new-1", name="New", fleet=fleet, secret_box="x")


def create_by_save(fleet: Fleet) -> None:
    Device(key="new-1", name="New", fleet=fleet, secret_box="x").save()


def create_by_sql(fleet: Fleet) -> None:
    columns = "key, name, fleet_id, secret_box, enabled, secret_version, model, firmware, commands, created_at, "
    columns += "settings, remembers, answers, wanted"
    rest = "'x', true, 1, '', '', '{}', CURRENT_TIMESTAMP, '{}', 0, false, 0"
    sql(f"INSERT INTO devices_device ({columns}) VALUES ('new-1', 'New', %s, {rest})", fleet.pk)  # noqa: S608  ours


def delete_by_service(device: Device) -> None:
    registry.remove(device)


def delete_by_rest(device: Device) -> None:
    assert administrators_api().delete(f"/api/v1/devices/{device.key}/").status_code == 204


def delete_by_call(device: Device) -> None:
    called("DELETE", f"devices/{device.key}/")


def delete_by_admin(device: Device) -> None:
    in_admin("delete", {"post": "yes"}, device.pk)


def delete_by_admins_action(device: Device) -> None:
    in_admin("changelist", {"action": "delete_selected", "_selected_action": [device.pk], "post": "yes"})


def delete_by_shell(device: Device) -> None:
    device.delete()


def delete_by_queryset(device: Device) -> None:
    Device.objects.filter(pk=device.pk).delete()


def delete_by_sql(device: Device) -> None:
    sql("DELETE FROM devices_head WHERE device_id = %s", device.pk)
    sql("DELETE FROM devices_device WHERE id = %s", device.pk)


def _by_slug(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value.slug if isinstance(value, Fleet) else value for name, value in changes.items()}


def administrators_api() -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token(User.objects.get(username='root'))}")
    return client


def signed_in_browser() -> Client:
    client = Client()
    client.force_login(User.objects.get(username="root"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def in_admin(page: str, form: dict[str, Any], *args: Any) -> None:
    answer = signed_in_browser().post(reverse(f"admin:devices_device_{page}", args=args), form)
    assert answer.status_code == 302, answer.content


def called(method: Any, path: str, body: Any = None) -> None:
    raw = msgspec.Raw(b"" if body is None else msgspec.json.encode(body))
    message = Call(id="k", method=method, path=path, body=raw)
    who: Any = SimpleNamespace(pass_=permits.let_in(User.objects.get(username="root")))
    assert calls.call(who, message, {"type": "websocket", "headers": []}).status < 300


def sql(statement: str, *args: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, args)


NO_METRICS: Final = {"metrics-TOTAL_FORMS": 0, "metrics-INITIAL_FORMS": 0}
# Those that ring, and those that go past the registry: what these do is found by the check.
RING: Final = [by_service, by_rest, by_call, by_admin]
SILENT: Final = [by_save, by_update, by_sql]
CREATE: Final = [create_by_page, create_by_service, create_by_rest, create_by_call, create_by_admin]
CREATE_SILENTLY: Final = [create_by_shell, create_by_save, create_by_sql]
DELETE: Final = [delete_by_service, delete_by_rest, delete_by_call, delete_by_admin, delete_by_admins_action]
DELETE_SILENTLY: Final = [delete_by_shell, delete_by_queryset, delete_by_sql]


# --- on every open page


class Deaf:
    """A layer that takes everything and rings nobody."""

    async def new_channel(self, prefix: str = "") -> str:
        return prefix

    async def group_add(self, *_: object) -> None:
        raise ConnectionRefusedError

    group_discard = group_send = send = receive = group_add


@pytest.fixture(params=["doorbell", "no layer"])
async def bell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[bool]:
    """Whether doorbells ring. Checks happen when a test says so; looks at permissions too."""
    monkeypatch.setattr(fanout, "CHECK_S", 3600.0)
    monkeypatch.setattr(permits, "TICK_S", 3600.0)
    if request.param == "doorbell":
        yield True
        return
    monkeypatch.setattr(fanout, "RETRY_S", 3600.0)
    monkeypatch.setitem(channel_layers.backends, "default", Deaf())
    yield False


class Scene(NamedTuple):
    """Open pages: an administrator's of pump-1, and the fleet pages of Alice's greenhouse and of Charlie's brewery."""

    device: Live
    greenhouse: Live
    brewery: Live
    bell: bool

    async def one_check(self, *, rings: bool) -> None:
        """Let the check find what nobody rang for; where somebody did, and there is a layer, nobody waits for it."""
        if not (rings and self.bell):
            await fanout.here().check_once()
            await fanout.here().permits.look_once()


@pytest.fixture
async def scene(
    root: User, alice: User, charlie: User, pump: Device, kettle: Device, bell: bool
) -> AsyncIterator[Scene]:
    async with signed_in(root) as device, signed_in(alice) as greenhouse, signed_in(charlie) as brewery:
        await device.sub("pump-1")
        await device.until("live")
        for page, slug in ((greenhouse, "greenhouse"), (brewery, "brewery")):
            await page.say("sub", id="f", fleet=slug)
            await page.until("fleet")
        yield Scene(device, greenhouse, brewery, bell)


def each(ringing: list[Any], silent: list[Any]) -> Any:
    ways = [(way, True) for way in ringing] + [(way, False) for way in silent]
    return pytest.mark.parametrize(("way", "rings"), [pytest.param(*one, id=one[0].__name__) for one in ways])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hub")
class TestEveryWay:
    """Each way to change a registration, with and without a doorbell."""

    @each(RING, SILENT)
    async def test_a_new_name_shows(self, way: Way, rings: bool, scene: Scene, pump: Device) -> None:
        await run(way, pump, name="Pump one")
        await scene.one_check(rings=rings)
        told = {"type": "device", "device": "pump-1", "name": "Pump one", "fleet": "greenhouse", "enabled": True}
        assert await scene.device.until("device") == told
        assert (await scene.greenhouse.until("fleet"))["devices"]["pump-1"]["name"] == "Pump one"

    @each([*RING, by_admins_action], SILENT)
    async def test_a_device_that_is_disabled_shows(self, way: Way, rings: bool, scene: Scene, pump: Device) -> None:
        await run(way, pump, enabled=False)
        await scene.one_check(rings=rings)
        assert (await scene.device.until("device"))["enabled"] is False

    @each(RING, SILENT)
    async def test_a_device_that_moves_leaves_one_page_and_shows_on_the_other(
        self, way: Way, rings: bool, scene: Scene, pump: Device, brewery: Fleet
    ) -> None:
        await scene.greenhouse.sub("pump-1")
        await scene.greenhouse.until("live")
        await run(way, pump, fleet=brewery)
        await scene.one_check(rings=rings)
        assert (await scene.device.until("device"))["fleet"] == "brewery"
        assert (await scene.brewery.until("fleet"))["devices"]["pump-1"]["name"] == "Pump"
        # Whoever may not see it there is told that it is gone, and not where it went.
        left = [await scene.greenhouse.until("end")]
        while not any(one.get("devices") == {"pump-1": None} for one in scene.greenhouse.heard):
            left.append(await scene.greenhouse.hear())
        assert "brewery" not in json.dumps(left + await scene.greenhouse.words())

    @each(CREATE, CREATE_SILENTLY)
    async def test_a_device_that_is_made_shows(self, way: Way, rings: bool, scene: Scene, greenhouse: Fleet) -> None:
        await run(way, greenhouse)
        await scene.one_check(rings=rings)
        shown = (await scene.greenhouse.until("fleet"))["devices"]["new-1"]
        assert (shown["name"], shown["seq"], shown["presence"]) == ("New", 0, "never")
        await scene.greenhouse.sub("new-1")
        assert (await scene.greenhouse.until("ok"))["head"] == {"new-1": 0}
        await publish("new-1", 2)
        await fanout.here().check_once()
        assert await scene.greenhouse.until_row(2, "new-1") == [1, 2]

    @each(DELETE, DELETE_SILENTLY)
    async def test_a_device_that_is_deleted_leaves(self, way: Way, rings: bool, scene: Scene, pump: Device) -> None:
        await run(way, pump)
        await scene.one_check(rings=rings)
        assert await scene.device.until("end") == {"type": "end", "id": "a", "reason": "permission_revoked"}
        assert (await scene.greenhouse.until("fleet"))["devices"] == {"pump-1": None}

    async def test_what_was_told_is_not_told_again(self, scene: Scene, pump: Device) -> None:
        await run(by_service, pump, name="Pump one")
        await scene.one_check(rings=False)
        await scene.device.until("device")
        await run(by_service, pump, rate=5)
        await fanout.here().look_up_once()
        await scene.one_check(rings=False)
        assert [one for one in await scene.device.words() if one["type"] == "device"] == []

    async def test_who_begins_to_watch_is_told_nothing_and_who_comes_back_everything(
        self, scene: Scene, pump: Device
    ) -> None:
        await scene.greenhouse.sub("pump-1")
        await scene.greenhouse.until("live")
        assert not [one for one in scene.greenhouse.heard if one["type"] == "device"]
        await scene.greenhouse.sub("pump-1", id="b", since={"cursor": {"pump-1": 0}})
        assert (await scene.greenhouse.until("device"))["name"] == "Pump"
