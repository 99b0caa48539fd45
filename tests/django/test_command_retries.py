"""Commands that go out again: to devices that know them again, and to nobody else."""

import pytest

from devices import commands, wire
from devices.models import Command, Device
from tests.django.orders import NOW, ack, claim, claims, handed_over, issue, log, make_device, say, state


@pytest.fixture
def wise(db: None) -> Device:
    """A device that knows its last three commands again."""
    make_device("tank")
    Device.objects.update(remembers=3)
    return Device.objects.get()


@pytest.fixture
def plain(db: None) -> Device:
    """A device that said nothing of the kind."""
    return make_device("tank")


def sends(command: Command) -> int:
    return Command.objects.get(pk=command.pk).sends


def test_what_is_not_answered_goes_out_again_after_twice_as_long_each_time(wise: Device) -> None:
    command = handed_over(wise)  # claimed at NOW + 1
    due = [at for at in range(NOW, NOW + 60_000, 1000) if command.pk in claims(at)]
    assert due == [NOW + 6_000, NOW + 16_000, NOW + 36_000]
    assert sends(command) == 4
    assert [name for name, *_ in log(command)] == ["queued", "sent"]


@pytest.mark.parametrize("answer", ["succeeded", "failed", "rejected", "expired"])
def test_what_has_its_last_answer_does_not_go_out_again(wise: Device, answer: wire.AckStatus) -> None:
    command = handed_over(wise)
    ack(command, answer)
    assert claims(NOW + 10_000) == []


def test_who_is_at_work_on_it_and_silent_is_asked_again_for_its_last_answer_may_be_lost(wise: Device) -> None:
    command = handed_over(wise)
    ack(command, "received", now=NOW + 4_000)
    assert claims(NOW + 8_999) == []
    ack(command, "received", now=NOW + 8_000, progress=0.5)
    assert claims(NOW + 12_999) == []
    assert claims(NOW + 13_000) == [command.pk]
    assert state(command) == "received"
    assert claims(command.expires_at) == []


def test_what_went_out_again_and_did_not_arrive_for_sure_is_due_as_before(wise: Device) -> None:
    command = handed_over(wise)
    (again,) = commands.claim(None, NOW + 6_000)
    commands.unsent([again], NOW + 6_010)
    (again,) = commands.claim(None, NOW + 6_500)
    commands.lost([again], NOW + 6_510)
    assert claims(NOW + 7_000) == [command.pk]
    assert not commands.cancel(command.pk, NOW + 7_001, "carol")


def test_a_device_that_does_not_remember_gets_nothing_twice(plain: Device) -> None:
    command = handed_over(plain)
    assert claims(NOW + 50_000) == []
    assert sends(command) == 1


def test_a_publish_that_broke_off_goes_out_again_under_the_same_id(wise: Device) -> None:
    command = issue(wise)
    commands.lost([claim(command)], NOW + 5)
    assert state(command) == "queued"
    assert claims(NOW + 4_999) == []
    (again,) = commands.claim(None, NOW + 5_000)
    assert (again.cid, again.sends) == (command.pk, 2)
    commands.sent([again], NOW + 5_010)
    assert [name for name, *_ in log(command)] == ["queued", "sent"]


def test_a_claim_whose_bridge_died_goes_out_again_and_is_unknown_only_at_its_end(wise: Device) -> None:
    command = issue(wise)
    claim(command)
    assert claims(NOW + 5_000) == [command.pk]
    assert commands.sweep(NOW + 59_999) == 0
    assert commands.sweep(NOW + 60_000) == 1
    assert log(command)[-1] == ("unknown", NOW + 60_000, "nobody knows whether it was sent")
    assert claims(NOW + 60_000) == []


def test_a_claim_that_is_given_back_late_stays_with_who_claimed_it_again(wise: Device) -> None:
    command = issue(wise)
    slow = claim(command)
    assert claims(NOW + 5_000) == [command.pk]
    commands.unsent([slow], NOW + 5_000)
    assert not commands.cancel(command.pk, NOW + 5_001, "carol")
    assert claims(NOW + 5_001) == []


def test_nothing_goes_out_again_once_the_device_may_have_forgotten_it(wise: Device) -> None:
    command = handed_over(wise)
    for _ in range(2):
        ack(handed_over(wise), "succeeded")
    assert claims(NOW + 6_000) == [command.pk]
    ack(handed_over(wise), "succeeded")
    assert claims(NOW + 16_000) == []


def test_nor_while_older_ones_may_still_come_to_it(wise: Device) -> None:
    """What was taken before and not handed over yet comes after it, and pushes it out as well."""
    older = [issue(wise) for _ in range(3)]
    assert len(claims(NOW)) == 3
    command = handed_over(wise)
    assert command.pk not in claims(NOW + 6_000)
    for one in older[:2]:
        Command.objects.filter(pk=one.pk).update(state="unknown", changed_at=NOW)
    assert command.pk in claims(NOW + 16_000)


def test_who_has_come_back_gets_it_again_at_once_and_once(wise: Device) -> None:
    command = handed_over(wise)  # claimed at NOW + 1
    say("tank", online=True, now=NOW + 1_000)
    assert claims(NOW + 1_001) == [command.pk]
    assert claims(NOW + 1_002) == []
    # A device that begins anew each time it gets it does not get it as often as it likes.
    say("tank", online=True, now=NOW + 2_000)
    assert claims(NOW + 2_001) == []
    say("tank", online=True, now=NOW + 6_000)
    assert claims(NOW + 6_001) == [command.pk]


def test_nothing_goes_out_again_to_who_is_away_or_after_its_end(wise: Device) -> None:
    command = handed_over(wise)
    assert claims(command.expires_at) == []
    say("tank", online=False)
    assert claims(NOW + 6_000) == []
    say("tank", online=True)
    assert claims(NOW + 6_000) == [command.pk]


def test_what_is_due_again_leaves_room_for_what_is_new(wise: Device) -> None:
    old = [handed_over(wise) for _ in range(3)]
    new = [issue(make_device(f"d-{number}")) for number in range(3)]
    taken = [order.cid for order in commands.claim(None, NOW + 6_000, 4)]
    assert len({*taken} & {one.pk for one in old}) == 2
    assert len({*taken} & {one.pk for one in new}) == 2


def test_what_the_broker_refused_waits_behind_all_others(plain: Device) -> None:
    ids = [commands.issue(plain, "led", None, user=None, now=NOW + at)[0].pk for at in range(4)]
    commands.unsent(commands.claim(None, NOW + 5, 2), NOW + 6)
    assert claims(NOW + 7) == [ids[2], ids[3], ids[0], ids[1]]


def test_a_claim_takes_no_more_than_it_is_asked_for_and_the_oldest_first(plain: Device) -> None:
    ids = [commands.issue(plain, "led", None, user=None, now=NOW + at)[0].pk for at in range(5)]
    taken = [[order.cid for order in commands.claim(None, NOW + 9, 2)] for _ in range(3)]
    assert taken == [ids[:2], ids[2:4], ids[4:]]
