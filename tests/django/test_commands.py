"""Commands: evidence, not hope. What is claimed, sent, answered, late, doubled or another's, row by row."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, get_args

import pytest
from django.contrib.auth.models import User

from devices import arguments, commands, lifecycle, registry, wire
from devices.dialects import Order
from devices.errors import Refusal
from devices.lifecycle import State
from devices.models import AuditEntry, Command, CommandEvent, Device, Fleet
from tests.django.orders import NOW, ack, claim, claims, handed_over, issue, log, make_device, say, state
from tests.django.together import together

STATES: tuple[State, ...] = get_args(State)
ANNOUNCED = {
    "led": {"type": "bool"},
    "setpoint": {"type": "number", "min": 5, "max": 30},
    "speed": {"type": "number", "min": 0},
    "offset": {"type": "number"},
    "mode": {"type": "enum", "options": ["eco", "auto", 1]},
    "say": {"type": "text"},
    "reboot": {"type": "action"},
}


@pytest.fixture
def tank(db: None) -> Device:
    """A device that is online and announced nothing."""
    return make_device("tank")


# --- issue


def test_a_command_is_queued_with_a_short_id_and_its_first_event(tank: Device) -> None:
    user = User.objects.create_user("carol")
    command, new = commands.issue(tank, "led", True, user=user, now=NOW, ttl_s=5)
    assert new
    assert len(command.pk) == 12
    assert (command.state, command.args, command.expires_at) == ("queued", True, NOW + 5000)
    (event,) = command.events.all()
    assert (event.state, event.at, event.proof, event.by) == ("queued", NOW, "accepted by the hub", "carol")


def test_the_doorbell_rings_once_the_row_is_committed(tank: Device, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks() as rung:
        issue(tank)
    told = [message["type"] for callback in rung for message in callback.args]  # type: ignore[attr-defined]
    assert told == ["device.order", "device.command_state"]  # for the bridge; for browsers


@pytest.mark.parametrize("ttl_s", [0, -1, 7 * 86_400 + 1, True, 1.5, "60"])
def test_a_ttl_is_whole_seconds_from_one_to_a_week(tank: Device, ttl_s: Any) -> None:
    with pytest.raises(Refusal) as refused:
        issue(tank, ttl_s=ttl_s)
    assert (refused.value.code, refused.value.fields) == ("invalid", {"ttl_s": "is out of range"})


def test_fifty_commands_wait_and_one_more_is_refused(tank: Device) -> None:
    waiting = [issue(tank) for _ in range(50)]
    with pytest.raises(Refusal) as refused:
        issue(tank)
    assert (refused.value.status, refused.value.code) == (429, "too_many_waiting")
    assert refused.value.message == "50 commands wait for tank already; wait for it, or cancel some."
    assert commands.cancel(waiting[0].pk, NOW, "carol")
    assert issue(tank).state == "queued"


def test_a_repeated_key_returns_the_first_command_whatever_has_changed_since(tank: Device) -> None:
    first = issue(tank, key="k1")
    Device.objects.update(commands={"other": {"type": "action"}})
    again, new = commands.issue(Device.objects.get(), "led", "x", user=None, now=NOW + 5, key="k1")
    assert (again, new) == (first, False)
    assert Command.objects.count() == 1


def test_a_repeated_key_is_answered_although_fifty_wait(tank: Device) -> None:
    first, *_ = [issue(tank, key=str(number)) for number in range(50)]
    assert issue(tank, key="0") == first


def test_the_same_key_for_another_device_is_another_command(tank: Device) -> None:
    assert issue(tank, key="k1") != issue(make_device("boiler"), key="k1")


@pytest.mark.parametrize("key", ["", "x" * 129, "a\0", "a\n", "\ud800"])
def test_a_key_that_no_database_takes_is_refused(tank: Device, key: str) -> None:
    with pytest.raises(Refusal, match="key must have 1 to 128 printable characters; a UUID does"):
        issue(tank, key=key)


def test_a_device_that_was_just_deleted_takes_no_command(tank: Device) -> None:
    copy = Device.objects.get()
    registry.remove(tank)
    with pytest.raises(Refusal, match="There is no device 'tank'"):
        issue(copy)


# --- the same for many


def issue_many(devices: list[Device], args: object = True, **given: Any) -> list[Command | Refusal]:
    return commands.issue_many(devices, "led", args, user=None, now=NOW, ttl_s=60, **given)


def refused(given: Command | Refusal) -> str:
    return given.code if isinstance(given, Refusal) else ""


def test_many_get_the_same_command_each_in_the_form_it_announced_or_the_reason_why_not(tank: Device) -> None:
    plain, full, switch, gone = (make_device(key) for key in ("plain", "full", "switch", "gone"))
    for _ in range(50):
        issue(full)
    Device.objects.filter(pk=switch.pk).update(commands={"led": {"type": "bool"}})
    Device.objects.filter(pk=tank.pk).update(commands={"pump": {"type": "bool"}})
    registry.remove(Device.objects.get(pk=gone.pk))
    tank.refresh_from_db()
    switch.refresh_from_db()
    given = issue_many([tank, plain, full, switch, gone], "on", reason="frost")
    assert [refused(one) for one in given] == ["command_unknown", "", "too_many_waiting", "", "device_unknown"]
    assert Command.objects.get(device=plain, reason="frost").args == "on"
    assert Command.objects.get(device=switch, reason="frost").args is True
    assert (
        list(CommandEvent.objects.filter(command__reason="frost").values_list("state", "by"))
        == [("queued", "the hub")] * 2
    )


def test_what_a_device_calls_dangerous_is_confirmed_for_all_or_refused_for_it(tank: Device) -> None:
    Device.objects.update(commands={"led": {"type": "bool", "dangerous": True}})
    devices = [Device.objects.get()]
    assert [refused(one) for one in issue_many(devices)] == ["confirmation_needed"]
    assert [refused(one) for one in issue_many(devices, confirmed=True)] == [""]


def test_all_of_many_end_at_the_same_time_and_each_has_an_id_of_its_own(
    db: None, django_assert_max_num_queries: Any
) -> None:
    fleet = Fleet.objects.create(slug="cellar", name="Cellar")
    registry.create_many([registry.draft(f"d-{number}", fleet)[0] for number in range(100)])
    devices = list(Device.objects.order_by("pk"))
    with django_assert_max_num_queries(16):
        given = issue_many(devices, expires_at=NOW + 5_500)
    assert {one.expires_at for one in given if isinstance(one, Command)} == {NOW + 6_000}
    assert [one.device for one in given if isinstance(one, Command)] == devices
    assert Command.objects.count() == 100
    assert wire.expiry_of(Command.objects.all()[0].pk) == NOW + 6_000


# --- arguments


@pytest.mark.parametrize(
    ("name", "args", "kept"),
    [
        ("led", True, True),
        ("led", "ON", True),
        ("led", "false", False),
        ("setpoint", 5, 5),
        ("setpoint", "21.5", 21.5),
        ("setpoint", 30.0, 30.0),
        ("speed", 1e9, 1e9),
        ("offset", -3, -3),
        ("mode", "eco", "eco"),
        ("mode", 1, 1),
        ("say", "°C ✓", "°C ✓"),
        ("say", "", ""),
        ("say", 21.5, "21.5"),
        ("reboot", None, None),
        ("reboot", "", None),
        ("reboot", {}, None),
    ],
)
def test_an_argument_is_kept_in_the_form_that_the_device_announced(name: str, args: object, kept: object) -> None:
    found = arguments.of_command(Device(key="tank", commands=ANNOUNCED), name, args)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("led", 1, "led takes on or off."),
        ("led", "blue", "led takes on or off."),
        ("led", None, "led takes on or off."),
        ("led", [True], "led takes on or off."),
        ("setpoint", 4.9, "setpoint takes a number from 5 to 30."),
        ("setpoint", 30.1, "setpoint takes a number from 5 to 30."),
        ("setpoint", "warm", "setpoint takes a number from 5 to 30."),
        ("setpoint", True, "setpoint takes a number from 5 to 30."),
        ("setpoint", float("nan"), "setpoint takes a number from 5 to 30."),
        ("setpoint", "nan", "setpoint takes a number from 5 to 30."),
        ("setpoint", None, "setpoint takes a number from 5 to 30."),
        ("speed", -1, "speed takes a number, at least 0."),
        ("offset", "x", "offset takes a number."),
        ("offset", 10**400, "offset takes a number."),
        ("mode", "fast", "mode takes one of eco, auto, 1."),
        ("mode", True, "mode takes one of eco, auto, 1."),
        ("mode", ["eco"], "mode takes one of eco, auto, 1."),
        ("mode", None, "mode takes one of eco, auto, 1."),
        ("say", None, "say takes a text."),
        ("say", {"a": 1}, "say takes a text."),
        ("say", "a\0", "args has a NUL character at position 1."),
        ("say", "\ud800", "args has half a character (a lone surrogate) at position 0."),
        ("say", "x" * 1025, "args has more than 1024 bytes of text."),
        ("reboot", True, "reboot takes no argument."),
    ],
)
def test_another_argument_is_refused_with_what_it_may_be(name: str, args: object, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        arguments.of_command(Device(key="tank", commands=ANNOUNCED), name, args)
    assert (refused.value.code, refused.value.message) == ("bad_args", message)


def test_a_command_that_was_not_announced_is_refused_with_those_that_were() -> None:
    device = Device(key="tank", commands={"led": {"type": "bool"}, "dim": {"type": "number"}})
    with pytest.raises(Refusal) as refused:
        arguments.of_command(device, "lamp", True)
    assert refused.value.code == "command_unknown"
    assert refused.value.message == "tank has no command 'lamp'; it announced: dim, led."


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a+", "#", "a\0", "x" * 129])
def test_a_name_that_is_no_level_of_a_topic_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        arguments.of_command(Device(key="tank", commands={}), name, None)
    assert refused.value.code == "command_unknown"


@pytest.mark.parametrize("args", [None, True, 1.5, "x" * 1024, {"rgb": [1, 2, None]}, []])
def test_a_device_that_announced_nothing_takes_any_argument(args: object) -> None:
    assert arguments.of_command(Device(key="tank", commands={}), "led", args) == args


@pytest.mark.parametrize("args", [10**400, float("inf"), {"a": "\0"}, {"\udfff": 1}, "x" * 1025, ["x" * 600] * 2])
def test_but_none_that_cannot_be_stored_or_sent(args: object) -> None:
    with pytest.raises(Refusal) as refused:
        arguments.of_command(Device(key="tank", commands={}), "led", args)
    assert refused.value.code == "bad_args"


# --- claim


def test_a_claim_says_what_to_publish_and_where(tank: Device) -> None:
    child, _ = registry.create("valve", tank.fleet, gateway=tank)
    say("valve", online=True)
    order = claim(issue(child, {"a": 1}))
    assert (order.device, order.gateway, order.name, order.args) == ("valve", "tank", "led", {"a": 1})


def test_a_claim_has_one_winner(tank: Device) -> None:
    command = issue(tank)
    assert claims() == [command.pk]
    assert claims() == []
    assert commands.claim(frozenset(["tank"]), NOW) == []


def test_an_offline_devices_command_waits_and_goes_when_it_comes_online(tank: Device) -> None:
    say("tank", online=False)
    command = issue(tank)
    assert (claims(), commands.claim(frozenset(["tank"]), NOW)) == ([], [])
    say("tank", online=True)
    assert claim(command)


def test_a_disabled_devices_command_waits(tank: Device) -> None:
    issue(tank)
    registry.change(tank, {"enabled": False})
    assert (claims(), commands.claim(frozenset(["tank"]), NOW)) == ([], [])


def test_an_expired_command_is_never_sent(tank: Device) -> None:
    command = issue(tank, ttl_s=1)
    assert claims(NOW + 1000) == []
    assert commands.claim(frozenset(["tank"]), NOW + 1000) == []
    assert commands.sweep(NOW + 999) == 0
    assert commands.sweep(NOW + 1000) == 1
    assert log(command)[1:] == [("expired", NOW + 1000, "its time ended before it could be sent")]


def test_commands_wait_in_the_order_of_their_issue(tank: Device) -> None:
    ids = [commands.issue(tank, "led", None, user=None, now=NOW + at)[0].pk for at in (3, 1, 2)]
    assert claims() == [ids[1], ids[2], ids[0]]


def test_a_refused_publish_gives_the_command_back(tank: Device) -> None:
    command = issue(tank)
    commands.unsent([claim(command)], NOW)
    assert state(command) == "queued"
    assert claim(command)


def test_a_publish_that_broke_off_is_unknown_and_not_repeated(tank: Device) -> None:
    command = issue(tank)
    order = claim(command)
    commands.lost([order], NOW + 5)
    assert log(command)[1:] == [("unknown", NOW + 5, "the connection broke before the broker answered")]
    commands.unsent([order], NOW)
    assert claims() == []


def test_a_claim_whose_bridge_died_becomes_unknown_and_is_not_queued_again(tank: Device) -> None:
    command = issue(tank)
    claim(command)
    assert commands.sweep(NOW + 29_999) == 0
    assert commands.sweep(NOW + 30_000) == 1
    assert log(command)[1:] == [("unknown", NOW + 30_000, "the bridge stopped while it was sending")]
    assert claims(NOW + 30_001) == []


def test_a_claimed_command_neither_expires_nor_is_cancelled(tank: Device) -> None:
    command = issue(tank, ttl_s=1)
    claim(command)
    assert commands.sweep(NOW + 2000) == 0
    assert not commands.cancel(command.pk, NOW, "carol")
    assert state(command) == "queued"


def test_cancelling_says_who_and_only_works_before_the_claim(tank: Device) -> None:
    command = issue(tank)
    assert commands.cancel(command.pk, NOW + 5, "carol")
    assert not commands.cancel(command.pk, NOW + 6, "carol")
    assert claims() == []
    assert list(command.events.values_list("state", "by"))[1:] == [("cancelled", "carol")]


# --- moves


def order_of(command: Command) -> Order:
    """What a bridge has in hand that claimed it."""
    return Order(device="tank", gateway=None, name="led", cid=command.pk, args=None, expires_at=command.expires_at)


MOVES: dict[str, Callable[[Command], object]] = {
    "sent": lambda command: commands.sent([order_of(command)], NOW),
    "unknown": lambda command: commands.lost([order_of(command)], NOW),
    "received": lambda command: ack(command, "received"),
    "succeeded": lambda command: ack(command, "succeeded"),
    "failed": lambda command: ack(command, "failed"),
    "rejected": lambda command: ack(command, "rejected"),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("source", "target"), list(product(STATES, MOVES)))
def test_a_row_moves_where_the_table_allows_and_nowhere_else(source: State, target: State) -> None:
    command = issue(make_device("tank"))
    Command.objects.update(state=source, claimed_at=NOW)
    MOVES[target](command)
    # An answer proves that a claimed command was sent, so from `queued` it takes two steps.
    on_the_way = source == "queued" and lifecycle.may("sent", target)
    moved = lifecycle.may(source, target) or on_the_way
    assert state(command) == (target if moved else source)


@pytest.mark.django_db
@pytest.mark.parametrize("source", STATES)
def test_only_what_is_queued_is_cancelled_or_expires(source: State) -> None:
    command = issue(make_device("tank"), ttl_s=1)
    Command.objects.update(state=source)
    assert commands.cancel(command.pk, NOW, "carol") == (source == "queued")
    Command.objects.update(state=source)
    commands.sweep(NOW + 1000)
    assert (state(command) == "expired") == (source in {"queued", "expired"})


def test_a_commands_whole_way_is_in_its_log(tank: Device) -> None:
    command = handed_over(tank)
    assert ack(command, "received", NOW + 3, progress=0.1)
    assert ack(command, "succeeded", NOW + 4, value=21.5)
    assert log(command) == [
        ("queued", NOW, "accepted by the hub"),
        ("sent", NOW + 2, "the broker acknowledged it"),
        ("received", NOW + 3, "the device answered"),
        ("succeeded", NOW + 4, "the device answered"),
    ]
    assert [event.message for event in command.events.all()] == ["", "", "", "21.5"]


def test_a_devices_answer_may_come_before_the_brokers_word(tank: Device) -> None:
    command = issue(tank)
    order = claim(command)
    assert ack(command, "failed", message="stuck")
    commands.sent([order], NOW + 10)
    assert [name for name, *_ in log(command)] == ["queued", "sent", "failed"]
    assert [event.message for event in command.events.all()] == ["", "", "stuck"]


def test_nobody_answers_for_another_device(tank: Device) -> None:
    make_device("boiler")
    command = handed_over(tank)
    assert not ack(command, "succeeded", device="boiler")
    strange = wire.Ack(device="tank", cid="nonsense", status="succeeded", received_at=NOW)
    assert commands.settle([strange], NOW) == [strange]
    assert state(command) == "sent"


def test_an_answer_to_what_was_never_sent_changes_nothing(tank: Device) -> None:
    waiting, cancelled, expired = issue(tank), issue(tank), issue(tank, ttl_s=1)
    commands.cancel(cancelled.pk, NOW, "carol")
    commands.sweep(NOW + 1000)
    for command in (waiting, cancelled, expired):
        assert not ack(command, "succeeded")
    assert [state(command) for command in (waiting, cancelled, expired)] == ["queued", "cancelled", "expired"]


@pytest.mark.parametrize("second", ["succeeded", "failed", "rejected", "received"])
def test_the_first_answer_counts(tank: Device, second: wire.AckStatus) -> None:
    command = handed_over(tank)
    assert ack(command, "succeeded")
    assert not ack(command, second)
    assert [name for name, *_ in log(command)] == ["queued", "sent", "succeeded"]


@pytest.mark.parametrize("answer", ["received", "succeeded", "failed", "rejected"])
def test_a_late_answer_settles_what_was_unknown(tank: Device, answer: wire.AckStatus) -> None:
    command = handed_over(tank)
    assert commands.sweep(NOW + 60_000) == 1
    assert log(command)[-1] == ("unknown", NOW + 60_000, "the device did not answer in time")
    assert ack(command, answer, NOW + 70_000)
    assert state(command) == answer


def test_a_device_that_accepted_and_fell_silent_timed_out_until_it_answers(tank: Device) -> None:
    command = handed_over(tank)
    ack(command, "received", NOW + 50_000)
    assert commands.sweep(NOW + 109_999) == 0
    assert commands.sweep(NOW + 110_000) == 1
    assert log(command)[-1] == ("timed_out", NOW + 110_000, "the device accepted it and said nothing more")
    assert ack(command, "succeeded", NOW + 200_000)


def test_progress_is_brought_up_to_date_in_place_and_keeps_the_command_alive(tank: Device) -> None:
    command = handed_over(tank)
    for step in range(5):
        assert ack(command, "received", NOW + 50_000 + step, progress=step / 4)
    (event,) = command.events.filter(state="received")
    assert event.progress == 1.0
    assert commands.sweep(NOW + 110_003) == 0


# --- several at once


@pytest.mark.django_db(transaction=True)
def test_of_several_bridges_one_claims_and_of_several_answers_one_counts() -> None:
    command = issue(make_device("tank"))
    claimed = together(*[lambda: commands.claim(None, NOW)] * 4)
    assert len([order for orders in claimed for order in orders]) == 1
    answers = together(*(partial(ack, command, answer) for answer in ("succeeded", "failed", "rejected")))
    assert answers.count(True) == 1
    assert len(log(command)) == 3


@pytest.mark.django_db(transaction=True)
def test_of_several_requests_with_one_key_one_makes_the_command() -> None:
    tank = make_device("tank")
    issued = together(*[lambda: commands.issue(tank, "led", True, user=None, now=NOW, key="k1")] * 4)
    assert len({command.pk for command, _ in issued}) == 1
    assert [new for _, new in issued].count(True) == 1


@pytest.mark.django_db(transaction=True)
def test_several_requests_at_once_do_not_get_past_the_fifty() -> None:
    tank = make_device("tank")
    for _ in range(48):
        issue(tank)

    def more() -> str:
        try:
            return issue(tank).state
        except Refusal as refusal:
            return refusal.code

    assert sorted(together(*[more] * 4)) == ["queued", "queued", "too_many_waiting", "too_many_waiting"]


@pytest.mark.django_db(transaction=True)
def test_a_cancel_and_a_claim_at_once_have_one_winner() -> None:
    tank = make_device("tank")
    for _ in range(5):
        cid = issue(tank).pk
        orders, cancelled = together(partial(commands.claim, None, NOW), partial(commands.cancel, cid, NOW, "carol"))
        assert bool(orders) != cancelled


def test_what_is_given_at_the_same_moment_is_judged_one_by_one_and_stored_together(
    tank: Device, django_assert_max_num_queries: Any
) -> None:
    carol, dave = (User.objects.create_user(name) for name in ("carol", "dave"))
    other = make_device("other")
    old, _ = commands.issue(tank, "led", True, user=carol, now=NOW, key="a")
    wishes = [
        commands.Wish(device=tank, name="led", args=True, user=carol, key="a"),
        commands.Wish(device=tank, name="led", args=True, user=carol, key="b"),
        commands.Wish(device=other, name="led", args=True, user=dave, key="b", ttl_s=5),
        commands.Wish(device=tank, name="led", args=False, user=dave, key="b"),
        commands.Wish(device=tank, name="led", args=True, user=dave, ttl_s=0),
        commands.Wish(device=tank, name="no such name", args=True, user=dave),
        commands.Wish(device=tank, name="led", args=True, user=dave, reason="why"),
    ]
    with django_assert_max_num_queries(12):
        again, first, theirs, repeated, endless, unknown, last = commands.issue_each(wishes, NOW + 1)
    assert again == (old, False)
    assert isinstance(first, tuple)
    assert repeated == (first[0], False)
    assert isinstance(theirs, tuple)
    assert (theirs[0].device, theirs[0].user, theirs[0].expires_at) == (other, dave, NOW + 6000)
    assert [getattr(refusal, "code", "") for refusal in (endless, unknown)] == ["invalid", "command_unknown"]
    assert isinstance(last, tuple)
    assert Command.objects.count() == 4
    noted = AuditEntry.objects.filter(action="command.issued").values_list("by", "target", "detail__reason")
    assert set(noted) == {("carol", "tank", None), ("dave", "other", None), ("dave", "tank", "why")}
