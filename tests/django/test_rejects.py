"""What could not be taken in is kept with its reason, counted exactly, and never fills the disk."""

from functools import partial
from typing import Any

import pytest

from devices import registry, rejects, wire
from devices.batch import Rejected
from devices.models import Fleet, Reject
from tests.django.together import together

NOW = 1_790_000_000_000
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def tank(db: None) -> None:
    make_device()


def make_device() -> None:
    fleet, _ = Fleet.objects.get_or_create(slug="cellar", name="Cellar")
    registry.create("tank", fleet)


def rejected(payload: bytes = b"hot", topic: str = "hub/tank/telemetry", **given: Any) -> Rejected:
    usual = {"key": "tank", "reason": "not_json", "detail": "it is no JSON"}
    return Rejected(message=wire.Message(topic=topic, payload=payload, received_at=NOW), **usual | given)


def kept() -> list[tuple[str, str, int]]:
    return list(Reject.objects.order_by("pk").values_list("key", "reason", "count"))


def test_a_reject_keeps_what_came_and_why() -> None:
    rejects.keep([rejected(b"\xff\0hot")], NOW)
    row = Reject.objects.get()
    assert (row.key, row.topic, bytes(row.payload)) == ("tank", "hub/tank/telemetry", b"\xff\0hot")
    assert (row.reason, row.detail, row.count) == ("not_json", "it is no JSON", 1)
    assert (row.first_at, row.last_at) == (NOW, NOW)


def test_the_same_again_is_counted_with_its_newest_time() -> None:
    rejects.keep([rejected(), rejected()], NOW)
    rejects.keep([rejected(detail="still no JSON")], NOW + 5)
    row = Reject.objects.get()
    assert (row.count, row.first_at, row.last_at, row.detail) == (3, NOW, NOW + 5, "still no JSON")


@pytest.mark.parametrize(
    "other",
    [{"payload": b"cold"}, {"topic": "hub/tank/status"}, {"reason": "bad_value"}, {"key": ""}],
    ids=["payload", "topic", "reason", "key"],
)
def test_another_message_is_another_row(other: dict[str, Any]) -> None:
    rejects.keep([rejected(), rejected(**other)], NOW)
    assert Reject.objects.count() == 2


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "°C", "x" * 5000])
def test_no_text_is_too_strange_to_be_kept(text: str) -> None:
    rejects.keep([rejected(topic=text, detail=text)] * 2, NOW)
    rejects.keep([rejected(topic=text, detail=text)], NOW)
    assert Reject.objects.get().count == 3


def test_of_a_huge_payload_the_beginning_is_kept() -> None:
    rejects.keep([rejected(b"x" * 70_000, reason="too_large")], NOW)
    assert len(Reject.objects.get().payload) == 65_536


def test_past_a_hundred_kinds_of_a_device_each_reason_is_counted_in_one_row() -> None:
    rejects.keep([rejected(b"%d" % number) for number in range(100)], NOW)
    for _ in range(2):
        rejects.keep([rejected(b"more %d" % number) for number in range(5)], NOW)
        rejects.keep([rejected(b"more", reason="bad_value")], NOW)
    assert Reject.objects.count() == 102
    others = Reject.objects.filter(digest="others").order_by("reason")
    assert [(row.reason, row.count, bytes(row.payload)) for row in others] == [
        ("bad_value", 2, b""),
        ("not_json", 10, b""),
    ]
    rejects.keep([rejected(b"7")], NOW)
    assert sum(row.count for row in Reject.objects.all()) == 100 + 12 + 1


def test_past_a_megabyte_of_a_device_too() -> None:
    rejects.keep([rejected(b"%05d" % number + b"x" * 60_000) for number in range(20)], NOW)
    assert sum(len(row.payload) for row in Reject.objects.all()) <= 1_048_576
    assert sum(row.count for row in Reject.objects.all()) == 20


def test_keys_that_nobody_registered_fill_no_disk_and_are_counted_all_the_same() -> None:
    rejects.keep([rejected(key=f"k{number}", reason="device_unknown") for number in range(1005)], NOW)
    rejects.keep([rejected(key="tank", reason="device_unknown")], NOW)
    assert Reject.objects.exclude(key="").count() == 1001
    assert Reject.objects.get(key="").count == 5


def test_a_device_in_trouble_takes_no_room_from_another() -> None:
    rejects.keep([rejected(b"%d" % number) for number in range(150)], NOW)
    rejects.keep([rejected(key="boiler")], NOW)
    assert ("boiler", "not_json", 1) in kept()


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_one_kind_count_both() -> None:
    kinds = [rejected(b"%d" % number) for number in range(10)]
    together(partial(rejects.keep, kinds, NOW), partial(rejects.keep, kinds[::-1], NOW))
    assert [count for *_, count in kept()] == [2] * 10
