"""Replay: what was refused is taken in once its cause is mended; once, whoever asks, and stored as of when it came."""

import threading
from functools import partial
from typing import Any

import pytest
from django.db import connections

from devices import groups, intake, registry, rejects, replay, telemetry, wire
from devices.batch import Rejected
from devices.errors import Refusal
from devices.models import Device, Event, Fleet, Frame, Head, Metric, Reject
from tests.django.together import together

NOW = 1_790_000_000_000
LATER = NOW + 3_600_000
pytestmark = pytest.mark.django_db


def tank() -> Device:
    fleet, _ = Fleet.objects.get_or_create(slug="cellar", name="Cellar")
    return registry.create("tank", fleet)[0]


def came(payload: bytes, topic: str = "hub/tank/telemetry", at: int = NOW, **given: Any) -> Reject | None:
    """Have a message come in as from the broker; the row that is kept of it if it is refused."""
    known = set(Reject.objects.values_list("pk", flat=True))
    message = wire.Message(topic=topic, payload=payload, received_at=at, **given)
    intake.take([message], registry.directory(), at)
    return Reject.objects.exclude(pk__in=known).first()


def refused(*payloads: bytes, **given: Any) -> list[Reject]:
    return [row for row in (came(payload, **given) for payload in payloads) if row]


def again(row: Reject) -> replay.Outcome:
    return replay.one(row, LATER, "alice")


def journal() -> list[tuple[int, int, Any]]:
    return list(Frame.objects.order_by("seq").values_list("ts", "received_at", "values"))


# --- the cause is mended


def test_what_came_before_its_device_was_registered_is_stored_as_of_when_it_came() -> None:
    (row,) = refused(b'{"level": 7}')
    assert row.reason == "device_unknown"
    tank()
    outcome = again(row)
    assert (outcome.result, outcome.frames) == ("stored", 1)
    assert journal() == [(NOW, NOW, {"level": 7})]
    assert not Reject.objects.exists()


def test_the_devices_own_time_and_numbers_hold() -> None:
    (row,) = refused(b'{"ts": 1789999990000, "boot": 3, "seq": 8, "values": {"level": 7}}')
    tank()
    assert again(row).result == "stored"
    assert journal() == [(1_789_999_990_000, NOW, {"level": 7})]


def test_a_disabled_device_is_enabled_and_its_messages_are_taken() -> None:
    device = tank()
    registry.change(device, {"enabled": False})
    rows = refused(b'{"level": 1}', b'{"level": 2}', b'{"level": 3}')
    registry.change(device, {"enabled": True})
    done = replay.many(Reject.objects.all(), LATER, "alice")
    assert (done.replayed, done.frames, done.left, done.next) == (len(rows), 3, 0, None)
    assert [values["level"] for *_, values in journal()] == [1, 2, 3]


def test_what_the_limit_held_back_is_taken() -> None:
    tank()
    message = wire.Message(topic="hub/tank/telemetry", payload=b'{"level": 7}', received_at=NOW)
    rejects.keep([Rejected(key="tank", message=message, reason="rate_limited", detail="too many")])
    assert again(Reject.objects.get()).result == "stored"


def test_what_was_kept_by_the_broker_is_no_reading_of_its_arrival() -> None:
    (row,) = refused(b'{"level": 7}', retain=True)
    device = tank()
    assert again(row).result == "taken"
    assert journal() == []
    assert telemetry.head_values(Head.objects.get(pk=device.pk)) == {"level": 7}


def test_an_announcement_is_learned() -> None:
    (row,) = refused(b'{"metrics": {"level": {"unit": "cm"}}}', topic="hub/tank/meta")
    tank()
    assert again(row).result == "taken"
    assert Metric.objects.get().unit == "cm"


def test_of_a_batch_what_can_be_taken_is_taken_and_the_rest_is_kept_apart() -> None:
    (row,) = refused(b'[{"boot": 1, "seq": 1, "level": 1}, {"boot": 1, "seq": 1, "level": 2}]')
    tank()
    outcome = again(row)
    assert (outcome.result, outcome.frames, outcome.partly) == ("stored", 1, 1)
    assert "1 of its readings were refused" in outcome.message
    left = Reject.objects.get()
    assert (left.reason, left.pk != row.pk) == ("bad_value", True)
    assert b'"level":2' in bytes(left.payload)


def test_what_came_at_one_time_is_replayed_in_the_order_in_which_it_came() -> None:
    batch = [b'{"level": %d}' % level for level in range(30)]
    messages = [wire.Message(topic="hub/tank/telemetry", payload=one, received_at=NOW) for one in batch]
    intake.take(messages, {}, NOW)
    device = tank()
    replay.many(Reject.objects.all(), LATER, "alice")
    assert [values["level"] for *_, values in journal()] == list(range(30))
    assert telemetry.head_values(Head.objects.get(pk=device.pk)) == {"level": 29}


# --- it is still not right


def test_refused_again_it_stays_with_the_new_reason_and_its_history() -> None:
    (row,) = refused(b'{"level": []}', topic="hub/tank/telemetry")
    came(b'{"level": []}', at=NOW + 5)
    registry.change(tank(), {"enabled": False})
    Reject.objects.update(reason="device_unknown", position=None)
    outcome = again(row)
    assert (outcome.result, outcome.count) == ("refused", 2)
    kept = Reject.objects.get()
    assert kept.pk == row.pk
    assert kept.reason == outcome.reason != "device_unknown"
    assert (kept.count, kept.first_at, kept.last_at) == (2, NOW, NOW + 5)
    assert kept.detail == outcome.detail
    assert kept.detail in outcome.message


def test_what_only_the_database_or_the_journal_refuses_stays_too() -> None:
    tank()
    came(b'{"boot": 1, "seq": 1, "level": 1}')
    row = came(b'{"boot": 1, "seq": 1, "level": 2}', at=NOW + 9)
    assert row is not None
    for _ in range(2):
        assert again(row).result == "refused"
    kept = Reject.objects.get()
    assert (kept.reason, kept.count, kept.last_at) == ("bad_value", 1, NOW + 9)
    assert len(journal()) == 1


def test_what_came_again_meanwhile_with_the_new_reason_is_one_row_with_both_counts() -> None:
    payload = b'{"boot": 1, "seq": 1, "level": 2}'
    (row,) = refused(payload)
    came(payload, at=NOW + 1)
    tank()
    came(b'{"boot": 1, "seq": 1, "level": 1}', at=NOW + 2)
    came(payload, at=NOW + 3)
    assert Reject.objects.count() == 2
    assert again(row).result == "refused"
    kept = Reject.objects.get()
    assert (kept.reason, kept.count, kept.first_at, kept.last_at) == ("bad_value", 3, NOW, NOW + 3)


# --- never twice, never a lie


def test_the_same_that_came_often_is_replayed_once_and_said_so() -> None:
    (row,) = refused(b'{"level": 7}')
    came(b'{"level": 7}', at=NOW + 5)
    came(b'{"level": 7}', at=NOW + 9)
    tank()
    outcome = again(row)
    assert "It had come 3 times; it was replayed once." in outcome.message
    assert journal() == [(NOW + 9, NOW + 9, {"level": 7})]


def test_what_the_journal_has_already_is_not_doubled() -> None:
    payload = b'{"ts": 1789999990000, "values": {"level": 7}}'
    (row,) = refused(payload)
    tank()
    came(payload, at=NOW + 5)
    outcome = again(row)
    assert (outcome.result, outcome.duplicates) == ("known", 1)
    assert len(journal()) == 1
    assert not Reject.objects.exists()


def test_a_second_click_finds_it_gone() -> None:
    (row,) = refused(b'{"level": 7}')
    tank()
    again(row)
    with pytest.raises(Refusal, match="it was replayed") as refusal:
        again(row)
    assert refusal.value.status == 404
    assert len(journal()) == 1


@pytest.mark.parametrize("payload", [b"x" * 70_000, b""], ids=["cut", "others"])
def test_what_was_not_kept_whole_cannot_be_replayed(payload: bytes) -> None:
    tank()
    (row,) = refused(payload)
    if not payload:
        Reject.objects.update(digest=rejects.OTHERS)
    with pytest.raises(Refusal, match="cannot be replayed") as refusal:
        again(row)
    assert (refusal.value.code, refusal.value.status) == ("not_whole", 409)
    done = replay.many(Reject.objects.all(), LATER, "alice")
    assert (done.replayed, done.cut, Reject.objects.count()) == (0, 1, 1)


def test_a_reading_of_the_past_does_not_say_that_the_device_is_there_now() -> None:
    rows = refused(b'{"level": 7}') + refused(b"online", topic="hub/tank/status")
    device = tank()
    for row in rows:
        again(row)
    head = Head.objects.get(pk=device.pk)
    assert (head.seq, head.presence, head.received_at) == (1, "never", None)
    assert {event.kind for event in Event.objects.all()} == {"replay"}


def test_what_was_newer_stays_the_newest() -> None:
    (row,) = refused(b'{"level": 7}')
    device = tank()
    came(b'{"level": 8}', at=NOW + 60_000)
    again(row)
    assert telemetry.head_values(Head.objects.get(pk=device.pk)) == {"level": 8}
    assert Frame.objects.get(seq=2).flags == telemetry.LATE


# --- told and noted


def test_open_dashboards_are_told_and_only_of_what_was_stored(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    good, bad = refused(b'{"level": 7}', b'[{"boot": 1, "seq": 1, "level": 1}]')
    tank()
    came(b'{"boot": 1, "seq": 1, "level": 2}', at=NOW + 2)
    told: list[Any] = []

    async def announce(*messages: Any) -> None:
        told.extend(messages)

    monkeypatch.setattr(groups, "announce", announce)
    with django_capture_on_commit_callbacks(execute=True):
        again(good)
        again(bad)
    assert [(one["type"], one["prev"], len(one["frames"])) for one in told] == [("device.frames", 1, 1)]


def test_who_replayed_what_when_is_an_event_of_the_device_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (row,) = refused(b'{"level": 7}')
    tank()
    with caplog.at_level("INFO", "devices.replay"):
        again(row)
    event = Event.objects.get()
    assert (event.kind, event.at) == ("replay", LATER)
    assert event.because == "alice replayed what was refused as device_unknown: Stored: 1 frame."
    assert f"alice replayed reject {row.pk} of 'tank' (device_unknown): stored" in caplog.text


# --- many


def test_many_go_on_where_the_last_call_ended_even_past_what_is_refused_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST", 2)
    refused(b'{"level": []}', b'{"level": 2}', b"{", b'{"level": 4}', b'{"level": 5}')
    tank()
    seen, behind = [], 0
    while True:
        done = replay.many(Reject.objects.all(), LATER, "alice", behind)
        seen.append((done.replayed, done.refused, done.left))
        if done.next is None:
            break
        behind = done.next
    assert seen == [(1, 1, 3), (1, 1, 1), (1, 0, 0)]
    assert [values["level"] for *_, values in journal()] == [2, 4, 5]


# --- races


@pytest.mark.django_db(transaction=True)
def test_two_operators_who_click_at_once_replay_once() -> None:
    for turn in range(5):
        (row,) = refused(b'{"level": %d}' % turn, topic="hub/barrel/telemetry")
        Reject.objects.update(key="tank", topic="hub/tank/telemetry")
        if not turn:
            tank()

        def click(row: Reject) -> str:
            try:
                return again(row).result
            except Refusal as refusal:
                return refusal.code

        assert sorted(together(partial(click, row), partial(click, row))) == ["reject_unknown", "stored"]
        assert Frame.objects.count() == turn + 1


@pytest.mark.django_db(transaction=True)
def test_replay_and_a_device_that_goes_on_sending_the_same_wait_for_each_other_in_one_order() -> None:
    refused(*(b'{"boot": 1, "seq": %d, "level": 1}' % n for n in range(1, 21)))
    tank()
    rows = list(Reject.objects.all())
    # All of them are refused again by replay, and by the bridge while it stores good frames of the same device.
    came(b"[%s]" % b",".join(b'{"boot": 1, "seq": %d, "level": 2}' % n for n in range(1, 21)))
    directory = registry.directory()

    def bridge() -> None:
        for turn in range(20):
            batch = [b'{"level": 1}', *(b'{"boot": 1, "seq": %d, "level": 1}' % n for n in range(1, 21))]
            messages = [wire.Message(topic="hub/tank/telemetry", payload=one, received_at=NOW + turn) for one in batch]
            intake.take(messages, directory, NOW + turn)

    together(bridge, lambda: [again(row) for row in rows])
    assert Frame.objects.count() == 20 + 20
    assert sum(row.count for row in Reject.objects.all()) == 20 + 20 * 20


@pytest.mark.django_db(transaction=True)
def test_what_comes_while_its_row_is_replayed_is_not_lost() -> None:
    (row,) = refused(b'{"level": 7}')
    tank()
    stored = threading.Event()
    store = intake.store

    def store_and_wait(*given: Any) -> Any:
        found = store(*given)
        stored.set()
        return found

    def arrive() -> None:
        assert stored.wait(10)
        message = wire.Message(topic="hub/tank/telemetry", payload=b'{"level": 7}', received_at=LATER)
        rejects.keep([Rejected(key="tank", message=message, reason="device_unknown", detail="why")])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(intake, "store", store_and_wait)
        together(partial(again, row), arrive)
    kept = Reject.objects.get()
    assert (kept.pk != row.pk, kept.count, bytes(kept.payload)) == (True, 1, b'{"level": 7}')
    connections.close_all()
