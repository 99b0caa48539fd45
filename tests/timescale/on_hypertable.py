"""The journal on a hypertable, its chunks compressed or not. Run by test_hypertable.py, on a database of that kind."""

from itertools import chain, pairwise

import pytest
from django.db import connection

from devices import registry, telemetry, wire
from devices.history import timescale
from devices.models import Device, Fleet, Frame
from devices.values import MAX_COUNTER

DAY_MS = 86_400_000
START = 1_790_000_000_000
# Two frames a day for a third of a year: five chunks.
TIMES = [START + half * DAY_MS // 2 for half in range(240)]
CHUNKS = {
    "rows": "SELECT show_chunks('devices_frame')",
    "compressed": "SELECT compress_chunk(chunk) FROM show_chunks('devices_frame') AS chunk",
}


@pytest.fixture(params=[*CHUNKS])
def tank(db: None, request: pytest.FixtureRequest) -> Device:
    device, _ = registry.create("tank", Fleet.objects.create(slug="cellar", name="Cellar"))
    for at in TIMES:
        telemetry.record([frame(at)], at)
    with connection.cursor() as cursor:
        # What is put off to the commit would look for rows where they were before.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(CHUNKS[request.param])
        assert len(cursor.fetchall()) >= 5
    return device


def frame(at: int) -> wire.Frame:
    return wire.Frame(device="tank", received_at=at, ts=at, values={"t": at % 97}, mark=at, mark_ms=MAX_COUNTER)


def seqs() -> list[int]:
    return list(Frame.objects.order_by("seq").values_list("seq", flat=True))


def test_the_journal_is_one(tank: Device) -> None:
    assert timescale.is_adopted(connection)


def test_a_cursor_reads_every_frame_once_and_in_order(tank: Device) -> None:
    pages = [telemetry.after(tank.pk, seq, 7) for seq in range(0, len(TIMES), 7)]
    assert [(seq, ts) for seq, ts, _, _ in chain(*pages)] == list(enumerate(TIMES, start=1))
    assert telemetry.after(tank.pk, len(TIMES), 7) == []


def test_frames_go_on_behind_the_newest_and_a_repeated_one_is_known_however_old(tank: Device) -> None:
    later = TIMES[-1] + 1000
    recorded = telemetry.record([frame(TIMES[0]), frame(later), frame(TIMES[100])], later)
    assert recorded.duplicates == 2
    assert seqs() == list(range(1, len(TIMES) + 2))


def test_a_time_is_found(tank: Device) -> None:
    assert telemetry.cursor_at(tank.pk, TIMES[33]) == 33
    assert telemetry.first_seq(tank.pk) == 1


def test_what_is_pruned_from_the_low_end_is_gone_and_the_rest_has_no_holes(tank: Device) -> None:
    for low, high in pairwise(range(0, 150, 10)):
        deleted, _ = Frame.objects.filter(device_id=tank.pk, seq__gt=low, seq__lte=high).delete()
        assert deleted == 10
        assert telemetry.first_seq(tank.pk) == high + 1
    assert seqs() == list(range(141, len(TIMES) + 1))


def test_a_device_is_forgotten_whole(tank: Device) -> None:
    telemetry.forget(tank)
    assert seqs() == []
