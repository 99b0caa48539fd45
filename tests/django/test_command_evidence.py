"""What is known of a command: who proved what, how far an update is, what a reading shows, what came too late."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import commands, groups, telemetry, wire
from devices.models import Command, CommandEvent, Device
from tests.django.orders import NOW, ack, claim, claims, handed_over, issue, log, make_device, state


@pytest.fixture
def tank(db: None) -> Device:
    """A device that is online and announced nothing."""
    return make_device("tank")


def who(command: Command) -> list[tuple[str, str]]:
    return list(CommandEvent.objects.filter(command=command).values_list("state", "by"))


def steps(command: Command) -> list[tuple[str, float | None]]:
    rows = CommandEvent.objects.filter(command=command, state="received")
    return list(rows.values_list("step", "progress"))


# --- who


def test_each_move_says_who_proved_it(tank: Device) -> None:
    carol = User.objects.create_user("carol")
    command, _ = commands.issue(tank, "led", True, user=carol, now=NOW)
    commands.sent([claim(command)], NOW + 1)
    ack(command, "received", NOW + 2)
    commands.sweep(NOW + 70_000)
    ack(command, "succeeded", NOW + 80_000)
    assert who(command) == [
        ("queued", "carol"),
        ("sent", "the broker"),
        ("received", "tank"),
        ("timed_out", "the hub"),
        ("succeeded", "tank"),
    ]


def test_who_answers_first_proves_that_it_was_sent(tank: Device) -> None:
    command = issue(tank)
    claim(command)
    ack(command, "succeeded")
    assert who(command) == [("queued", "the hub"), ("sent", "tank"), ("succeeded", "tank")]


def test_watchers_are_told_who_gave_it_and_of_a_cancelled_one_who_did_that(
    tank: Device, django_capture_on_commit_callbacks: Any
) -> None:
    carol = User.objects.create_user("carol")
    with django_capture_on_commit_callbacks() as rung:
        first, _ = commands.issue(tank, "led", True, user=carol, now=NOW)
        second, _ = commands.issue(make_device("boiler"), "led", True, user=carol, now=NOW)
        commands.sent([claim(first)], NOW)
        commands.cancel(second.pk, NOW, "dave")
    told: list[groups.CommandState] = [
        message
        for callback in rung
        for message in callback.args  # type: ignore[attr-defined]
        if message["type"] == "device.command_state"
    ]
    assert [(message["state"], message["by"]) for message in told] == [
        ("queued", "carol"),
        ("queued", "carol"),
        ("sent", "carol"),
        ("cancelled", "dave"),
    ]


# --- what came too late


@pytest.mark.parametrize("late", [0, 60_000])
def test_a_device_refuses_what_came_too_late_and_nothing_else_says_expired_of_what_was_sent(
    tank: Device, late: int
) -> None:
    command = handed_over(tank)
    commands.sweep(NOW + late)
    assert ack(command, "expired", NOW + late, message="12 s late")
    assert state(command) == "expired"
    assert log(command)[-1] == ("expired", NOW + late, "the device answered")
    assert command.events.last().message == "12 s late"  # type: ignore[union-attr]


def test_who_accepted_it_does_not_call_it_expired(tank: Device) -> None:
    command = handed_over(tank)
    ack(command, "received")
    assert not ack(command, "expired")
    assert state(command) == "received"


def test_a_late_answer_settles_what_the_device_had_refused(tank: Device) -> None:
    command = handed_over(tank)
    ack(command, "expired")
    assert ack(command, "succeeded")
    assert state(command) == "succeeded"


# --- an update's steps


def test_each_step_is_an_event_and_progress_within_one_is_kept_in_place(tank: Device) -> None:
    command = handed_over(tank)
    assert ack(command, "received", NOW + 3, step="downloading", progress=0.1)
    assert ack(command, "received", NOW + 4, step="downloading", progress=0.7)
    assert ack(command, "received", NOW + 5, progress=0.9)
    assert ack(command, "received", NOW + 6, step="verified")
    assert ack(command, "received", NOW + 7, step="restarting", progress=1.0)
    assert steps(command) == [("downloading", 0.9), ("verified", None), ("restarting", 1.0)]
    assert who(command)[2:] == [("received", "tank")] * 3
    assert Command.objects.get().changed_at == NOW + 7


def test_a_step_that_comes_after_a_later_one_changes_nothing(tank: Device) -> None:
    command = handed_over(tank)
    ack(command, "received", step="verified", progress=0.5)
    assert not ack(command, "received", step="downloading", progress=0.9)
    assert steps(command) == [("verified", 0.5)]


def test_what_is_answered_at_the_end_names_the_step_at_which_it_ended(tank: Device) -> None:
    command = handed_over(tank)
    ack(command, "received", step="downloading")
    ack(command, "failed", step="downloading", message="no room")
    assert command.events.last().step == "downloading"  # type: ignore[union-attr]


def test_a_batch_of_answers_is_taken_in_its_order_in_a_few_statements(
    tank: Device, django_assert_max_num_queries: Any, django_capture_on_commit_callbacks: Any
) -> None:
    given = [handed_over(make_device(f"d-{number}")) for number in range(30)]
    told: list[wire.Ack] = []
    for command in given:
        said: dict[str, Any] = {"device": command.device.key, "cid": command.pk, "received_at": NOW}
        told += [
            wire.Ack(status="received", step="downloading", **said),
            wire.Ack(status="received", progress=0.5, **said),
            wire.Ack(status="received", step="installing", **said),
            wire.Ack(status="succeeded", **said),
            wire.Ack(status="failed", **said),
        ]
    with django_assert_max_num_queries(10), django_capture_on_commit_callbacks() as rung:
        idle = commands.settle(told, NOW + 9)
    assert [one.status for one in idle] == ["failed"] * 30
    assert {command.state for command in Command.objects.all()} == {"succeeded"}
    assert steps(given[7]) == [("downloading", 0.5), ("installing", None)]
    assert len(rung) == 1


# --- readings that prove it


def read(value: object, at: int = NOW + 100, name: str = "led", **given: Any) -> None:
    frame = wire.Frame(device="tank", values={name: value}, received_at=at, **given)  # type: ignore[dict-item]
    telemetry.record([frame], at)


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [(True, True), (True, "on"), (True, 1), (False, "OFF"), ("on", True), (21.5, 21.5), (21, 21.0), ("eco", "eco")],
)
def test_a_reading_confirms_what_a_device_did_that_never_answers(tank: Device, wanted: object, shown: object) -> None:
    command = handed_over(tank, args=wanted)
    read(shown)
    assert commands.sweep(NOW + 200) == 1
    assert state(command) == "succeeded"
    said = wire.command_payload(wanted).decode()
    assert log(command)[-1] == ("succeeded", NOW + 200, f"its reading led = {said} (frame 1)")
    assert who(command)[-1] == ("succeeded", "tank")


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (True, {"value": False}),
        (True, {"value": "true story"}),
        (21.5, {"value": 21.4}),
        (True, {"value": True, "name": "lamp"}),
        (True, {"value": True, "at": NOW}),  # it came before the claim
        (True, {"value": True, "at": NOW + 60_000}),  # it came after the end
        (True, {"value": True, "retained": True, "ts": NOW + 50}),
        ({"a": 1}, {"value": True}),
        (None, {"value": True}),
    ],
)
def test_another_reading_proves_nothing(tank: Device, wanted: object, given: dict[str, Any]) -> None:
    command = handed_over(tank, args=wanted)
    read(**given)
    assert commands.sweep(NOW + 200) == 0
    assert state(command) == "sent"


def test_a_reading_that_came_late_proves_nothing(tank: Device) -> None:
    command = handed_over(tank, args=True)
    read(False, NOW + 100)
    read(True, NOW + 110, ts=NOW + 50)
    assert commands.sweep(NOW + 200) == 0
    assert state(command) == "sent"


def test_a_frame_from_before_the_claim_proves_nothing(tank: Device) -> None:
    read(True, NOW)
    command = handed_over(tank, args=True)
    assert commands.sweep(NOW + 200) == 0
    assert state(command) == "sent"


def test_who_ever_answered_is_not_believed_by_its_readings(tank: Device) -> None:
    assert not Device.objects.get().answers
    ack(handed_over(tank, args=True), "received")
    assert Device.objects.get().answers
    command = handed_over(tank, args=True)
    read(True)
    assert commands.sweep(NOW + 200) == 0
    assert state(command) == "sent"


def test_who_answers_for_another_does_not_count_as_answering(tank: Device) -> None:
    boiler = make_device("boiler")
    ack(handed_over(tank), "succeeded", device="boiler")
    boiler.refresh_from_db()
    assert not boiler.answers


def test_a_device_that_says_much_is_looked_through_in_several_sweeps(tank: Device) -> None:
    command = handed_over(tank, args=True)
    noise = [wire.Frame(device="tank", values={"led": False}, received_at=NOW + 9) for _ in range(250)]
    telemetry.record(noise, NOW + 9)
    read(True)
    assert [commands.sweep(NOW + 200 + turn) for turn in range(4)] == [0, 0, 1, 0]
    assert log(command)[-1][2] == "its reading led = on (frame 251)"


def test_what_was_looked_through_is_not_read_again(tank: Device, django_assert_num_queries: Any) -> None:
    handed_over(tank, args=True)
    read(False)
    commands.sweep(NOW + 200)
    with django_assert_num_queries(6):
        assert commands.sweep(NOW + 300) == 0
    assert claims(NOW + 300) == []
