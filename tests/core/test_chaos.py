"""What `manage.py chaos` relies on: its oracle sees what is lost, doubled or made up, and its devices speak MQTT."""

import sqlite3
from pathlib import Path

import pytest

from devices import wire
from devices.values import Bad
from tests.chaos import ledger, oracle, packets, shapes, spoilt

PUBLISHED = {"a": {1, 2, 3}, "b": {1, 2}}


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    with ledger.Ledger(tmp_path / "ledger") as book:
        book.note(ledger.PUBLISHED, "a", range(1, 6))
        book.note(ledger.ACKED, "a", [2, 1, 4, 5])
        book.commit()
        book.note(ledger.RECEIPT, "a", [])
    entries = ledger.read([tmp_path / "ledger"])
    assert (entries.published, entries.acked, entries.receipts) == ({"a": {1, 2, 3, 4, 5}}, {"a": {1, 2, 4, 5}}, {})


def test_what_is_stored_as_it_was_published_breaks_nothing() -> None:
    counts = oracle.compare(PUBLISHED, PUBLISHED, {"a": [1, 3, 2], "b": [1, 2]}, 0)
    assert (counts.published, counts.stored, counts.lost, counts.twice, counts.strange) == (5, 5, 0, 0, 0)


def test_the_oracle_tells_lost_from_doubled_from_made_up() -> None:
    counts = oracle.compare(PUBLISHED, {"a": {1, 2, 3}, "b": {1}}, {"a": [1, 1, 3, 9]}, 0)
    assert (counts.lost, counts.twice, counts.strange) == (2, 1, 1)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "hub.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            'CREATE TABLE devices_device (id, key); CREATE TABLE devices_frame (device_id, seq, "values", '
            "ts, received_at, device_ts, flags, mark); INSERT INTO devices_device VALUES (1, 'a')"
        )
        rows = [(n, f'{{"n": {n}}}') for n in (1, 2, 3)]
        connection.executemany('INSERT INTO devices_frame (device_id, seq, "values") VALUES (1, ?, ?)', rows)
    return path


def test_the_oracle_is_tried_on_the_database_itself_which_stays_as_it_was(database: Path) -> None:
    connect = oracle.sqlite(database)
    published = {"a": {1, 2, 3}}
    assert oracle.detects(connect, published, published) == []
    assert oracle.journals(oracle.ask(connect, oracle.FRAMES)) == ({"a": [1, 2, 3]}, 0)


def test_an_oracle_that_sees_nothing_is_found_out(database: Path) -> None:
    blind = oracle.detects(oracle.sqlite(database), {}, {})
    assert len(blind) == 1
    assert "DELETE" in blind[0]


def test_a_hole_in_the_hubs_own_numbers_is_counted() -> None:
    assert oracle.journals([("a", 1, 1), ("a", 3, 2)]) == ({"a": [1, 2]}, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_packets_are_taken_out_of_any_pieces(size: int) -> None:
    sent = [packets.publish("hub/a/telemetry", bytes(length), n) for n, length in enumerate((0, 127, 128, 20_000), 1)]
    stream, buffer, found = b"".join(sent), bytearray(), []
    for at in range(0, len(stream), size):
        buffer += stream[at : at + size]
        found += list(packets.taken(buffer))
    assert [(packet.kind, len(packet.body)) for packet in found] == [
        (packets.PUBLISH, len("hub/a/telemetry") + 4 + length) for length in (0, 127, 128, 20_000)
    ]
    assert not buffer


def test_packet_ids_never_collide_within_a_window() -> None:
    ids = [packets.id_of(n) for n in range(65_000, 67_000)]
    assert len(set(ids)) == len(ids)
    assert not {0, packets.PACKET_IDS} & set(ids)


@pytest.mark.parametrize("shape", ["numbered", "timed", "bare"])
def test_each_kind_of_frame_is_one_to_the_hub(shape: str) -> None:
    _, (frame,) = read(*shapes.SHAPES[shape](7, 1_763_700_000_000))
    assert frame.values["n"] == 7  # type: ignore[union-attr]


@pytest.mark.parametrize("message", [*spoilt.BAD, *spoilt.HUGE, spoilt.spoilt(4, 0)], ids=lambda m: str(m)[:40])
def test_each_spoilt_message_is_refused_by_the_hub(message: tuple[str, bytes]) -> None:
    with pytest.raises(Bad):
        read(*message)


def read(suffix: str, payload: bytes) -> tuple[str | None, list[wire.Event]]:
    return wire.read(
        wire.Message(
            topic=f"hub/a/{suffix}",
            payload=payload,
            received_at=1_763_700_000_000,
            qos=1,
            retain=False,
            dup=False,
            mid=1,
        )
    )
