"""Firmware: files that a fleet keeps, how they come and go, and updates that name them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.test import Client

from devices import commands, firmware, jobs, registry, wire
from devices.dialects import Order, native
from devices.errors import Refusal
from devices.models import AuditEntry, Command, Device, Firmware, Fleet, Job
from tests.django.conftest import NOW, Clients
from tests.django.updates import DIGEST, IMAGE, add, order

pytest_plugins = ("tests.django.update_fixtures",)

URL: Final = "/api/v1/firmware/"


# --- files


def test_a_file_is_kept_whole_and_known_by_size_and_digest(greenhouse: Fleet, alice: User, on_disk: Path) -> None:
    upload = TemporaryUploadedFile("../../etc/passwd", "x", len(IMAGE), None)
    upload.write(IMAGE)
    made = firmware.add(greenhouse, firmware.About("1.5.0", "Pump", "better"), upload, user=alice, now=NOW)
    assert (made.size, made.sha256, made.notes, made.user) == (len(IMAGE), DIGEST, "better", alice)
    upload.close()
    [path] = on_disk.iterdir()
    assert path.read_bytes() == IMAGE
    assert [one.stat().st_mode & 0o777 for one in (path, on_disk, on_disk.parent)] == [0o600, 0o700, 0o700]


@pytest.mark.parametrize(
    ("image", "about", "code", "field"),
    [
        (b"", {}, "invalid", "file"),
        (bytes(1_000_001), {}, "too_large", "file"),
        (b"x", {"version": ""}, "invalid", "version"),
        (b"x", {"version": "1.5 beta"}, "invalid", "version"),
        (b"x", {"version": '1"'}, "invalid", "version"),
        (b"x", {"version": "1\n"}, "invalid", "version"),
        (b"x", {"version": "v" * 65}, "invalid", "version"),
        (b"x", {"model": "a\0"}, "invalid", "model"),
        (b"x", {"model": "m" * 129}, "invalid", "model"),
        (b"x", {"notes": "\0"}, "invalid", "notes"),
    ],
)
def test_what_cannot_be_a_firmware_leaves_nothing(  # noqa: PLR0913, PLR0917  a row has so many parts
    image: bytes, about: dict[str, str], code: str, field: str, greenhouse: Fleet, on_disk: Path, settings: Any
) -> None:
    settings.HUB_FIRMWARE_MB = 1
    with pytest.raises(Refusal) as refused:
        add(greenhouse, **{"image": image, **about})  # type: ignore[arg-type]  # the rows say what is what
    assert (refused.value.code, list(refused.value.fields or ())) == (code, [field])
    assert (Firmware.objects.count(), AuditEntry.objects.filter(action="firmware.added").count()) == (0, 0)
    assert not on_disk.exists()


def test_a_version_is_one_file_for_each_model(greenhouse: Fleet, brewery: Fleet, on_disk: Path) -> None:
    for model, fleet in (("", greenhouse), ("Pump", greenhouse), ("Pump", brewery)):
        add(fleet, model=model)
    with pytest.raises(Refusal, match="for PUMP already"):
        add(greenhouse, model="PUMP")
    assert len(list(on_disk.iterdir())) == 3


def test_of_two_who_add_a_version_at_once_one_is_told(
    greenhouse: Fleet, on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds nothing, and comes too late: the table decides."""
    add(greenhouse)
    monkeypatch.setattr(firmware, "_namesakes", lambda *_: Firmware.objects.none())
    with pytest.raises(Refusal, match="already"):
        add(greenhouse)
    assert len(list(on_disk.iterdir())) == 1


def test_a_disk_that_takes_nothing_is_told_as_that(greenhouse: Fleet, on_disk: Path) -> None:
    on_disk.parent.mkdir(parents=True)
    on_disk.write_text("no folder")
    with pytest.raises(Refusal) as refused:
        add(greenhouse)
    assert (refused.value.code, refused.value.status) == ("not_kept", 503)
    assert not Firmware.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_is_removed_is_gone_from_the_disk(greenhouse: Fleet, on_disk: Path) -> None:
    firmware.remove(add(greenhouse))
    assert (list(on_disk.iterdir()), Firmware.objects.count()) == ([], 0)


def test_files_without_a_row_go_when_the_next_one_comes(greenhouse: Fleet, on_disk: Path) -> None:
    kept = add(greenhouse)
    for name in ("orphan", "arriving"):
        default_storage.save(f"firmware/{name}", ContentFile(b"x"))
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    for path in (on_disk / "orphan", on_disk / Path(kept.file.name or "").name):
        os.utime(path, (long_ago, long_ago))
    add(greenhouse, "1.6.0", now=round(datetime.now(UTC).timestamp() * 1000))
    names = {path.name for path in on_disk.iterdir()}
    assert names == {"arriving", *(Path(one.file.name or "").name for one in Firmware.objects.all())}


# --- updates


def test_an_update_is_stored_with_what_it_is_of(updatable: Device) -> None:
    kept = add(updatable.fleet, model="PUMP")
    command = order(updatable, kept)
    assert command.args == {"firmware": kept.pk, "version": "1.5.0", "size": len(IMAGE), "sha256": DIGEST}
    assert command.expires_at == NOW + 86_400_000


def test_an_update_is_asked_about_first(updatable: Device) -> None:
    with pytest.raises(Refusal, match="calls update dangerous"):
        commands.issue(updatable, "update", {"firmware": add(updatable.fleet).pk}, user=None, now=NOW)


@pytest.mark.parametrize(
    "args",
    [None, "1.5.0", 1, [1], {}, {"firmware": True}, {"firmware": "1"}, {"firmware": None}, {"firmware": 0},
     {"firmware": -1}, {"firmware": 2**63}, {"firmware": 10**30}, {"firmware": 1.0}, {"firmware": 1, "url": "http://evil"}],
)  # fmt: skip
def test_what_names_no_firmware_is_refused(args: object, updatable: Device) -> None:
    Firmware.objects.filter(pk=add(updatable.fleet).pk).update(id=1)
    with pytest.raises(Refusal) as refused:
        commands.issue(updatable, "update", args, user=None, now=NOW, confirmed=True)
    assert refused.value.code == "bad_args"


def test_a_firmware_of_another_fleet_or_model_is_refused_alike(updatable: Device, brewery: Fleet) -> None:
    told = set()
    for kept in (add(brewery), add(updatable.fleet, model="Kettle")):
        with pytest.raises(Refusal) as refused:
            order(updatable, kept)
        told.add(refused.value.message.replace(str(kept.pk), "…"))
    assert told == {"There is no firmware … in Greenhouse for a Pump; firmware/ lists what there is."}


def test_a_device_that_said_no_model_takes_what_is_for_any(updatable: Device) -> None:
    updatable.model = ""
    order(updatable, add(updatable.fleet))
    with pytest.raises(Refusal, match="a device that has not said its model"):
        order(updatable, add(updatable.fleet, model="Pump"))


def test_without_an_address_of_the_hub_there_are_no_updates(updatable: Device, settings: Any) -> None:
    settings.HUB_ADDRESS = ""
    with pytest.raises(Refusal, match="HUB_ORIGINS"):
        order(updatable, add(updatable.fleet))


def test_an_update_fits_what_small_devices_take(greenhouse: Fleet, settings: Any) -> None:
    """PubSubClient takes 256 bytes: 5 of header, 2 of a packet's id; here the names are as long as they should be."""
    settings.HUB_ADDRESS = "https://" + "h" * 30
    command = Command(pk=wire.cid(NOW, 2**30 - 1), name="update")
    command.args = {"firmware": 1, "version": "1.12.3", "size": 64_000_000, "sha256": DIGEST}
    args = firmware.told(command)
    told = native.encode(
        Order(device="greenhouse-pump-12", gateway=None, name="update", cid=command.pk, args=args, expires_at=NOW)
    )
    assert len(told.topic.encode()) + len(told.payload) + 7 <= 256


@pytest.mark.parametrize("ending", ["cancelled", "succeeded", "timed_out"])
def test_a_firmware_stays_while_an_update_to_it_is_open(ending: str, updatable: Device) -> None:
    kept = add(updatable.fleet)
    command = order(updatable, kept)
    with pytest.raises(Refusal, match="an update of pump-1 to it is open") as refused:
        firmware.remove(kept)
    assert refused.value.status == 409
    Command.objects.filter(pk=command.pk).update(state=ending)
    firmware.remove(kept)


def test_a_firmware_stays_while_a_job_rolls_it_out(updatable: Device) -> None:
    kept = add(updatable.fleet)
    campaign: dict[str, Any] = {"fleet": updatable.fleet, "name": "update", "ttl_s": 60, "created_at": NOW}
    job = Job.objects.create(id="j", args={"firmware": kept.pk}, total=1, changed_at=NOW, **campaign)
    with pytest.raises(Refusal, match="a job rolls it out"):
        firmware.remove(kept)
    Job.objects.filter(pk=job.pk).update(state="done")
    firmware.remove(kept)


def test_what_was_proved_of_an_update_is_told_beside_what_the_device_announces(
    updatable: Device, bob: User, api: Clients
) -> None:
    command = order(updatable, add(updatable.fleet))
    told = [api(bob).get(f"/api/v1/commands/{command.pk}/").json()["firmware"]]
    Device.objects.update(firmware="1.5.0")
    told.append(api(bob).get(f"/api/v1/commands/{command.pk}/").json()["firmware"])
    assert told == [
        {"version": "1.5.0", "announced": "1.4.2", "installed": False},
        {"version": "1.5.0", "announced": "1.5.0", "installed": True},
    ]


def test_another_command_says_nothing_of_firmware(pump: Device, bob: User, api: Clients) -> None:
    command, _ = commands.issue(pump, "relay", True, user=None, now=NOW)
    assert api(bob).get(f"/api/v1/commands/{command.pk}/").json()["firmware"] is None


# --- REST and the page


def upload(client: Any, **fields: Any) -> Any:
    file = SimpleUploadedFile("pump.bin", IMAGE)
    return client.post(URL, {"version": "1.5.0", "model": "Pump", "file": file, **fields}, format="multipart")


def test_a_build_adds_a_file_over_rest(greenhouse: Fleet, alice: User, vera: User, api: Clients) -> None:
    made = upload(api(alice), notes="better")
    assert made.status_code == 201
    assert made.json() == {
        "id": Firmware.objects.get().pk, "fleet": "greenhouse", "version": "1.5.0", "model": "Pump", "by": "alice",
        "size": len(IMAGE), "sha256": DIGEST, "notes": "better", "created_at": made.json()["created_at"],
    }  # fmt: skip
    assert api(vera).get(URL, {"fleet": "greenhouse"}).json()["results"] == [made.json()]
    assert api(vera).get(f"{URL}{made.json()['id']}/").json() == made.json()
    [entry] = AuditEntry.objects.filter(action="firmware.added")
    assert (entry.by, entry.target, entry.detail["sha256"]) == ("alice", "Pump 1.5.0", DIGEST)


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"file": ""}, 400, "file"),
        ({"file": SimpleUploadedFile("x", b"")}, 400, "file"),
        ({"version": "1 5"}, 400, "version"),
        ({"verson": "1.5"}, 400, "verson"),
        ({"fleet": "brewery"}, 404, None),
    ],
)
def test_rest_says_what_is_wrong_with_a_file(
    fields: dict[str, Any], status: int, field: str | None, alice: User, brewery: Fleet, api: Clients
) -> None:
    answer = upload(api(alice), **fields)
    assert (answer.status_code, next(iter(answer.json().get("fields", {})), None)) == (status, field)
    assert not Firmware.objects.exists()


def test_a_file_goes_over_rest(greenhouse: Fleet, alice: User, bob: User, api: Clients) -> None:
    path = f"{URL}{add(greenhouse).pk}/"
    assert [api(who).delete(path).status_code for who in (bob, alice, alice)] == [403, 204, 404]


def test_a_manager_adds_and_deletes_on_the_page(greenhouse: Fleet, alice: User, client: Client) -> None:
    client.force_login(alice)
    path, file = "/fleets/greenhouse/firmware/", SimpleUploadedFile("x", IMAGE)
    refused = client.post(path, {"version": "1 5", "file": file}).content.decode()
    assert "The version must have letters, digits" in refused
    assert client.post(path, {"version": "1.5.0", "file": SimpleUploadedFile("x", IMAGE)}).status_code == 302
    kept = Firmware.objects.get()
    shown = client.get(path).content.decode()
    assert (DIGEST in shown, "256 kB" in shown, f"?name=update&amp;firmware={kept.pk}" in shown) == (True, True, True)
    client.post(f"{path}{kept.pk}/remove/")
    assert not Firmware.objects.exists()


def test_the_page_counts_who_announces_a_version(updatable: Device, brewery: Fleet, vera: User, client: Client) -> None:
    add(updatable.fleet, "1.4.2", model="PUMP")
    add(updatable.fleet, "1.4.2", model="Kettle")
    Device.objects.create(key="other", fleet=brewery, model="Pump", firmware="1.4.2")
    client.force_login(vera)
    shown = client.get("/fleets/greenhouse/firmware/").content.decode()
    assert (shown.count("announced by 1 of 1 device"), shown.count("announced by no device")) == (1, 1)
    assert "Roll out" not in shown


def test_the_devices_page_offers_what_fits(updatable: Device, bob: User, client: Client) -> None:
    kept = [
        add(updatable.fleet, version, model=model) for version, model in (("1", ""), ("2", "pump"), ("3", "Kettle"))
    ]
    client.force_login(bob)
    told = client.get("/devices/pump-1/state.json").json()
    offered = [one["id"] for one in told["commands"]["update"]["firmware"]]
    assert (offered, told["firmware"]) == ([kept[1].pk, kept[0].pk], "1.4.2")


def test_a_job_rolls_it_out_to_those_that_it_fits(updatable: Device, bob: User) -> None:
    other, _ = registry.create("kettle-1", updatable.fleet)
    Device.objects.filter(pk=other.pk).update(model="Kettle", commands=updatable.commands)
    kept = add(updatable.fleet, model="Pump")
    asked = jobs.Asked(
        fleet=updatable.fleet, name="update", args={"firmware": kept.pk}, confirmed=True, selection={}, ttl_s=3600
    )
    job, _ = jobs.start(asked, bob, NOW)
    jobs.step(NOW)
    [command] = Command.objects.filter(device=updatable)
    assert firmware.kept_in(command)
    [refused] = job.targets.filter(command=None).values_list("refused", flat=True)
    assert "for a Kettle" in refused
    with pytest.raises(Refusal, match="is open"):
        firmware.remove(kept)


@pytest.mark.parametrize(("args", "shown"), [({}, "update = 2.0"), ({"firmware": []}, "update = {")])
def test_a_jobs_page_says_which_version_it_rolls_out(
    args: dict[str, Any], shown: str, updatable: Device, bob: User, client: Client
) -> None:
    kept = add(updatable.fleet, "2.0")
    campaign: dict[str, Any] = {"fleet": updatable.fleet, "name": "update", "ttl_s": 60, "created_at": NOW}
    given = {"firmware": kept.pk} | args
    job = Job.objects.create(id="j", args=given, total=1, changed_at=NOW, user=bob, **campaign)
    client.force_login(bob)
    assert shown in client.get(f"/jobs/{job.pk}/").content.decode()
    assert shown in client.get(f"/fleets/{updatable.fleet.slug}/jobs/").content.decode()


def test_a_job_without_a_time_gives_an_update_a_day_and_anything_else_a_minute(updatable: Device, bob: User) -> None:
    kept = add(updatable.fleet)
    asked = jobs.Asked(fleet=updatable.fleet, name="update", args={"firmware": kept.pk}, confirmed=True)
    assert jobs.start(asked, bob, NOW)[0].ttl_s == 86_400
    assert jobs.start(jobs.Asked(fleet=updatable.fleet, name="relay", args="on"), bob, NOW)[0].ttl_s == 60
