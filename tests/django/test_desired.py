"""Desired state: what is wanted, told, answered, given back; who changed what at the same time, row by row."""

from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User

from devices import arguments, desired, intake, learning, registry, telemetry, values, wire
from devices.errors import Refusal
from devices.models import AuditEntry, Device, Fleet, Setting
from tests.django.conftest import NOW
from tests.django.together import together

SPECS = {
    "interval_s": {"type": "number", "min": 1, "max": 3600, "unit": "s"},
    "mode": {"type": "enum", "options": ["eco", "auto", 1]},
    "led": {"type": "bool"},
    "label": {"type": "text"},
}


@pytest.fixture
def tank(pump: Device) -> Device:
    """A device that is online and announced what it lets itself be set to."""
    learning.learn(wire.Announce(device=pump.key, settings=SPECS))
    comes(pump)
    pump.refresh_from_db()
    return pump


def comes(device: Device, now: int = NOW, *, online: bool = True, sleep_s: int | None = None) -> None:
    """Have a device say that it is there, or its last will that it is not."""
    telemetry.record([wire.Presence(device=device.key, online=online, received_at=now, sleep_s=sleep_s)], now)


def want(
    device: Device, user: User | None = None, now: int = NOW, version: int | None = None, **given: Any
) -> list[str]:
    return desired.want(device, given, user, now, version)


def reports(device: Device, version: int | None = None, now: int = NOW + 5, **kept: Any) -> None:
    desired.report([wire.Report(device=device.key, values=kept, version=version, received_at=now)], now)


def tell(now: int, *keys: str) -> list[dict[str, Any]]:
    """Do what a bridge does that looks now: hand over what is due, and note it; return what each device was told."""
    due = desired.due(now, keys or None)
    desired.sent(due, now)
    return [one.values for one in due]


def shown(device: Device, name: str = "interval_s") -> dict[str, Any]:
    (_, rows) = desired.described([device.pk])[device.pk]
    return next(row for row in rows if row["name"] == name)


def state(device: Device, name: str = "interval_s") -> str:
    return str(shown(device, name)["state"])


def versions(device: Device) -> int:
    return Device.objects.get(pk=device.pk).wanted


# --- what people want


def test_what_is_wanted_is_kept_with_who_wanted_it_and_when(tank: Device, bob: User) -> None:
    assert want(tank, bob, NOW + 1, interval_s=30, mode="eco") == ["interval_s", "mode"]
    row = shown(tank)
    assert (row["desired"], row["version"], row["by"], row["at"]) == (30, 1, "bob", NOW + 1)
    assert (row["spec"], row["reported"], row["state"]) == (SPECS["interval_s"], None, "waiting")
    assert versions(tank) == 1


def test_a_request_is_one_entry_of_the_audit_with_what_was_before(tank: Device, bob: User) -> None:
    want(tank, bob, interval_s=30)
    want(tank, bob, interval_s=40, led="on")
    entries = AuditEntry.objects.filter(action="setting.wanted").order_by("pk")
    assert [(one.by, one.target, one.detail) for one in entries] == [
        ("bob", "pump-1", {"interval_s": [None, 30]}),
        ("bob", "pump-1", {"interval_s": [30, 40], "led": [None, True]}),
    ]


def test_what_is_wanted_already_changes_nothing(tank: Device, bob: User) -> None:
    want(tank, bob, interval_s=30)
    assert want(tank, bob, NOW + 9, interval_s=30, mode=None) == []
    assert (versions(tank), shown(tank)["at"]) == (1, NOW)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"interval_s": 30}, 30), ({"interval_s": 0.5e3}, 500.0), ({"interval_s": "30"}, 30), ({"led": "ON"}, True),
        ({"led": False}, False), ({"mode": "auto"}, "auto"), ({"mode": 1}, 1), ({"label": "x"}, "x"),
        ({"label": 5}, "5"),
    ],
)  # fmt: skip
def test_a_value_is_taken_in_the_form_that_was_announced(tank: Device, given: dict[str, Any], taken: object) -> None:
    want(tank, **given)
    row = Setting.objects.get(device=tank)
    assert (row.desired, type(row.desired)) == (taken, type(taken))


@pytest.mark.parametrize(
    "given",
    [
        {"interval_s": 0}, {"interval_s": 3601}, {"interval_s": True}, {"interval_s": "soon"}, {"interval_s": [30]},
        {"interval_s": 1e999}, {"mode": "warp"}, {"mode": True}, {"led": 2}, {"led": "maybe"}, {"label": "x" * 1025},
        {"label": "a\0b"}, {"label": {"a": 1}},
    ],
)  # fmt: skip
def test_what_the_device_did_not_announce_is_refused_by_name_and_nothing_is_taken(
    tank: Device, given: dict[str, Any]
) -> None:
    with pytest.raises(Refusal) as refused:
        want(tank, **{"mode": "eco", **given})
    assert refused.value.code == "bad_value"
    assert set(refused.value.fields or {}) == set(given)
    assert not Setting.objects.exists()
    assert not AuditEntry.objects.filter(action="setting.wanted").exists()


def test_a_setting_that_was_not_announced_is_refused_with_those_that_were(tank: Device) -> None:
    with pytest.raises(Refusal) as refused:
        want(tank, colour="red")
    assert refused.value.code == "setting_unknown"
    assert refused.value.message == "pump-1 has no setting 'colour'; it announced: interval_s, label, led, mode."


def test_to_a_device_that_announced_none_any_scalar_can_be_wanted(pump: Device) -> None:
    want(pump, anything="goes", number=2**53 - 1, truth=True)
    assert {row.name: row.desired for row in Setting.objects.all()} == {
        "anything": "goes", "number": 2**53 - 1, "truth": True,
    }  # fmt: skip
    for bad in ({"a": 2**53}, {"a": {}}, {"a+b": 1}, {"": 1}, {"a\0": 1}, {"a": "\0"}):
        with pytest.raises(Refusal) as refused:
            want(pump, **bad)
        assert refused.value.code == "bad_value"


def test_what_was_wanted_once_can_be_given_back_whatever_is_announced_now(pump: Device) -> None:
    want(pump, old=1)
    learning.learn(wire.Announce(device=pump.key, settings=SPECS))
    assert want(pump, old=None) == ["old"]


def test_nothing_and_too_much_are_refused(pump: Device) -> None:
    want(pump, **{f"s{number}": number for number in range(values.MAX_METRICS)})
    for given in ({}, {"one_more": 1}):
        with pytest.raises(Refusal) as refused:
            want(pump, **given)
        assert refused.value.code == "invalid"


def test_a_device_that_was_deleted_in_this_moment_is_unknown(pump: Device) -> None:
    registry.remove(Device.objects.get(pk=pump.pk))
    with pytest.raises(Refusal) as refused:
        want(pump, a=1)
    assert refused.value.code == "device_unknown"


# --- two at once


def test_without_a_version_the_later_change_wins(tank: Device, alice: User, bob: User) -> None:
    want(tank, alice, interval_s=30)
    want(tank, bob, interval_s=40)
    assert (shown(tank)["desired"], shown(tank)["by"]) == (40, "bob")


def test_with_a_version_who_comes_later_is_told_who_changed_what_to_what_and_when(
    tank: Device, alice: User, bob: User
) -> None:
    want(tank, alice, interval_s=30)
    with pytest.raises(Refusal) as refused:
        want(tank, bob, version=0, interval_s=40, mode="eco")
    assert (refused.value.code, refused.value.status) == ("conflict", 409)
    assert refused.value.fields == {"interval_s": "was set to 30 by alice at 2026-09-21 14:13:20 UTC"}
    assert refused.value.message.startswith("Since version 0 interval_s was set to 30 by alice at 2026-09-21 14:13:20")
    # All or nothing: the other one was not taken either.
    assert [row.name for row in Setting.objects.all()] == ["interval_s"]


@pytest.mark.parametrize("given", [{"mode": "eco"}, {"interval_s": 30}])
def test_another_setting_or_the_same_value_is_no_conflict(
    tank: Device, alice: User, bob: User, given: dict[str, Any]
) -> None:
    want(tank, alice, interval_s=30)
    want(tank, bob, version=0, **given)
    assert shown(tank)["desired"] == 30


def test_what_one_changed_oneself_is_no_conflict(tank: Device, alice: User) -> None:
    want(tank, alice, interval_s=30)
    assert want(tank, alice, version=0, interval_s=40) == ["interval_s"]


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_with_different_settings_all_win(tank: Device) -> None:
    names = [f"s{number}" for number in range(6)]
    Device.objects.update(settings={})
    together(*(partial(want, tank, **{name: 1}) for name in names))
    assert {row.name: row.desired for row in Setting.objects.all()} == dict.fromkeys(names, 1)
    assert sorted(row.version for row in Setting.objects.all()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_with_one_version_one_wins_and_the_others_are_told(tank: Device) -> None:
    users = [User.objects.create_user(f"user-{number}") for number in range(6)]

    def attempt(number: int) -> str:
        try:
            want(tank, users[number], version=0, interval_s=number + 1)
        except Refusal as refused:
            return refused.code
        return "taken"

    outcomes = together(*(partial(attempt, number) for number in range(6)))
    assert sorted(outcomes) == ["conflict"] * 5 + ["taken"]
    assert shown(tank)["desired"] == outcomes.index("taken") + 1
    assert versions(tank) == 1


@pytest.mark.django_db(transaction=True)
def test_people_and_devices_at_once_each_write_their_own(tank: Device) -> None:
    def person() -> None:
        for number in range(1, 10):
            want(tank, mode="eco" if number % 2 else "auto", interval_s=number)

    def device() -> None:
        for number in range(1, 10):
            reports(tank, version=number, interval_s=number, mode="eco")

    def bridge() -> None:
        for number in range(1, 10):
            tell(NOW + number * 600_000)

    together(person, device, bridge)
    row = shown(tank)
    assert (row["desired"], row["version"], row["reported"]) == (9, 9, 9)


# --- what devices report


def test_what_is_reported_with_the_version_is_kept(tank: Device) -> None:
    want(tank, interval_s=30)
    assert tell(NOW + 1) == [{"interval_s": 30}]
    assert state(tank) == "sent"
    reports(tank, 1, interval_s=30)
    assert (state(tank), shown(tank)["answered"], shown(tank)["reported_at"]) == ("kept", 1, NOW + 5)
    assert desired.differences([tank.pk]) == []


def test_a_device_that_keeps_another_value_is_shown_and_not_fought(tank: Device) -> None:
    want(tank, interval_s=30)
    tell(NOW + 1)
    reports(tank, 1, interval_s=20)
    assert (state(tank), shown(tank)["reported"]) == ("different", 20)
    assert tell(NOW + 10**9) == []


def test_an_older_version_is_no_answer(tank: Device) -> None:
    want(tank, interval_s=30)
    want(tank, interval_s=40)
    reports(tank, 1, interval_s=30)
    assert tell(NOW + 6) == [{"interval_s": 40}]


def test_who_has_lost_its_settings_and_says_so_is_told_at_once(tank: Device) -> None:
    want(tank, interval_s=30)
    tell(NOW + 1)
    reports(tank, 1, interval_s=30)
    reports(tank, 0, NOW + 6, interval_s=10)
    assert tell(NOW + 7) == [{"interval_s": 30}]
    assert tell(NOW + 8) == []


def test_a_version_that_was_never_given_answers_nothing_that_comes_later(tank: Device) -> None:
    want(tank, interval_s=30)
    reports(tank, 2**62, interval_s=10)
    assert shown(tank)["answered"] == 1
    want(tank, interval_s=40)
    assert tell(NOW + 6) == [{"interval_s": 40}]


def test_a_device_that_counts_no_versions_answers_by_what_it_keeps(tank: Device) -> None:
    want(tank, interval_s=30)
    tell(NOW + 1)
    reports(tank, interval_s=20)
    assert state(tank) == "sent"
    reports(tank, interval_s=30)
    assert state(tank) == "kept"
    want(tank, interval_s=None)
    reports(tank, interval_s=30)
    assert state(tank) == "waiting"  # it cannot know yet
    tell(NOW + 2)
    reports(tank, interval_s=10)
    assert (state(tank), desired.differences([tank.pk])) == ("own", [])


@pytest.mark.parametrize("kept", [{"interval_s": 10}, {"led": False}, {}])
def test_what_nobody_wants_any_more_is_told_until_the_version_comes_back(tank: Device, kept: dict[str, Any]) -> None:
    want(tank, interval_s=30)
    tell(NOW + 1)
    reports(tank, 1, interval_s=30)
    want(tank, interval_s=None)
    assert tell(NOW + 6) == [{"interval_s": None}]
    reports(tank, 2, **kept)
    assert (state(tank), desired.differences([tank.pk])) == ("own", [])


@pytest.mark.parametrize(
    ("wanted", "kept", "are_same"),
    [
        (0.1, 0.10000000149011612, True), (30, 30.0, True), (21.5, 21.4, False), (10_000_001, 10_000_002, False),
        (True, 1, False), (1, True, False), ("on", True, False), ("a", "a", True), (0, 0.0, True), (0.0, 1e-9, False),
        (5, None, False),
    ],
)  # fmt: skip
def test_numbers_are_as_exact_as_small_devices_count(wanted: Any, kept: Any, *, are_same: bool) -> None:
    assert desired.same(wanted, kept) is are_same


def test_what_was_reported_before_is_not_written_again(tank: Device, django_assert_num_queries: Any) -> None:
    reports(tank, 0, interval_s=30)
    with django_assert_num_queries(2):
        reports(tank, 0, NOW + 99, interval_s=30)
    assert shown(tank)["reported_at"] == NOW + 5


def test_many_devices_are_taken_in_with_three_queries(greenhouse: Fleet, django_assert_num_queries: Any) -> None:
    keys = [registry.create(f"d{number}", greenhouse)[0].key for number in range(20)]
    batch = [wire.Report(device=key, values={"a": 1, "b": 2}, received_at=NOW) for key in keys]
    with django_assert_num_queries(3):
        desired.report([*batch, *batch], NOW)
    assert Setting.objects.count() == 40


def test_a_device_may_have_as_many_settings_as_metrics(pump: Device) -> None:
    reports(pump, **{f"s{number}": 1 for number in range(values.MAX_METRICS)})
    with pytest.raises(values.Bad) as bad:
        reports(pump, one_more=1)
    assert bad.value.reason == "too_many_metrics"


def test_a_report_comes_in_with_everything_else_and_one_too_many_costs_itself_alone(pump: Device) -> None:
    full = {f"s{number}": 1 for number in range(values.MAX_METRICS)}
    said = [
        ("reported", full),
        ("telemetry", {"temperature": 21.5}),
        ("reported", {"version": 0, "values": {"one_more": 1}}),
    ]
    stored = intake.take(
        [
            wire.Message(topic=f"hub/pump-1/{leaf}", payload=msgspec.json.encode(payload), received_at=NOW, qos=1)
            for leaf, payload in said
        ],
        registry.directory(),
        NOW,
    )
    assert [one.reason for one in stored.rejects] == ["too_many_metrics"]
    assert stored.frames == 1
    assert Setting.objects.filter(device=pump).count() == values.MAX_METRICS


def test_what_comes_of_a_device_that_was_deleted_in_this_moment_is_nobodys(pump: Device) -> None:
    registry.remove(Device.objects.get(pk=pump.pk))
    reports(pump, a=1)
    assert not Setting.objects.exists()


# --- what devices have to be told


def test_it_is_told_again_after_ten_seconds_and_then_ever_more_rarely(tank: Device) -> None:
    want(tank, interval_s=30)
    told = [second for second in range(0, 3600, 10) if tell(NOW + second * 1000)]
    assert told[:9] == [0, 10, 20, 40, 80, 160, 320, 640, 1240]
    assert {later - before for before, later in pairwise(told[7:])} == {600}


def test_who_is_not_there_is_told_when_it_comes_and_from_then_on_as_often_as_anybody(tank: Device) -> None:
    comes(tank, NOW + 1, online=False)
    want(tank, interval_s=30)
    assert tell(NOW + 86_400_000) == []
    came = NOW + 100_000_000
    comes(tank, came)
    assert [second for second in range(100) if tell(came + second * 1000)] == [0, 10, 20, 40, 80]


def test_who_connects_anew_is_told_again_at_once_for_it_may_have_missed_it(tank: Device) -> None:
    comes(tank, NOW + 1)
    want(tank, interval_s=30)
    assert tell(NOW + 10) == [{"interval_s": 30}]
    comes(tank, NOW + 2000)  # nobody saw it go
    assert tell(NOW + 2001) == [{"interval_s": 30}]
    assert tell(NOW + 2002) == []


def test_who_sleeps_is_told_when_it_wakes(tank: Device) -> None:
    comes(tank, NOW + 1, sleep_s=900)
    comes(tank, NOW + 2, online=False)
    want(tank, interval_s=30)
    assert tell(NOW + 60_000) == []
    comes(tank, NOW + 900_000, sleep_s=900)
    assert tell(NOW + 900_001) == [{"interval_s": 30}]
    # It went to sleep without an answer, and wakes again.
    comes(tank, NOW + 901_000, online=False)
    assert tell(NOW + 1_000_000) == []
    comes(tank, NOW + 1_800_000, sleep_s=900)
    assert tell(NOW + 1_800_001) == [{"interval_s": 30}]


def test_what_is_changed_while_it_is_sent_is_not_taken_for_sent(tank: Device) -> None:
    want(tank, interval_s=30, mode="eco")
    due = desired.due(NOW)
    want(tank, interval_s=40)
    desired.sent(due, NOW + 1)
    assert (state(tank), state(tank, "mode")) == ("waiting", "sent")
    assert tell(NOW + 2) == [{"interval_s": 40, "mode": "eco"}]


def test_it_is_told_with_its_gateway_and_the_version_of_all_that_is_wanted(tank: Device, greenhouse: Fleet) -> None:
    gate, _ = registry.create("gate", greenhouse)
    Device.objects.filter(pk=tank.pk).update(gateway=gate)
    want(tank, interval_s=30)
    want(tank, mode="eco")
    (one,) = desired.due(NOW)
    assert (one.device, one.gateway, one.version, one.values) == (
        "pump-1",
        "gate",
        2,
        {"interval_s": 30, "mode": "eco"},
    )


def test_a_disabled_device_is_told_nothing(tank: Device) -> None:
    want(tank, interval_s=30)
    Device.objects.update(enabled=False)
    assert tell(NOW) == []


def test_one_look_takes_a_hundred_devices_with_two_queries_and_the_next_the_rest(
    greenhouse: Fleet, django_assert_num_queries: Any
) -> None:
    devices = [registry.create(f"d{number}", greenhouse)[0] for number in range(desired.AT_ONCE + 1)]
    telemetry.record([wire.Presence(device=one.key, online=True, received_at=NOW) for one in devices], NOW)
    for one in devices:
        want(one, a=1)
    with django_assert_num_queries(2):
        first = desired.due(NOW)
    desired.sent(first, NOW)
    assert [len(first), len(desired.due(NOW))] == [desired.AT_ONCE, 1]
    assert [one.device for one in desired.due(NOW + 60_000, [devices[3].key])] == ["d3"]


def test_each_change_rings_once_and_nothing_rings_for_nothing(
    tank: Device, django_capture_on_commit_callbacks: Any
) -> None:
    changes = [
        partial(want, tank, interval_s=30),
        partial(tell, NOW),
        partial(reports, tank, 1, interval_s=30),
        partial(learning.learn, wire.Announce(device=tank.key, settings={"new": {"type": "bool"}})),
    ]
    for change in changes:
        with django_capture_on_commit_callbacks() as first:
            change()
        with django_capture_on_commit_callbacks() as again:
            change()
        assert [len(first), len(again)] == [1, 0]


def test_of_setting_says_what_a_value_may_be(tank: Device) -> None:
    with pytest.raises(Refusal) as refused:
        arguments.of_setting(tank, "interval_s", 0)
    assert refused.value.message == "interval_s takes a number from 1 to 3600."
    assert refused.value.fields == {"interval_s": "must be a number from 1 to 3600"}
