"""Jobs: which devices they select, who gets a command when, when they stop, and that nothing is given twice."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import commands, jobs, members, registry, telemetry, wire
from devices.errors import Refusal
from devices.jobs import pace
from devices.models import AuditEntry, Command, Device, Fleet, Job, Membership, Target
from tests.django.together import together

NOW = 1_790_000_000_000
LED = {"led": {"type": "bool"}}


@pytest.fixture
def make(greenhouse: Fleet) -> Callable[..., list[Device]]:
    """Make so many devices that know led; online."""

    def made(count: int, **said: Any) -> list[Device]:
        drafts = [registry.draft(f"lamp-{number:03}", greenhouse)[0] for number in range(count)]
        registry.create_many(drafts)
        Device.objects.update(commands=LED, **said)
        online = [wire.Presence(device=device.key, online=True, received_at=NOW) for device in drafts]
        telemetry.record(online, NOW)
        return list(Device.objects.order_by("key"))

    return made


def asked(fleet: Fleet, **given: Any) -> jobs.Asked:
    return jobs.Asked(**{"fleet": fleet, "name": "led", "args": True} | given)


def start(fleet: Fleet, user: User, **given: Any) -> Job:
    return jobs.start(asked(fleet, **given), user, NOW)[0]


def answer(status: wire.AckStatus, *keys: str, now: int = NOW) -> None:
    """Have the commands of these devices sent, and answered so; of all, if none is named."""
    orders = commands.claim(frozenset(keys) or None, now)
    acks = [wire.Ack(device=one.device, cid=one.cid, status=status, received_at=now) for one in orders]
    assert not commands.settle(acks, now)


def given() -> int:
    return Command.objects.count()


def now_is(job: Job) -> tuple[str, dict[str, int]]:
    job.refresh_from_db()
    return job.state, job.counts


def test_a_job_gives_each_device_one_command_and_is_done_when_all_have_answered(
    bob: User, greenhouse: Fleet, make: Any
) -> None:
    make(3)
    job = start(greenhouse, bob, reason="a walk through the house")
    assert now_is(job) == ("running", {"waiting": 3})
    assert not jobs.step(NOW)
    assert [(row.user, row.reason, row.args) for row in Command.objects.all()] == [
        (bob, "a walk through the house", True)
    ] * 3
    jobs.step(NOW + 1000)
    assert now_is(job) == ("running", {"queued": 3})
    answer("succeeded")
    jobs.step(NOW + 2000)
    assert now_is(job) == ("done", {"succeeded": 3})
    jobs.step(NOW + 3000)
    assert given() == 3


def test_a_job_selects_by_tag_presence_and_key_what_its_user_may_command(
    alice: User, bob: User, greenhouse: Fleet, brewery: Fleet, make: Any
) -> None:
    one, two, three = make(3)
    registry.change(one, {"tags": ["roof"]})
    registry.change(two, {"tags": ["roof"]})
    telemetry.record([wire.Presence(device=two.key, online=False, received_at=NOW + 1)], NOW + 1)
    registry.create("kettle", brewery)
    members.except_for(three, "bob", "viewer")

    def keys(selection: dict[str, Any], user: User = bob) -> list[str]:
        return sorted(jobs.select(user, greenhouse, selection).values_list("key", flat=True))

    assert keys({}, alice) == ["lamp-000", "lamp-001", "lamp-002"]
    assert keys({}) == ["lamp-000", "lamp-001"]
    assert keys({"tag": "roof"}) == ["lamp-000", "lamp-001"]
    assert keys({"tag": "roof", "presence": "online"}) == ["lamp-000"]
    assert keys({"devices": ["lamp-001"]}) == ["lamp-001"]
    for key in ("lamp-002", "kettle", "nobody", "\0"):
        with pytest.raises(Refusal, match="no device") as refused:
            keys({"devices": ["lamp-000", key]})
        assert (refused.value.code, refused.value.status) == ("device_unknown", 404)
        assert repr(key) in refused.value.message
        assert "lamp-000" not in refused.value.message


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"rate": 0}, "rate"),
        ({"limit": 101}, "limit"),
        ({"stages": [50, 5, 100]}, "stages"),
        ({"stages": [5, 50]}, "stages"),
        ({"stages": [0, 100]}, "stages"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"reason": "x" * 201}, "reason"),
        ({"selection": {"tags": "roof"}}, "selection"),
        ({"selection": {"tag": "Roof!"}}, "selection"),
        ({"selection": {"presence": "asleep"}}, "selection"),
        ({"selection": {"devices": []}}, "selection"),
        ({"selection": {"tag": "cellar"}}, "selection"),
        ({"args": "purple"}, "args"),
    ],
)
def test_what_cannot_be_a_job_is_refused_by_field(
    bob: User, greenhouse: Fleet, make: Any, wrong: dict[str, Any], field: str
) -> None:
    make(1)
    with pytest.raises(Refusal) as refused:
        start(greenhouse, bob, **wrong)
    assert set(refused.value.fields or {}) == {field}
    assert not Job.objects.exists()


def test_who_does_not_take_the_command_gets_none_and_is_told_why(bob: User, greenhouse: Fleet, make: Any) -> None:
    _, odd, _ = make(3)
    Device.objects.filter(pk=odd.pk).update(commands={"horn": {"type": "action"}})
    job = start(greenhouse, bob)
    assert now_is(job) == ("running", {"refused": 1, "waiting": 2})
    jobs.step(NOW)
    assert given() == 2
    refused = jobs.results(job, "refused").get()
    assert (refused.key, refused.message) == ("lamp-001", "lamp-001 has no command 'led'; it announced: horn.")
    answer("succeeded")
    jobs.step(NOW + 1000)
    assert now_is(job) == ("done", {"refused": 1, "succeeded": 2})


def test_a_dangerous_command_takes_a_confirmation_and_one_that_becomes_so_is_not_given_without(
    bob: User, greenhouse: Fleet, make: Any
) -> None:
    first, second = make(2)
    dangerous = {"led": {"type": "bool", "dangerous": True}}
    quiet = start(greenhouse, bob)
    Device.objects.filter(pk=second.pk).update(commands=dangerous)
    jobs.step(NOW)
    assert [row.key for row in jobs.results(quiet, "refused")] == ["lamp-001"]
    with pytest.raises(Refusal, match="lamp-001 calls led dangerous") as refused:
        start(greenhouse, bob)
    assert (refused.value.code, refused.value.status) == ("confirmation_needed", 409)
    job = start(greenhouse, bob, confirmed=True)
    jobs.step(NOW + 10)
    assert job.targets.exclude(command=None).count() == 2
    assert first.orders.count() == 2


def test_a_key_makes_one_job_in_a_fleet(bob: User, greenhouse: Fleet, make: Any) -> None:
    make(2)
    job, new = jobs.start(asked(greenhouse), bob, NOW, "abc")
    again, not_new = jobs.start(asked(greenhouse, args=False), bob, NOW + 1, "abc")
    assert (new, not_new, again) == (True, False, job)
    assert Target.objects.count() == 2


def test_a_rate_is_kept_and_what_was_not_used_is_lost(bob: User, greenhouse: Fleet, make: Any) -> None:
    make(12)
    start(greenhouse, bob, rate=2)
    issued = []
    for at in (0, 100, 500, 600, 1000, 1500, 9000, 9100, 9500):
        jobs.step(NOW + at)
        issued.append(given())
    assert issued == [1, 1, 2, 2, 3, 4, 6, 6, 7]


def test_a_stage_begins_when_all_before_it_are_closed(bob: User, greenhouse: Fleet, make: Any) -> None:
    make(10)
    job = start(greenhouse, bob, stages=[20, 50, 100])
    jobs.step(NOW)
    assert given() == 2
    answer("succeeded", "lamp-000")
    jobs.step(NOW + 1000)
    jobs.step(NOW + 2000)
    assert given() == 2
    answer("failed", "lamp-001")
    jobs.step(NOW + 3000)
    jobs.step(NOW + 4000)
    assert given() == 5
    for at in range(5, 9):
        answer("succeeded")
        jobs.step(NOW + at * 1000)
    assert now_is(job) == ("done", {"failed": 1, "succeeded": 9})


def test_a_job_stops_past_its_limit_and_when_resumed_is_judged_anew(
    alice: User, bob: User, greenhouse: Fleet, make: Any
) -> None:
    make(40)
    job = start(greenhouse, bob, stages=[50, 100], limit=10)
    jobs.step(NOW)
    answer("failed", *(f"lamp-{number:03}" for number in range(6)))
    jobs.step(NOW + 1000)
    assert job.state == "running", "six are few, while fourteen may yet succeed"
    answer("succeeded")
    jobs.step(NOW + 2000)
    job.refresh_from_db()
    assert (job.state, job.because) == ("stopped", "6 of 20 failed, the limit is 10 %")
    jobs.step(NOW + 3000)
    assert given() == 20

    jobs.resume(job, alice, NOW + 4000)
    for at in range(5, 9):
        jobs.step(NOW + at * 1000)
        answer("succeeded")
    jobs.step(NOW + 10_000)
    assert now_is(job) == ("done", {"failed": 6, "succeeded": 34})
    assert Command.objects.filter(user=alice).count() == 20
    said = list(AuditEntry.objects.filter(action__startswith="job.").values_list("action", "by"))
    assert said == [("job.started", "bob"), ("job.stopped", "the hub"), ("job.resumed", "the hub")]


def test_a_job_that_is_stopped_gives_no_more_and_one_that_is_cancelled_takes_back_what_waits(
    bob: User, greenhouse: Fleet, make: Any
) -> None:
    make(4)
    job = start(greenhouse, bob, rate=2)
    jobs.step(NOW)
    jobs.step(NOW + 500)
    jobs.stop(job, bob, NOW + 600)
    jobs.step(NOW + 5000)
    assert now_is(job) == ("stopped", {"queued": 2, "waiting": 2})
    (claimed,) = commands.claim(frozenset(("lamp-000",)), NOW)
    jobs.cancel(job, bob, NOW + 6000)
    assert now_is(job) == ("cancelled", {"cancelled": 1, "queued": 1, "waiting": 2})
    commands.settle([wire.Ack(device=claimed.device, cid=claimed.cid, status="succeeded", received_at=NOW)], NOW + 7000)
    jobs.step(NOW + 8000, since=NOW + 6500)
    assert now_is(job) == ("cancelled", {"cancelled": 1, "succeeded": 1, "waiting": 2})
    with pytest.raises(Refusal, match="cancelled already") as refused:
        jobs.resume(job, bob, NOW + 9000)
    assert (refused.value.code, refused.value.status) == ("too_late", 409)


@pytest.mark.parametrize("how", ["dismissed", "deactivated", "deleted"])
def test_a_job_acts_with_nobodys_rights_no_longer_than_its_user_has_them(
    alice: User, bob: User, greenhouse: Fleet, make: Any, how: str
) -> None:
    make(4)
    job = start(greenhouse, bob, rate=1)
    jobs.step(NOW)
    match how:
        case "dismissed":
            Membership.objects.filter(user=bob).delete()
        case "deactivated":
            User.objects.filter(pk=bob.pk).update(is_active=False)
        case _:
            bob.delete()
    jobs.step(NOW + 5000)
    job.refresh_from_db()
    assert (job.state, given()) == ("stopped", 1)
    assert "an operator can resume it in their own name" in job.because
    jobs.resume(job, alice, NOW + 6000)
    jobs.step(NOW + 7000)
    assert given() == 2


def test_devices_that_went_are_counted_and_those_that_moved_get_nothing_and_tell_nothing(
    bob: User, greenhouse: Fleet, brewery: Fleet, make: Any
) -> None:
    gone, moved, *_ = make(4)
    job = start(greenhouse, bob, rate=1)
    registry.change(moved, {"fleet": brewery})
    jobs.step(NOW)
    registry.remove(gone)
    for at in range(1, 6):
        jobs.step(NOW + at * 1000)
    answer("succeeded")
    jobs.step(NOW + 9000)
    assert now_is(job) == ("done", {"refused": 2, "succeeded": 2})
    assert not Command.objects.filter(device=moved).exists()


def test_what_a_device_says_after_it_moved_is_its_new_fleets(
    bob: User, greenhouse: Fleet, brewery: Fleet, make: Any
) -> None:
    (moved,) = make(1)
    registry.change(moved, {"name": "Lamp"})
    job = start(greenhouse, bob)
    jobs.step(NOW)
    answer("failed")
    assert [(row.name, bool(row.cid)) for row in jobs.results(job)] == [("Lamp", True)]
    registry.change(moved, {"fleet": brewery})
    assert [(row.key, row.name, row.cid, row.message) for row in jobs.results(job)] == [("lamp-000", "", None, "")]


def test_a_large_job_does_not_hold_up_a_small_one(bob: User, greenhouse: Fleet, make: Any) -> None:
    devices = make(520)
    large = start(greenhouse, bob)
    small = start(greenhouse, bob, selection={"devices": [device.key for device in devices[:3]]})
    assert jobs.step(NOW), "there is more"
    assert [job.targets.exclude(command=None).count() for job in (small, large)] == [3, 497]
    assert not jobs.step(NOW + 1)
    assert large.targets.exclude(command=None).count() == 520


# --- at once


@pytest.mark.django_db(transaction=True)
def test_bridges_that_step_at_once_give_each_device_one_command(
    bob: User, greenhouse: Fleet, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.jobs.course.BUDGET", 5)
    make(40)
    job = start(greenhouse, bob)

    def steps() -> None:
        for turn in range(10):
            jobs.step(NOW + turn * 1000)

    together(*[steps] * 4)
    while jobs.step(NOW + 20_000):  # they passed over what another had in hand
        pass
    job.refresh_from_db()
    assert job.issued == 40
    assert [device.orders.count() for device in Device.objects.all()] == [1] * 40


@pytest.mark.django_db(transaction=True)
def test_requests_with_one_key_at_once_make_one_job(bob: User, greenhouse: Fleet, make: Any) -> None:
    make(2)
    found = together(*[lambda: jobs.start(asked(greenhouse), bob, NOW, "abc")] * 4)
    assert {job.pk for job, _ in found} == {Job.objects.get().pk}
    assert sorted(new for _, new in found) == [False, False, False, True]
    assert Target.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_step_that_breaks_off_leaves_nothing_half_done(
    bob: User, greenhouse: Fleet, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(3)
    job = start(greenhouse, bob)
    with monkeypatch.context() as broken:
        broken.setattr(Target.objects, "bulk_update", None)
        with pytest.raises(TypeError):
            jobs.step(NOW)
    assert (given(), now_is(job)) == (0, ("running", {"waiting": 3}))
    jobs.step(NOW + 1)
    assert given() == 3


@pytest.mark.parametrize(
    ("wanted", "budget", "given"),
    [([], 5, []), ([9], 5, [5]), ([3, 9], 500, [3, 9]), ([9, 1, 9], 9, [4, 1, 4]), ([5, 5, 5], 2, [0, 1, 1])],
)
def test_a_budget_is_shared_evenly(wanted: list[int], budget: int, given: list[int]) -> None:
    assert pace.shares(wanted, budget) == given
