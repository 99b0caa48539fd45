"""Schedules: when they are due, what becomes of times that were missed, and in whose name they act."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User

from devices import jobs, members, registry, schedules
from devices.errors import Refusal
from devices.models import AuditEntry, Device, Fleet, Job, Membership, Schedule
from tests.django.together import together

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def at(text: str, zone: str = "UTC") -> int:
    """Return an instant, in ms; the first of two where the clock says it twice."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


NOON = at("2026-11-20T12:00")


@pytest.fixture
def lamp(greenhouse: Fleet) -> Device:
    device, _ = registry.create("lamp", greenhouse)
    Device.objects.update(commands={"led": {"type": "bool"}, "reboot": {"type": "action", "dangerous": True}})
    return device


def make(user: User, fleet: Fleet, now: int = NOON, **given: Any) -> Schedule:
    when = {name: given.pop(name) for name in ("title", "at", "cron", "zone") if name in given}
    asked = jobs.Asked(**{"fleet": fleet, "name": "led", "args": True} | given)
    return schedules.make(asked, user, now, **when or {"cron": "0 * * * *"})


def runs(schedule: Schedule) -> list[tuple[int, bool, str]]:
    """Return the runs of a schedule: when, whether a job was made, why not."""
    return [(run.due_at, run.job is not None, run.missed) for run in schedule.runs.all()]


def test_a_schedule_makes_a_job_each_time_it_is_due(bob: User, greenhouse: Fleet, lamp: Device) -> None:
    schedule = make(bob, greenhouse, reason="frost", rate=3)
    assert not schedules.sweep(NOON + HOUR - 1)
    assert schedules.sweep(NOON + HOUR)
    assert not schedules.sweep(NOON + HOUR + 1)
    assert schedules.sweep(NOON + 2 * HOUR + 900)
    assert runs(schedule) == [(NOON + 2 * HOUR, True, ""), (NOON + HOUR, True, "")]
    assert [(job.user, job.reason, job.rate, job.total) for job in Job.objects.all()] == [(bob, "frost", 3, 1)] * 2
    entry = AuditEntry.objects.filter(action="job.started").last()
    assert entry
    assert (entry.by, entry.via) == ("bob", f"schedule {schedule.pk}")


def test_once_is_once(bob: User, greenhouse: Fleet, lamp: Device) -> None:
    schedule = make(bob, greenhouse, at=NOON + 5)
    schedules.sweep(NOON + 6)
    schedules.sweep(NOON + DAY)
    assert runs(schedule) == [(NOON + 5, True, "")]
    schedule.refresh_from_db()
    assert schedule.next_at is None
    with pytest.raises(Refusal, match="in the past"):
        make(bob, greenhouse, at=NOON)


def test_devices_are_selected_when_it_is_due(bob: User, alice: User, greenhouse: Fleet, lamp: Device) -> None:
    schedule = make(bob, greenhouse, selection={"tag": "roof"})
    schedules.sweep(NOON + HOUR)
    ((_, made, why),) = runs(schedule)
    assert (made, "selection has no device" in why) == (False, True)
    registry.change(lamp, {"tags": ["roof"]})
    schedules.sweep(NOON + 2 * HOUR)
    assert runs(schedule)[0] == (NOON + 2 * HOUR, True, "")


def test_what_is_late_is_made_within_its_commands_time_and_missed_after_it(
    bob: User, greenhouse: Fleet, lamp: Device
) -> None:
    schedule = make(bob, greenhouse, ttl_s=60)
    schedules.sweep(NOON + HOUR + MINUTE)
    schedules.sweep(NOON + 2 * HOUR + MINUTE + 1000)
    assert [made for _, made, _ in runs(schedule)] == [False, True]
    assert runs(schedule)[0][2] == "The hub was not there until 61 s after it; its command is good for 60 s."


def test_of_several_missed_times_the_last_may_be_made_and_each_is_told(
    bob: User, greenhouse: Fleet, lamp: Device
) -> None:
    schedule = make(bob, greenhouse, cron="*/10 * * * *", ttl_s=3600)
    schedules.sweep(NOON + 35 * MINUTE)
    assert runs(schedule) == [
        (NOON + 30 * MINUTE, True, ""),
        (NOON + 20 * MINUTE, False, "The hub was not there until a later time was due."),
        (NOON + 10 * MINUTE, False, "The hub was not there until a later time was due."),
    ]
    assert Job.objects.count() == 1


def test_of_very_many_missed_times_the_older_are_told_in_one(bob: User, greenhouse: Fleet, lamp: Device) -> None:
    schedule = make(bob, greenhouse, cron="* * * * *")
    schedules.sweep(NOON + 365 * DAY)
    found = runs(schedule)
    assert len(found) == 102
    assert found[0] == (NOON + 365 * DAY, True, "")
    assert found[100][0] == NOON + 365 * DAY - 100 * MINUTE
    assert found[101][0] == NOON + MINUTE
    assert found[101][2].endswith("So it was each time until 2027-11-20 10:20.")
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + 365 * DAY + MINUTE


@pytest.mark.parametrize("how", ["dismissed", "deactivated", "deleted", "a device hidden"])
def test_a_schedule_never_acts_with_rights_that_nobody_has(
    alice: User, bob: User, greenhouse: Fleet, lamp: Device, how: str
) -> None:
    schedule = make(bob, greenhouse)
    match how:
        case "dismissed":
            Membership.objects.filter(user=bob).delete()
        case "deactivated":
            User.objects.filter(pk=bob.pk).update(is_active=False)
        case "deleted":
            bob.delete()
        case _:
            members.except_for(lamp, "bob", "none")
    schedules.sweep(NOON + HOUR)
    ((_, made, why),) = runs(schedule)
    assert not made
    assert "an operator can turn it off and on again, in their own name" in why
    assert not Job.objects.exists()
    off = schedules.change(schedule, alice, NOON + HOUR, title=None, enabled=False)
    schedules.change(off, alice, NOON + HOUR, title=None, enabled=True)
    schedules.sweep(NOON + 2 * HOUR)
    assert Job.objects.get().user == alice


def test_one_that_is_turned_off_makes_and_misses_nothing(bob: User, greenhouse: Fleet, lamp: Device) -> None:
    schedule = make(bob, greenhouse)
    schedules.change(schedule, bob, NOON, title="Nightly", enabled=False)
    schedules.sweep(NOON + 5 * HOUR)
    schedules.change(schedule, bob, NOON + 5 * HOUR + 1, title=None, enabled=True)
    schedules.sweep(NOON + 6 * HOUR)
    assert runs(schedule) == [(NOON + 6 * HOUR, True, "")]


def test_what_is_dangerous_is_confirmed_when_the_schedule_is_made(bob: User, greenhouse: Fleet, lamp: Device) -> None:
    with pytest.raises(Refusal, match="lamp calls reboot dangerous"):
        make(bob, greenhouse, name="reboot", args=None)
    schedule = make(bob, greenhouse, name="reboot", args=None, confirmed=True)
    schedules.sweep(NOON + HOUR)
    assert runs(schedule) == [(NOON + HOUR, True, "")]


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"cron": "0 25 * * *"}, "cron", "bad hour"),
        ({"cron": "0 6 * *"}, "cron", "it has 4 fields, and not 5"),
        ({"cron": "0 0 6 * * *"}, "cron", "it has 6 fields, and not 5"),
        ({"cron": "0 0 30 2 *"}, "cron", "bad day-of-month"),
        ({"cron": "0 0 * 2 MON#6"}, "cron", "bad day-of-week"),
        ({"cron": "purple"}, "cron", "0 6 * * 1-5"),
        ({"cron": "0 " * 40}, "cron", "more than 64"),
        ({"cron": "0 6 * * *", "zone": "Europe/Nowhere"}, "zone", "Europe/Berlin"),
        ({"cron": "0 6 * * *", "zone": "../../etc/passwd"}, "zone", "Europe/Berlin"),
        ({"cron": "0 6 * * *", "zone": "Europe"}, "zone", "Europe/Berlin"),
        ({"cron": "0 6 * * *", "at": NOON + 1}, "at", "0 6 * * 1-5"),
        ({"title": "neither"}, "at", "0 6 * * 1-5"),
    ],
)
def test_what_is_no_time_is_refused_with_an_example(
    bob: User, greenhouse: Fleet, lamp: Device, given: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(Refusal) as refused:
        make(bob, greenhouse, **given)
    assert field in (refused.value.fields or {})
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        ("0 6 * * *", "2026-03-28T07:00", "2026-03-29T06:00"),
        # In spring the clock goes from 2 to 3: what is due in between is due at 3.
        ("30 2 * * *", "2026-03-28T07:00", "2026-03-29T03:00"),
        # In autumn it says half past two twice: it is due once.
        ("30 2 * * *", "2026-10-24T07:00", "2026-10-25T02:30"),
        ("30 2 * * *", "2026-10-25T02:30", "2026-10-26T02:30"),
    ],
)
def test_a_time_zone_is_kept_over_its_changes(cron: str, after: str, due: str) -> None:
    zone = "Europe/Berlin"
    assert schedules.next_of(cron, zone, at(after, zone)) == at(due, zone)


@pytest.mark.django_db(transaction=True)
def test_bridges_that_sweep_at_once_make_one_job_of_a_time(bob: User, greenhouse: Fleet, lamp: Device) -> None:
    schedule = make(bob, greenhouse)
    together(*[lambda: schedules.sweep(NOON + HOUR)] * 4)
    assert runs(schedule) == [(NOON + HOUR, True, "")]
    assert Job.objects.count() == 1
