"""What becomes of a device's own numbering in the database: gaps, receipts, restarts, and the events of them."""

from typing import Any

import pytest

from devices import numbering, registry, telemetry, wire
from devices.models import Device, Event, Fleet, Frame, Head
from devices.numbering import Receipt
from devices.telemetry import Recorded

NOW = 1_790_000_000_000
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def tank(db: None) -> Device:
    return registry.create("tank", Fleet.objects.create(slug="cellar", name="Cellar"))[0]


def numbered(*numbers: int, boot: int = 1, now: int = NOW, **given: Any) -> Recorded:
    frames: list[wire.Frame] = []
    for n in numbers:
        payload = wire.entry_of(wire.Frame(device="tank", values={"t": n} | given, received_at=now, boot=boot, n=n))
        message = wire.Message(topic="hub/tank/telemetry", payload=payload, received_at=now)
        frames += (event for event in wire.read(message)[1] if isinstance(event, wire.Frame))
    return telemetry.record(frames, now)


def head() -> Head:
    return Head.objects.get(device__key="tank")


def events(kind: str) -> list[str]:
    return list(Event.objects.filter(kind=kind).order_by("pk").values_list("because", flat=True))


def test_a_batch_leaves_one_receipt_for_each_boot_in_it() -> None:
    assert numbered(1, 2, 3).receipts == [Receipt("tank", 1, 3)]
    assert numbered(4, 7).receipts == [Receipt("tank", 1, 4, [[7, 7]])]


def test_frames_without_numbers_leave_none() -> None:
    assert not telemetry.record([wire.Frame(device="tank", values={"t": 1}, received_at=NOW)], NOW).receipts
    assert head().missing == 0


def test_a_frame_that_is_sent_again_is_answered_and_not_stored() -> None:
    numbered(1, 2)
    again = numbered(2)
    assert (again.duplicates, again.receipts) == (1, [Receipt("tank", 1, 2)])
    assert Frame.objects.count() == 2


def test_missing_frames_are_counted_until_they_come() -> None:
    numbered(1, 2, 6)
    assert head().missing == 3
    numbered(4)
    assert head().missing == 2
    numbered(3, 5)
    assert head().missing == 0
    assert numbered(7).receipts == [Receipt("tank", 1, 7)]


def test_missing_frames_are_an_event_once_a_minute() -> None:
    numbered(1, 5)
    numbered(9, now=NOW + 1000)
    assert events("numbering") == ["3 of its frames are missing, by its own numbers"]
    numbered(13, now=NOW + telemetry.TELL_MISSING_MS)
    assert events("numbering")[1:] == ["9 of its frames are missing, by its own numbers"]


def test_frames_that_come_in_another_order_within_a_batch_are_not_missing() -> None:
    numbered(3, 1, 2)
    assert (head().missing, events("numbering")) == (0, [])


def test_a_new_boot_is_an_event_and_the_first_one_is_none() -> None:
    numbered(1)
    assert events("boot") == []
    numbered(1, boot=2)
    assert events("boot") == ["it started again (boot 2)"]


def test_the_same_number_with_other_values_is_refused_and_not_taken_for_a_repetition() -> None:
    numbered(1)
    other = numbered(1, t=99)
    assert other.duplicates == 0
    (refused,) = other.refused
    assert refused.reason == "bad_value"
    assert refused.detail == "seq 1 of boot 1 came before, with other values; begin a new boot with each start"
    assert not other.receipts


def test_the_same_number_with_other_values_in_one_batch_is_refused_too() -> None:
    frames = [
        wire.read(wire.Message(topic="hub/tank/telemetry", payload=payload, received_at=NOW))[1][0]
        for payload in (b'{"boot":1,"seq":1,"t":1}', b'{"boot":1,"seq":1,"t":2}', b'{"boot":1,"seq":1,"t":1}')
    ]
    recorded = telemetry.record(frames, NOW)  # type: ignore[arg-type]
    assert (len(recorded.refused), recorded.duplicates, Frame.objects.count()) == (1, 1, 1)


def test_a_refused_frame_is_missing_and_not_in_the_receipt() -> None:
    numbered(1, 2)
    Head.objects.update(values={str(index): [1, NOW] for index in range(500)})
    refused = numbered(3, one_more=1)
    assert [each.reason for each in refused.refused] == ["too_many_metrics"]
    Head.objects.update(values={})
    assert numbered(4).receipts == [Receipt("tank", 1, 2, [[4, 4]])]


def test_presence_has_a_history() -> None:
    for online in (True, True, False):
        telemetry.record([wire.Presence(device="tank", online=online, received_at=NOW)], NOW)
    states = list(Event.objects.filter(kind="presence").order_by("pk").values_list("state", "because"))
    assert states == [("online", "it said so"), ("offline", "last will, or it said so")]


def test_what_is_told_to_people_follows_the_head() -> None:
    numbered(1, 2, 5)
    assert numbering.described(head().numbering) == {"boot": 1, "newest": 5, "committed": 2, "missing": 2}


def test_a_frame_is_read_again_from_what_is_kept_of_it() -> None:
    message = wire.Message(
        topic="hub/tank/telemetry", payload=b'{"dt":-5,"boot":1,"seq":2,"a":{"b":[1]}}', received_at=NOW
    )
    (frame,) = wire.read(message)[1]
    assert isinstance(frame, wire.Frame)
    again = wire.Message(topic=message.topic, payload=wire.entry_of(frame), received_at=NOW)
    assert wire.read(again)[1] == [frame]
