"""What a commit counts: every message and every reading in it is somewhere, whatever came of it."""

import time

import pytest

from bridge.tally import Tally
from devices import intake, registry, replay, telemetry, wire
from devices.batch import Rejected, sort
from devices.groups import Frames, Message
from devices.intake import Stored
from devices.models import Device, Fleet, Frame, Reject
from devices.values import MAX_METRICS

NOW = 1_790_000_000_000


@pytest.fixture
def tank(db: None) -> Device:
    return registry.create("tank", Fleet.objects.create(slug="cellar", name="Cellar"))[0]


def message(payload: str, level: str = "telemetry", key: str = "tank", *, retain: bool = False) -> wire.Message:
    topic = f"hub/{key}/{level}"
    return wire.Message(topic=topic, payload=payload.encode(), received_at=NOW, retain=retain)


def add(tally: Tally, *messages: wire.Message, limited: tuple[wire.Message, ...] = ()) -> Stored:
    batch = sort(messages, wire.read, registry.directory())
    batch.limited = [Rejected(key="tank", message=one, reason="rate_limited", detail="more") for one in limited]
    stored = intake.store(batch, NOW)
    tally.add(stored)
    return stored


def of_frames(announcements: list[Message]) -> list[Frames]:
    return [message for message in announcements if message["type"] == "device.frames"]


NUMBERED = [message(f'{{"boot":1,"seq":{n},"t":{n}}}') for n in range(1, 4)]
TOO_MANY = ",".join(f'"m{number}":1' for number in range(MAX_METRICS))


def test_all_that_was_heard_is_somewhere(tank: Device) -> None:
    tally = Tally(0)
    add(tally, *NUMBERED, message('[{"t":7},{"t":8}]'), limited=(message('{"t":9}'), message("nonsense")))
    add(tally, *NUMBERED)
    add(tally, message("{"), message('{"t":1}', key="nobody"), message("", "cmd/led/c1"))
    add(tally, message("online", "status"), message("°C", "meta/t"), message("ok", "ack/c1"))
    add(tally, message('{"u":1}', retain=True), message(f'{{"t":1,{TOO_MANY}}}'), message("[]"))
    told = tally.told(waiting=0)
    assert told["heard"] + told["batched"] == sum(
        told[name]  # type: ignore[literal-required]
        for name in ("frames", "duplicates", "rejects", "refused", "others")
    )
    assert told["frames"] == Frame.objects.count() == 5
    assert (told["heard"], told["batched"], told["duplicates"], told["refused"]) == (18, 1, 3, 2)
    # The retained value is shown and not stored; what the hub says itself, and an empty list, are nobody's readings.
    assert told["rejects"] + told["others"] == 9


def test_a_message_that_cannot_be_stored_counts_once(tank: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    record = telemetry.record

    def poisoned(events: list[wire.Frame | wire.Presence], now: int) -> telemetry.Recorded:
        if any(isinstance(event, wire.Frame) and event.values.get("t") == 2 for event in events):
            raise ValueError("poison")
        return record(events, now)

    monkeypatch.setattr(telemetry, "record", poisoned)
    tally = Tally(0)
    add(tally, *NUMBERED, message("online", "status"), limited=(message("{}"),))
    told = tally.told(waiting=0)
    assert (told["heard"], told["frames"], told["rejects"], told["refused"], told["others"]) == (5, 2, 1, 1, 1)


# --- when


def test_frames_say_when_they_were_received_and_committed(tank: Device) -> None:
    before = time.time_ns() // 1_000_000
    (told,) = of_frames(add(Tally(0), *NUMBERED).announcements)
    received, committed, announced = told["hops"]
    assert (received, announced) == (NOW, 0)
    assert before <= committed <= time.time_ns() // 1_000_000


@pytest.mark.django_db(transaction=True)
def test_what_is_replayed_says_nothing_of_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet.objects.create(slug="cellar", name="Cellar")
    intake.take([message('{"t":1}')], {}, NOW)
    registry.create("tank", fleet)
    told: list[Message] = []
    monkeypatch.setattr(replay, "announce_on_commit", told.append)
    replay.one(Reject.objects.get(), NOW, "mandy")
    (frames,) = of_frames(told)
    assert len(frames["frames"]) == 1
    assert "hops" not in frames
