"""Nothing lost, nothing doubled: what becomes of each message, whatever comes, comes again, or cannot be stored."""

from typing import Any

import pytest

from devices import intake, registry, wire
from devices.intake import Stored
from devices.models import Device, Fleet, Frame, Head, Reject
from devices.numbering import Receipt
from devices.values import MAX_COUNTER

NOW = 1_790_000_000_000
DAY_MS = 86_400_000


@pytest.fixture
def tank(db: None) -> Device:
    return make_device("tank")


def make_device(key: str, **given: Any) -> Device:
    fleet, _ = Fleet.objects.get_or_create(slug="cellar", name="Cellar")
    return registry.create(key, fleet, **given)[0]


def message(payload: str, level: str = "telemetry", key: str = "tank", at: int = NOW, **how: Any) -> wire.Message:
    return wire.Message(topic=f"hub/{key}/{level}", payload=payload.encode(), received_at=at, **how)


def take(*messages: wire.Message, now: int = NOW) -> Stored:
    return intake.take(messages, registry.directory(), now)


def numbered(*numbers: int, boot: int = 1, at: int = NOW, **how: Any) -> Stored:
    return take(*(message(f'{{"boot":{boot},"seq":{n},"t":{n % 100}}}', at=at, **how) for n in numbers), now=at)


def head() -> Head:
    return Head.objects.get(device__key="tank")


# --- a device's own numbers


def test_numbers_that_nobody_can_miss_so_many_of_are_no_poison(tank: Device) -> None:
    for boot in range(6):
        assert numbered(MAX_COUNTER, boot=boot).frames == 1
    assert head().missing == MAX_COUNTER


@pytest.mark.parametrize("value", ["1e23", "1e300", "1.2345678901234567e+19", "5e-324", "-0.0", "1e22", "true", '"a"'])
def test_a_frame_that_comes_again_is_known_however_the_database_writes_its_values(tank: Device, value: str) -> None:
    one = message(f'{{"boot":1,"seq":1,"t":{value}}}')
    assert take(one).frames == 1
    again = take(one)
    assert (again.duplicates, again.receipts, again.rejects) == (1, [Receipt("tank", 1, 1)], [])


def test_what_comes_again_after_its_time_in_the_journal_is_not_stored_again(tank: Device) -> None:
    """It is in the roll-ups, and in the count of what is here."""
    numbered(1, 2, 4)
    Frame.objects.filter(seq__lte=2).delete()
    again = numbered(1)
    assert (again.frames, again.receipts) == (0, [Receipt("tank", 1, 2, [[4, 4]])])
    assert [one.reason for one in again.rejects] == ["bad_value"]
    assert head().missing == 1


def test_what_was_not_looked_at_for_gaps_is_neither_missing_nor_in_a_receipt(tank: Device) -> None:
    """Frames from before devices/migrations/0002: of each device only its newest number was known."""
    numbered(*(n for n in range(1, 11) if n != 5))
    Head.objects.update(numbering={"before": 0, "told_at": 0, "boots": [[1, 11, 10, 0, []]]}, missing=0)
    assert numbered(9).receipts == [Receipt("tank", 1, 0, [[9, 9]])]
    assert numbered(11).receipts == [Receipt("tank", 1, 0, [[9, 9], [11, 11]])]
    assert numbered(5).receipts == [Receipt("tank", 1, 0, [[5, 5], [9, 9], [11, 11]])]
    assert head().missing == 0
    assert numbered(13).duplicates == 0
    assert head().missing == 1
    assert numbered(*range(1, 13)).receipts == [Receipt("tank", 1, 13)]
    assert (head().missing, Frame.objects.count()) == (0, 13)


# --- what is refused


def test_thousands_of_refused_frames_are_counted_exactly_and_at_no_great_cost(tank: Device) -> None:
    entries = [f'{{"boot":1,"seq":{n},"t":%d}}' for n in range(1, 2001)]
    take(message("[" + ",".join(entry % 1 for entry in entries) + "]"))
    again = [message("[" + ",".join(entry % value for entry in entries) + "]") for value in (2, 3)]
    assert len(take(*again).rejects) == 4000
    assert sum(Reject.objects.values_list("count", flat=True)) == 4000
    assert Frame.objects.count() == 2000


# --- time


def test_what_was_retained_with_an_impossible_time_is_like_what_has_none(tank: Device) -> None:
    take(message('{"t":2}'))
    take(message('{"ts":5,"t":1,"new":3}', retain=True, at=NOW + 5), now=NOW + 5)
    assert head().values == {"t": [2, NOW], "new": [3, NOW + 5]}
    assert Frame.objects.count() == 1
