"""jobs/, schedules/ and tags: asked over REST; what they do is shown by test_jobs.py and test_schedules.py."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import jobs, members, registry
from devices.models import Command, Device, Fleet, Job, Schedule

URL = "/api/v1/jobs/"
ORDER = {"fleet": "greenhouse", "name": "relay", "args": "on"}


def test_an_operator_starts_a_job_and_reads_what_became_of_each(
    bob: User, vera: User, greenhouse: Fleet, pump: Device, api: Any
) -> None:
    asked = {**ORDER, "reason": "why", "selection": {"devices": ["pump-1"]}, "rate": 5, "stages": [50, 100], "key": "k"}
    answer = api(bob).post(URL, asked)
    assert answer.status_code == 201
    made = answer.json()
    shown = {name: made[name] for name in asked if name != "key"}
    assert shown == {name: value for name, value in asked.items() if name != "key"}
    assert {name: made[name] for name in ("by", "state", "total", "issued", "stage", "limit", "counts")} == {
        "by": "bob",
        "state": "running",
        "total": 1,
        "issued": 0,
        "stage": 0,
        "limit": None,
        "counts": {"waiting": 1},
    }
    assert api(bob).post(URL, asked).status_code == 200

    def results(**query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api(vera).get(f"{URL}{made['id']}/results/", query).json()["results"]
        return found

    waiting = {"device": "pump-1", "name": "Pump", "state": "waiting", "command": None, "message": "", "at": None}
    assert results() == [waiting]
    jobs.step(made["created_at"])
    command = Command.objects.get()
    assert results(state="queued") == [
        waiting | {"state": "queued", "command": command.pk, "at": command.changed_at},
    ]
    assert results(state="waiting") == []
    assert api(vera).get(f"{URL}{made['id']}/").json()["counts"] == {"queued": 1}, "counted at this moment"
    assert [job["id"] for job in api(vera).get(URL, {"fleet": "greenhouse", "state": "running"}).json()["results"]] == [
        made["id"]
    ]


def test_a_preview_says_who_would_not_take_it_and_makes_nothing(
    bob: User, greenhouse: Fleet, pump: Device, api: Any
) -> None:
    registry.create("horn-1", greenhouse)
    Device.objects.filter(key="horn-1").update(commands={"horn": {"type": "action"}})
    Device.objects.filter(key="pump-1").update(commands={"relay": {"type": "bool", "dangerous": True}})
    answer = api(bob).post(f"{URL}preview/", ORDER)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "devices": 2,
            "refused": 1,
            "dangerous": 1,
            "examples": [{"device": "horn-1", "refused": "horn-1 has no command 'relay'; it announced: horn."}],
        },
    )
    assert not Job.objects.exists()
    refused = api(bob).post(URL, ORDER)
    assert (refused.status_code, refused.json()["code"]) == (409, "confirmation_needed")
    assert api(bob).post(URL, {**ORDER, "confirm": True}).status_code == 201


def test_who_sees_a_part_of_the_fleet_sees_no_job_and_starts_none(
    alice: User, bob: User, charlie: User, greenhouse: Fleet, pump: Device, api: Any
) -> None:
    job, _ = jobs.start(jobs.Asked(fleet=greenhouse, name="relay", args="on"), alice, 1)
    members.except_for(pump, "charlie", "operator")
    registry.create("valve", greenhouse)
    members.except_for(Device.objects.get(key="valve"), "bob", "none")
    for user in (charlie, bob):
        client = api(user)
        assert client.get(URL).json()["results"] == []
        assert client.get(URL, {"fleet": "greenhouse"}).status_code == 403
        for address in (f"{URL}{job.pk}/", f"{URL}{job.pk}/results/"):
            assert client.get(address).json()["code"] == "job_unknown"
        assert client.post(f"{URL}{job.pk}/stop/").status_code == 404
        assert client.post(URL, ORDER).status_code == 403
        assert client.get("/api/v1/schedules/").json()["results"] == []
    assert Job.objects.get().state == "running"


def test_a_schedule_is_made_turned_off_and_deleted(bob: User, greenhouse: Fleet, pump: Device, api: Any) -> None:
    client = api(bob)
    asked = {**ORDER, "title": "Mornings", "cron": "0 6 * * 1-5", "zone": "Europe/Berlin"}
    made = client.post("/api/v1/schedules/", asked)
    assert made.status_code == 201
    address = f"/api/v1/schedules/{made.json()['id']}/"
    assert {name: made.json()[name] for name in ("title", "cron", "zone", "enabled", "by")} == {
        "title": "Mornings",
        "cron": "0 6 * * 1-5",
        "zone": "Europe/Berlin",
        "enabled": True,
        "by": "bob",
    }
    assert client.patch(address, {"enabled": False}).json()["enabled"] is False
    assert client.get(f"{address}runs/").json() == {"results": [], "next": None}
    assert client.delete(address).status_code == 204
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"cron": "0 25 * * *"}, "cron"),
        ({"cron": "0 6 * * *", "zone": "Nowhere"}, "zone"),
        ({}, "at"),
        ({"cron": "0 6 * * *", "selection": {"tags": "x"}}, "selection"),
    ],
)
def test_what_is_no_schedule_is_refused_by_field(
    bob: User, greenhouse: Fleet, pump: Device, api: Any, wrong: dict[str, Any], field: str
) -> None:
    answer = api(bob).post("/api/v1/schedules/", ORDER | wrong)
    assert answer.status_code == 400
    assert any(name.startswith(field) for name in answer.json()["fields"]), answer.json()


def test_tags_are_given_found_and_in_the_audit(alice: User, greenhouse: Fleet, pump: Device, api: Any) -> None:
    client = api(alice)
    registry.create("valve", greenhouse)
    answer = client.patch("/api/v1/devices/pump-1/", {"tags": ["roof", "north", "roof"], "name": "Pump"})
    assert answer.json()["tags"] == ["north", "roof"]
    client.patch("/api/v1/devices/pump-1/", {"tags": ["roof", "south"]})
    listed = client.get("/api/v1/devices/", {"tag": "roof"}).json()["results"]
    assert [(device["key"], device["tags"]) for device in listed] == [("pump-1", ["roof", "south"])]
    assert client.get("/api/v1/devices/", {"tag": "north"}).json()["results"] == []
    assert client.get("/api/v1/devices/", {"tag": "\0"}).status_code in (200, 400)
    changes = [row["detail"] for row in client.get("/api/v1/audit/", {"action": "device.changed"}).json()["results"]]
    assert changes == [{"tags": [["north", "roof"], ["roof", "south"]]}, {"tags": [[], ["north", "roof"]]}]


@pytest.mark.parametrize("tags", [["Roof"], ["a b"], [""], ["x" * 64], [f"t{number}" for number in range(51)], "roof"])
def test_what_is_no_tag_is_refused(alice: User, greenhouse: Fleet, pump: Device, api: Any, tags: Any) -> None:
    answer = api(alice).patch("/api/v1/devices/pump-1/", {"tags": tags})
    assert answer.status_code == 400
    assert any(name.startswith("tags") for name in answer.json()["fields"])
