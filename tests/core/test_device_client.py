"""The device's side of the Python client without a wire: a made-up hub takes what it says, and answers as ours does."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices import numbering, wire
from telemetry_hub.device import words
from telemetry_hub.device.settings import Setting
from telemetry_hub.device.store import REMEMBERED, Store
from telemetry_hub.device.talk import About, Talk
from telemetry_hub.device.words import Outcome, Send

WALL = 1_790_000_000_000
KEY = "kitchen"


class Hub:
    """What a hub would have of one device: its frames, once each, and its receipts; it may refuse and forget."""

    def __init__(self, rate: float | None = None, burst: int = 100) -> None:
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}
        self.numbering = numbering.Numbering()
        self.came = 0
        self.poison: float | None = None
        self.refusals = 0
        self._rate, self._burst, self._tokens, self._at = rate, burst, float(burst), 0.0

    def take(self, send: Send, now: float) -> tuple[list[bytes], list[bytes]]:
        """Store a message's frames, or refuse all of it: receipts and refusals."""
        message = wire.Message(topic=send.publish.topic, payload=send.publish.payload, received_at=WALL)
        frames = [event for event in wire.read(message)[1] if isinstance(event, wire.Frame)]
        self.came += len(frames)
        if not self._may(len(frames), now):
            return [], [self._no("rate_limited", send)]
        if any(self.poison in frame.values.values() for frame in frames if self.poison is not None):
            return [], [self._no("too_many_metrics", send)]
        boots = set()
        for frame in frames:
            assert frame.boot is not None
            assert frame.n is not None
            known = self.numbering.has(frame.boot, frame.n)
            (self.numbering.again if known else self.numbering.take)(frame.boot, frame.n)
            self.rows[frame.boot, frame.n] = frame.values
            boots.add(frame.boot)
        receipts = [self.numbering.receipt(KEY, boot) for boot in boots]
        return [wire.receipt_payload(each, "hub/kitchen/receipt") for each in receipts if each], []

    def _may(self, frames: int, now: float) -> bool:
        if self._rate is None:
            return True
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= frames
        return True

    def _no(self, reason: Any, send: Send) -> bytes:
        self.refusals += 1
        return wire.error_payload(reason, send.publish.topic, "so it is", 0, "hub/kitchen/error")

    @property
    def values(self) -> list[Any]:
        return [row["n"] for _, row in sorted(self.rows.items())]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kitchen.db"


def talk(store: Store | None = None, about: About | None = None, **how: Any) -> Talk:
    made = Talk(KEY, about or About(), store or Store(), **how)
    made.start(WALL)
    made.hello(0.0)
    return made


def put(device: Talk, *numbers: float) -> None:
    for n in numbers:
        device.store.put(WALL, words.TELEMETRY, words.values({"n": n}))


def exchange(device: Talk, hub: Hub, seconds: float = 60.0, start: float = 0.0, deaf: bool = False) -> float:
    """Let them talk until nothing waits or the time is over; notices come each second. Returns when that was."""
    now, receipts, refusals = start, {}, []
    while now < start + seconds and (device.store.kept or now == start):
        while send := device.next(now, WALL):
            device.done(send)
            said, refused = hub.take(send, now)
            receipts.update({json.loads(each)["boot"]: each for each in said})
            refusals += refused
        now += 1.0
        for payload in [] if deaf else receipts.values():
            device.hear("hub/kitchen/receipt", payload, now, WALL)
        if refusals and not deaf:
            device.hear("hub/kitchen/error", refusals[0], now, WALL)
        receipts, refusals = {}, []
    return now


def killed(path: Path) -> Path:
    """What is on the disk when the program that uses this buffer is killed now."""
    left = path.with_name(f"{path.name}+")
    for end in ("", "-wal"):
        shutil.copyfile(f"{path}{end}", f"{left}{end}")
    return left


# --- frames


def test_a_frame_is_forgotten_by_its_receipt_and_not_because_the_broker_has_it() -> None:
    device = talk()
    put(device, 1, 2, 3)
    send = device.next(0.0, WALL)
    assert send is not None
    assert send.frames == 3
    device.done(send)
    assert device.store.kept == 3
    device.hear("hub/kitchen/receipt", b'{"boot":%d,"seq":2}' % device.store.boot, 1.0, WALL)
    assert [frame.n for frame in device.store.behind(0, 9)] == [3]


def test_what_stands_beyond_a_gap_is_forgotten_and_the_gap_sent_again() -> None:
    device = talk()
    put(device, *range(1, 8))
    first = device.next(0.0, WALL)
    assert first is not None
    assert (first.frames, first.fresh) == (7, 7)
    device.done(first)
    device.hear("hub/kitchen/receipt", b'{"boot":%d,"seq":1,"have":[[4,5],[7,7]]}' % device.store.boot, 1.0, WALL)
    device.hello(2.0)
    again = device.next(2.0, WALL)
    assert again is not None
    assert [entry["seq"] for entry in json.loads(again.publish.payload)] == [2, 3, 6]
    assert (again.frames, again.fresh) == (3, 0)


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b'{"boot":1}', b'{"boot":"x","seq":1}', b'{"boot":9,"seq":9}'])
def test_a_receipt_that_says_nothing_deletes_nothing(payload: bytes) -> None:
    device = talk()
    put(device, 1)
    device.hear("hub/kitchen/receipt", payload, 1.0, WALL)
    device.hear("hub/kitchen/receipt", b'{"boot":%d,"seq":1}' % device.store.boot, 1.0, WALL, retained=True)
    assert device.store.kept == 1


def test_a_message_with_several_frames_stays_small() -> None:
    device, hub = talk(), Hub()
    put(device, *range(500))
    sizes = []
    while send := device.next(0.0, WALL):
        sizes.append(len(send.publish.payload))
        hub.take(send, 0.0)
    assert 2500 < max(sizes) <= 3072
    larger = talk(batch_bytes=6000)
    put(larger, *range(500))
    first = larger.next(0.0, WALL)
    assert first is not None
    assert 5000 < len(first.publish.payload) <= 6000


def test_of_a_program_that_was_killed_nothing_is_lost_and_nothing_is_sent_under_a_number_twice(path: Path) -> None:
    hub, sent = Hub(), 0
    for _ in range(6):
        device = talk(Store(path))
        put(device, *range(sent, sent + 100))
        sent += 100
        exchange(device, hub, 2, deaf=True)
        path = killed(path)
    device = talk(Store(path))
    assert device.store.kept
    exchange(device, hub)
    assert hub.values == list(range(600))
    assert (device.store.kept, device.store.lost) == (0, 0)


def test_of_more_boots_than_a_hub_follows_each_gets_its_receipts(path: Path) -> None:
    hub = Hub()
    for life in range(9):
        put(talk(Store(path)), life)
        path = killed(path)
    device = talk(Store(path))
    while device.next(0.0, WALL):
        pass
    wakes = device.outbox.wake_at(0.0)
    assert wakes is not None
    assert wakes > 1  # it does not turn round and round over what it may not send yet
    device.hello(0.0)
    exchange(device, hub)
    assert hub.values == list(range(9))


def test_what_a_hub_refuses_because_of_its_limit_is_sent_again_more_slowly() -> None:
    device, hub = talk(), Hub(rate=50, burst=100)
    put(device, *range(3000))
    took = exchange(device, hub, 600)
    assert hub.values == list(range(3000))
    assert hub.refusals
    assert took < 120  # of 58 that are needed
    assert hub.came < 2 * 3000


def test_of_a_message_that_the_hub_will_never_take_the_rest_arrives() -> None:
    device, hub = talk(), Hub()
    hub.poison = 17
    put(device, *range(100))
    exchange(device, hub, 300)
    assert hub.values == [n for n in range(100) if n != 17]
    assert (device.store.refused, device.store.lost, device.store.kept) == (1, 0, 0)


def test_a_refusal_of_something_else_changes_nothing() -> None:
    device, hub = talk(), Hub()
    put(device, *range(10))
    device.hear("hub/kitchen/error", b'{"reason":"bad_value","topic":"hub/kitchen/ack/x","detail":""}', 0.0, WALL)
    exchange(device, hub, 5)
    assert (hub.came, device.store.refused) == (10, 0)


def test_what_gets_no_receipt_is_sent_again_ever_more_seldom() -> None:
    device, hub = talk(), Hub()
    put(device, 1)
    exchange(device, hub, 1000, deaf=True)
    assert 4 <= hub.came <= 8
    exchange(device, hub, 400, start=1000)
    assert device.store.kept == 0


def test_a_device_that_nobody_answers_does_not_send_all_it_has() -> None:
    device, hub = talk(), Hub()
    put(device, *range(20_000))
    exchange(device, hub, 8, deaf=True)
    assert hub.came <= 2500


def test_when_the_buffer_is_full_the_oldest_fall_out_and_are_counted(path: Path) -> None:
    store = Store(path, frames=100)
    device, hub = talk(store), Hub()
    put(device, *range(250))
    assert (store.kept, store.lost) == (100, 150)
    exchange(device, hub)
    assert hub.values == list(range(150, 250))
    assert hub.numbering.missing == 150  # the hub knows how many it never got
    store.close()
    assert Store(path).lost == 150


def test_a_buffer_is_bounded_by_its_bytes_too() -> None:
    store = Store(size=1000)
    device = talk(store)
    put(device, *range(1000))
    assert 50 < store.kept <= 1000 / len('{"n":1}')
    assert store.kept + store.lost == 1000


def test_where_many_stretches_fell_out_a_new_numbering_begins() -> None:
    device, hub = talk(Store(frames=40)), Hub()
    first = device.store.boot
    for turn in range(40):
        put(device, *range(100 * turn, 100 * turn + 60))
        exchange(device, hub, 3, start=10.0 * turn)
    assert device.store.boot > first
    exchange(device, hub, 60, start=1000)
    assert device.store.kept == 0


def test_a_place_goes_alone_and_in_its_own_form() -> None:
    device, hub = talk(), Hub()
    for n in range(3):
        device.store.put(WALL, words.LOCATION, words.values({"lat": 48.2, "lon": 16.4, "n": n}))
    sends = list(iter(lambda: device.next(0.0, WALL), None))
    assert [(send.publish.topic, send.frames) for send in sends] == [("hub/kitchen/location", 1)] * 3
    for send in sends:
        hub.take(send, 0.0)
    assert hub.values == [0, 1, 2]


def test_a_machine_without_a_clock_says_how_long_ago_it_was() -> None:
    device = talk(clock=False)
    put(device, 1)
    send = device.next(0.0, WALL + 5000)
    assert send is not None
    assert json.loads(send.publish.payload)["dt"] == -5000


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "at least one"),
        ({"t": None}, "at least one"),
        ({"t": float("nan")}, "finite"),
        ({"t": float("inf")}, "finite"),
        ({"t": 2**53 + 1}, "2\\^53"),
        ({"t": "x" * 1025}, "1024"),
        ({"t": object()}, "object"),
        ({"": 1}, "no name"),
        ({"x" * 129: 1}, "no name"),
        ({"a": {"b": {"c": float("nan")}}}, "finite"),
        ({f"m{n}": "x" * 1000 for n in range(70)}, "bytes"),
    ],
)
def test_what_no_hub_would_take_is_told_before_it_is_kept(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        words.values(given)


def test_two_programs_do_not_send_one_buffer(path: Path) -> None:
    store = Store(path)
    with pytest.raises(OSError, match="in use by another program"):
        Store(path)
    store.close()
    Store(path).close()


def test_a_damaged_buffer_is_put_aside_and_the_device_goes_on(path: Path) -> None:
    path.write_bytes(b"no database at all, for a disk has written what it liked" * 100)
    device, hub = talk(Store(path)), Hub()
    put(device, 1)
    exchange(device, hub)
    assert hub.values == [1]
    assert path.with_name("kitchen.db.broken").exists()


def test_a_boot_is_never_named_twice_even_by_a_clock_that_stands_still(path: Path) -> None:
    boots = []
    for _ in range(3):
        store = Store(path)
        store.start(WALL)
        boots.append(store.boot)
        store.close()
    assert boots == [WALL, WALL + 1, WALL + 2]


def test_what_is_kept_can_be_read_by_any_sqlite(path: Path) -> None:
    device = talk(Store(path))
    put(device, 1)
    device.store.close()
    with sqlite3.connect(path) as rows:
        assert rows.execute("SELECT vals FROM frames").fetchall() == [('{"n":1}',)]
    rows.close()


# --- commands


COMMANDS = {
    "led": {"type": "bool"},
    "level": {"type": "number", "min": 0, "max": 10, "step": 0.5},
    "mode": {"type": "enum", "options": ["eco", "auto"]},
    "note": {"type": "text"},
    "reboot": {"type": "action"},
    "update": {"type": "update"},
}


def ordered(device: Talk, name: str, payload: bytes, cid: str = "c1", **how: Any) -> list[dict[str, Any]]:
    """Give an order, carry it out as ok with its argument for a value; all that was answered."""
    heard = device.hear(f"hub/kitchen/cmd/{name}/{cid}", payload, 0.0, WALL, **how)
    if heard.duty:
        device.duties.tell(cid)
        value = heard.duty.argument
        device.duties.settle(cid, Outcome(value=value if isinstance(value, bool | float | str) else None))
    return list(answers(device))


def answers(device: Talk) -> Iterator[dict[str, Any]]:
    while send := device.next(0.0, WALL):
        if send.what != "answer":
            break
        device.done(send)
        message = wire.Message(topic=send.publish.topic, payload=send.publish.payload, received_at=WALL)
        [ack] = wire.read(message)[1]
        assert isinstance(ack, wire.Ack)
        yield {"status": ack.status, "value": ack.value, "message": ack.message}


@pytest.mark.parametrize(
    ("name", "payload", "value"),
    [
        ("led", b"on", True),
        ("led", b"0", False),
        ("level", b"2.6", 2.5),
        ("mode", b"eco", "eco"),
        ("mode", b'"auto"', "auto"),
        ("note", "Grüße".encode(), "Grüße"),
        ("reboot", b"anything", None),
    ],
)
def test_an_order_is_acknowledged_and_done(name: str, payload: bytes, value: Any) -> None:
    said = ordered(talk(about=About(commands=COMMANDS)), name, payload)
    assert [each["status"] for each in said] == ["received", "succeeded"]
    assert said[-1]["value"] == value


@pytest.mark.parametrize(
    ("name", "payload", "why"),
    [
        ("led", b"maybe", "on or off"),
        ("level", b"11", "from 0 to 10"),
        ("level", b"NaN", "finite"),
        ("level", b"true", "not a number"),
        ("mode", b"turbo", "eco, auto"),
        ("note", b"\xff", "UTF-8"),
        ("note", b"", "printable"),
        ("explode", b"", "led, level"),
        ("update", b"{}", "sha256"),
        ("update", b'{"url":"https://x","size":1,"sha256":"zz","version":"2"}', "sha256"),
    ],
)
def test_nonsense_is_rejected_with_what_would_be_taken(name: str, payload: bytes, why: str) -> None:
    [said] = ordered(talk(about=About(commands=COMMANDS)), name, payload)
    assert said["status"] == "rejected"
    assert why in said["message"]


def test_a_command_that_comes_again_is_answered_again_and_not_carried_out_even_after_a_restart(path: Path) -> None:
    device = talk(Store(path), About(commands=COMMANDS))
    first = ordered(device, "led", b"on")
    device.store.close()
    device = talk(Store(path), About(commands=COMMANDS))
    again = device.hear("hub/kitchen/cmd/led/c1", b"off", 0.0, WALL)
    assert again.duty is None
    assert list(answers(device)) == first[-1:]


def test_as_many_commands_are_remembered_as_is_announced() -> None:
    device = talk(about=About(commands=COMMANDS))
    for number in range(REMEMBERED + 1):
        ordered(device, "led", b"on", f"c{number}")
    [meta] = [json.loads(each.payload) for each in device.hello(0.0) if each.topic.endswith("/meta")]
    assert meta["remembers"] == 256
    assert device.hear("hub/kitchen/cmd/led/c1", b"on", 0.0, WALL).duty is None
    assert device.hear("hub/kitchen/cmd/led/c0", b"on", 0.0, WALL).duty is not None


def test_a_command_during_which_the_program_was_killed_is_answered_as_interrupted_and_not_tried_again(
    path: Path,
) -> None:
    device = talk(Store(path), About(commands=COMMANDS))
    assert device.hear("hub/kitchen/cmd/led/c1", b"on", 0.0, WALL).duty
    device = talk(Store(killed(path)), About(commands=COMMANDS))
    [said] = answers(device)
    assert (said["status"], "interrupted" in said["message"]) == ("failed", True)
    assert device.hear("hub/kitchen/cmd/led/c1", b"on", 0.0, WALL).duty is None


def test_an_answer_that_no_broker_got_is_given_at_the_next_start(path: Path) -> None:
    device = talk(Store(path), About(commands=COMMANDS))
    assert device.hear("hub/kitchen/cmd/led/c1", b"on", 0.0, WALL).duty
    device.duties.settle("c1", Outcome(value=True))
    assert [each["status"] for each in answers(talk(Store(killed(path)), About(commands=COMMANDS)))] == ["succeeded"]


def test_a_restart_that_was_ordered_is_answered_when_the_program_is_there_again(path: Path) -> None:
    device = talk(Store(path), About(commands=COMMANDS))
    assert device.hear("hub/kitchen/cmd/reboot/c1", b"", 0.0, WALL).duty
    device.duties.settle_at_start("c1", Outcome(message="is up again"))
    device.store.close()
    assert [each["message"] for each in answers(talk(Store(path), About(commands=COMMANDS)))] == ["is up again"]


@pytest.mark.parametrize(("ends", "status"), [(WALL + 60_000, "succeeded"), (WALL - 1000, "expired")])
def test_a_command_whose_time_is_over_is_not_carried_out(ends: int, status: str) -> None:
    device = talk(about=About(commands=COMMANDS))
    said = ordered(device, "led", b"on", wire.cid(ends, 7))
    assert said[-1]["status"] == status


def test_the_end_of_a_command_is_read_as_the_hub_wrote_it() -> None:
    for ends in (1_735_689_600_000, WALL, WALL + 86_400_000):
        cid = wire.cid(ends, 12345)
        assert words.expiry_of(cid) == wire.expiry_of(cid) == ends
    assert words.expiry_of("c1") is None


def test_a_retained_command_is_refused() -> None:
    [said] = ordered(talk(about=About(commands=COMMANDS)), "led", b"on", retained=True)
    assert said["status"] == "rejected"


# --- what it announces, and what it lets itself be set to


def settable(taken: list[Any], **more: Any) -> About:
    spec = {"type": "number", "min": 1, "max": 3600, "unit": "s"}
    return About(
        name="Kitchen", fw="1.2", commands=COMMANDS, settings={"interval_s": Setting(spec, 60.0, taken.append)}, **more
    )


def test_what_is_announced_is_understood() -> None:
    device = talk(about=settable([], metrics={"temperature": {"unit": "°C", "class": "temperature"}}))
    said = device.hello(0.0)
    read = [wire.read(wire.Message(topic=each.topic, payload=each.payload, received_at=WALL))[1][0] for each in said]
    presence, announced, report = read
    assert isinstance(presence, wire.Presence)
    assert isinstance(announced, wire.Announce)
    assert isinstance(report, wire.Report)
    assert (announced.name, announced.fw, announced.remembers) == ("Kitchen", "1.2", 256)
    assert announced.metrics["temperature"] == {"unit": "°C", "class": "temperature"}
    assert announced.settings["interval_s"]["max"] == 3600
    assert report.values == {"interval_s": 60}


def desire(device: Talk, version: int, **values: Any) -> wire.Report:
    payload = json.dumps({"version": version, "values": values}).encode()
    device.hear("hub/kitchen/desired", payload, 0.0, WALL)
    send = device.next(0.0, WALL)
    assert send is not None
    device.done(send)
    [report] = wire.read(wire.Message(topic=send.publish.topic, payload=send.publish.payload, received_at=WALL))[1]
    assert isinstance(report, wire.Report)
    return report


def test_what_is_desired_is_taken_reported_and_kept_over_a_restart(path: Path) -> None:
    taken: list[Any] = []
    device = talk(Store(path), settable(taken))
    report = desire(device, 7, interval_s=30)
    assert (report.version, report.values, taken) == (7, {"interval_s": 30}, [60.0, 30.0])
    device.store.close()
    later: list[Any] = []
    device = talk(Store(path), settable(later))
    assert later == [30.0]
    assert desire(device, 8, interval_s=None).values == {"interval_s": 60}
    assert later == [30.0, 60.0]


@pytest.mark.parametrize("value", [0, 3601, "soon", True, [1]])
def test_what_cannot_be_kept_to_is_not_taken_and_the_report_says_so(value: Any) -> None:
    taken: list[Any] = []
    report = desire(talk(about=settable(taken)), 3, interval_s=value, other=1)
    assert (report.version, report.values, taken) == (3, {"interval_s": 60}, [60.0])
