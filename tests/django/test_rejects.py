"""What could not be taken in is kept with its reason, counted exactly, and never fills the disk."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from devices import inbox, registry, rejects, wire
from devices.batch import Rejected
from devices.models import Device, Fleet, Reject
from devices.values import REASONS
from tests.django.together import together

NOW = 1_790_000_000_000
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def tank(db: None) -> None:
    make_device()


def make_device() -> None:
    fleet, _ = Fleet.objects.get_or_create(slug="cellar", name="Cellar")
    registry.create("tank", fleet)


def rejected(payload: bytes = b"hot", topic: str = "hub/tank/telemetry", at: int = NOW, **given: Any) -> Rejected:
    usual = {"key": "tank", "reason": "not_json", "detail": "it is no JSON"}
    return Rejected(message=wire.Message(topic=topic, payload=payload, received_at=at), **usual | given)


def kept() -> list[tuple[str, str, int]]:
    return list(Reject.objects.order_by("pk").values_list("key", "reason", "count"))


def test_a_reject_keeps_what_came_and_why() -> None:
    rejects.keep([rejected(b"\xff\0hot")])
    row = Reject.objects.get()
    assert (row.key, row.topic, bytes(row.payload)) == ("tank", "hub/tank/telemetry", b"\xff\0hot")
    assert (row.reason, row.detail, row.count) == ("not_json", "it is no JSON", 1)
    assert (row.first_at, row.last_at) == (NOW, NOW)


def test_the_same_again_is_counted_with_its_newest_time() -> None:
    rejects.keep([rejected(), rejected()])
    rejects.keep([rejected(detail="still no JSON", at=NOW + 5)])
    row = Reject.objects.get()
    assert (row.count, row.first_at, row.last_at, row.detail) == (3, NOW, NOW + 5, "still no JSON")


@pytest.mark.parametrize(
    "other",
    [{"payload": b"cold"}, {"topic": "hub/tank/status"}, {"reason": "bad_value"}, {"key": ""}],
    ids=["payload", "topic", "reason", "key"],
)
def test_another_message_is_another_row(other: dict[str, Any]) -> None:
    rejects.keep([rejected(), rejected(**other)])
    assert Reject.objects.count() == 2


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "°C", "x" * 5000])
def test_no_text_is_too_strange_to_be_kept(text: str) -> None:
    rejects.keep([rejected(topic=text, detail=text)] * 2)
    rejects.keep([rejected(topic=text, detail=text)])
    assert Reject.objects.get().count == 3


def test_of_a_huge_payload_the_beginning_is_kept() -> None:
    rejects.keep([rejected(b"x" * 70_000, reason="too_large")])
    assert len(Reject.objects.get().payload) == 65_536


def test_past_a_hundred_kinds_of_a_device_each_reason_is_counted_in_one_row() -> None:
    rejects.keep([rejected(b"%d" % number) for number in range(100)])
    for _ in range(2):
        rejects.keep([rejected(b"more %d" % number) for number in range(5)])
        rejects.keep([rejected(b"more", reason="bad_value")])
    assert Reject.objects.count() == 102
    others = Reject.objects.filter(digest="others").order_by("reason")
    assert [(row.reason, row.count, bytes(row.payload)) for row in others] == [
        ("bad_value", 2, b""),
        ("not_json", 10, b""),
    ]
    rejects.keep([rejected(b"7")])
    assert sum(row.count for row in Reject.objects.all()) == 100 + 12 + 1


def test_past_a_megabyte_of_a_device_too() -> None:
    rejects.keep([rejected(b"%05d" % number + b"x" * 60_000) for number in range(20)])
    assert sum(len(row.payload) for row in Reject.objects.all()) <= 1_048_576
    assert sum(row.count for row in Reject.objects.all()) == 20


def test_keys_that_nobody_registered_fill_no_disk_and_are_counted_all_the_same() -> None:
    rejects.keep([rejected(key=f"k{number}", reason="device_unknown") for number in range(1005)])
    rejects.keep([rejected(key="tank", reason="device_unknown")])
    assert Reject.objects.exclude(key="").count() == 1001
    assert Reject.objects.get(key="").count == 5


def test_a_device_in_trouble_takes_no_room_from_another() -> None:
    rejects.keep([rejected(b"%d" % number) for number in range(150)])
    rejects.keep([rejected(key="boiler")])
    assert ("boiler", "not_json", 1) in kept()


def test_it_keeps_where_the_fault_is_and_how_it_came() -> None:
    message = wire.Message(topic="hub/tank/telemetry", payload=b"{", received_at=NOW, qos=1, retain=True)
    for position in (7, 1):
        fault = Rejected(key="tank", message=message, reason="not_json", detail="cut off", position=position)
        rejects.keep([fault])
    row = Reject.objects.get()
    assert (row.position, row.size, row.qos, row.retain, row.count) == (1, 1, 1, True, 2)


def test_what_stands_for_all_others_points_at_no_byte_of_one() -> None:
    rejects.keep([rejected(b"%d" % number, position=1) for number in range(101)])
    others = Reject.objects.get(digest="others")
    assert (others.position, others.topic) == (None, "(others with this reason) hub/tank/telemetry")


def test_in_one_batch_what_is_known_is_counted_in_its_own_row_and_what_is_new_with_the_others() -> None:
    rejects.keep([rejected(b"%d" % number) for number in range(100)])
    rejects.keep([rejected(b"%d" % number) for number in range(90, 500)])
    assert sorted({row.count for row in Reject.objects.exclude(digest="others")}) == [1, 2]
    assert Reject.objects.get(digest="others").count == 400
    assert sum(row.count for row in Reject.objects.all()) == 510


def test_the_first_to_come_of_a_batch_are_those_that_are_kept() -> None:
    rejects.keep([rejected(b"%d" % number) for number in range(300)])
    payloads = {bytes(row.payload) for row in Reject.objects.exclude(digest="others")}
    assert payloads == {b"%d" % number for number in range(100)}


MIXES = {
    "of one device": [rejected(b"%d" % number) for number in range(1000)],
    "of a thousand strangers": [rejected(key=f"k{number}") for number in range(1000)],
    "all the same": [rejected()] * 1000,
    "of every reason": [rejected(b"%d" % number, reason=REASONS[number % len(REASONS)]) for number in range(1000)],
}


@pytest.mark.parametrize("mix", MIXES)
def test_a_thousand_cost_a_handful_of_statements(mix: str, django_assert_max_num_queries: Any) -> None:
    # SQLite's rows of one prepared statement are counted one by one.
    rows = 0 if connection.vendor == "postgresql" else len({(one.key, one.message.payload) for one in MIXES[mix]})
    for _ in range(2):
        with django_assert_max_num_queries(7 + rows):
            rejects.keep(MIXES[mix])
    assert sum(count for *_, count in kept()) == 2000


def test_nothing_refused_asks_the_database_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        rejects.keep([])


def test_what_is_discarded_while_it_comes_again_is_kept_anew_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rejects.keep([rejected(b"hot")])
    look = inbox.known

    def look_then_discard(*asked: Any) -> Any:
        found = look(*asked)
        rejects.discard(Reject.objects.all(), "alice")
        return found

    monkeypatch.setattr(inbox, "known", look_then_discard)
    rejects.keep([rejected(b"hot", at=NOW + 1)])
    row = Reject.objects.get()
    assert (bytes(row.payload), row.count, row.first_at) == (b"hot", 1, NOW + 1)


def test_a_device_that_is_deleted_leaves_nothing_to_whoever_registers_its_key_next() -> None:
    rejects.keep([rejected(), rejected(key="boiler")])
    registry.remove(Device.objects.get(key="tank"))
    make_device()
    assert kept() == [("boiler", "not_json", 1)]


def test_the_docs_tell_what_to_do_about_every_reason() -> None:
    told = (Path(__file__).parents[2] / "docs/rejects.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE) == list(REASONS)


@pytest.mark.django_db(transaction=True)
def test_two_writers_past_the_cap_wait_for_each_other_in_one_order_and_lose_no_count() -> None:
    for turn in range(5):
        kinds = [rejected(b"%d %d" % (turn, number), reason=REASONS[number % 3]) for number in range(300)]
        together(partial(rejects.keep, kinds), partial(rejects.keep, kinds[::-1]))
    assert sum(count for *_, count in kept()) == 5 * 600


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_one_kind_count_both() -> None:
    kinds = [rejected(b"%d" % number) for number in range(10)]
    together(partial(rejects.keep, kinds), partial(rejects.keep, kinds[::-1]))
    assert [count for *_, count in kept()] == [2] * 10
