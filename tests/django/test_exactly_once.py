"""Nothing lost, nothing doubled: what becomes of each message, whatever comes, comes again, or cannot be stored."""

import json
import threading
from contextlib import suppress
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from devices import commands, intake, journal, learning, registry, telemetry, wire
from devices.batch import Rejected, sort
from devices.intake import Stored
from devices.models import Device, Fleet, Frame, Head, Metric, Reject
from devices.numbering import Receipt
from devices.values import MAX_COUNTER
from tests.django.together import together

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


@pytest.mark.django_db(transaction=True)
def test_frames_go_on_after_the_migration_that_begins_to_follow_their_numbers() -> None:
    before = ("devices", "0001_initial")
    executor = MigrationExecutor(connection)
    executor.migrate([before])
    try:
        old = executor.loader.project_state([before]).apps
        fleet = old.get_model("devices", "Fleet").objects.create(slug="cellar", name="Cellar")
        device = old.get_model("devices", "Device").objects.create(key="tank", fleet=fleet)
        old.get_model("devices", "Head").objects.create(device=device, seq=90, boot=7, n=100)
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes("devices"))
    assert numbered(101, 102, 95, boot=7).receipts == [Receipt("tank", 7, 0, [[95, 95], [101, 102]])]
    assert (head().seq, head().missing) == (93, 0)
    numbered(104, boot=7)
    assert head().missing == 1


# --- what is refused, and what the database refuses

REFUSE = {
    "sqlite": [
        """CREATE TRIGGER poison BEFORE INSERT ON devices_frame WHEN NEW."values" LIKE '%poison%'
        BEGIN SELECT RAISE(ABORT, 'poison'); END"""
    ],
    "postgresql": [
        """CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = 'check_violation'; END $$""",
        """CREATE TRIGGER poison BEFORE INSERT ON devices_frame FOR EACH ROW
        WHEN (NEW."values"::text LIKE '%poison%') EXECUTE FUNCTION poison()""",
    ],
}


@pytest.fixture
def poison(db: None) -> None:
    """A database that cannot store one kind of row, whatever the reason may be."""
    with connection.cursor() as cursor:
        for statement in REFUSE[connection.vendor]:
            cursor.execute(statement)


def test_every_message_around_poison_meets_its_fate_once(poison: None, tank: Device) -> None:
    command, _ = commands.issue(tank, "led", "on", user=None, now=NOW, ttl_s=60)
    take(message("online", "status"))
    orders = commands.claim(None, NOW)
    assert [order.cid for order in orders] == [command.pk]
    commands.sent(orders, NOW)
    bad = message('{"boot":1,"seq":9,"t":"poison"}')
    messages = [
        message('{"boot":1,"seq":1,"t":1}'),
        bad,
        message("ok", f"ack/{command.pk}"),
        message('{"metrics":{"t":{"unit":"°C"}}}', "meta"),
        bad,
        message("{"),
        message('{"boot":1,"seq":2,"t":2}'),
        message('{"boot":1,"seq":2,"t":2}'),
        message("offline", "status"),
    ]
    batch = sort(messages, wire.read, registry.directory())
    flood = message("1", "telemetry/t")
    batch.limited = [Rejected(key="tank", message=flood, reason="rate_limited", detail="too many")]
    stored = intake.store(batch, NOW)
    assert (stored.frames, stored.duplicates) == (2, 1)
    counts = dict(Reject.objects.order_by("reason").values_list("reason", "count"))
    assert counts == {"bad_value": 2, "not_json": 1, "rate_limited": 1}
    assert len(stored.rejects) == 4
    assert stored.receipts[-1] == Receipt("tank", 1, 2)
    assert [event.state for event in command.events.order_by("pk")] == ["queued", "sent", "succeeded"]
    assert Metric.objects.get(name="t").unit == "°C"
    assert head().presence == "offline"


def test_when_the_database_goes_away_amid_the_parts_nothing_was_stored(
    poison: None, tank: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, record = [], telemetry.record

    def leaves(*given: Any) -> telemetry.Recorded:
        calls.append(given)
        if len(calls) > 5:
            raise OperationalError("the connection is lost")
        return record(*given)

    monkeypatch.setattr(telemetry, "record", leaves)
    messages = [message(f'{{"boot":1,"seq":{n},"t":1}}') for n in range(1, 9)]
    messages[2] = message('{"t":"poison"}')
    batch = sort(messages, wire.read, registry.directory())
    batch.limited = [Rejected(key="tank", message=messages[0], reason="rate_limited", detail="too many")]
    with pytest.raises(OperationalError):
        intake.store(batch, NOW)
    assert len(calls) > 5
    assert (Frame.objects.count(), Reject.objects.count(), head().numbering) == (0, 0, {})
    monkeypatch.undo()
    assert (intake.store(batch, NOW).frames, Reject.objects.count()) == (7, 2)


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


# --- whatever comes, in whatever batches


class Broken(Exception):
    """Something between the first row and the COMMIT."""


class Ingest(RuleBasedStateMachine):
    """Any messages of two devices, in any batches, again and again, some of them rolled back, some of them poison."""

    sent: Bundle[list[wire.Message]] = Bundle("sent")

    @initialize()
    def begin(self) -> None:
        for key in ("tank", "pump"):
            make_device(key)
        self.now, self.mid = NOW, 0
        self.stored: dict[str, list[Any]] = {"tank": [], "pump": []}
        self.numbers: dict[tuple[str, int, int], Any] = {}
        self.marks: set[tuple[str, int]] = set()
        self.refused = 0
        self.times: dict[str, dict[str, int]] = {"tank": {}, "pump": {}}

    def message(self, key: str, payload: str, level: str = "telemetry") -> wire.Message:
        self.mid += 1
        return message(payload, level, key, self.now, qos=1, mid=self.mid)

    @rule(
        target=sent,
        what=st.lists(
            st.tuples(st.sampled_from(["tank", "pump"]), st.integers(1, 3), st.integers(0, 7), st.booleans())
            | st.tuples(st.sampled_from(["tank", "pump"]), st.none() | st.integers(-50, 3000))
            | st.sampled_from(["poison", "online", "offline", "not JSON", "array"]),
            min_size=1,
            max_size=8,
        ),
    )
    def send(self, what: list[Any]) -> list[wire.Message]:
        self.now += 100
        return [self._message(one) for one in what]

    def _message(self, one: Any) -> wire.Message:
        match one:
            case "poison":
                return self.message("tank", '{"boot":1,"seq":5,"t":"poison"}')
            case "online" | "offline":
                return self.message("pump", one, "status")
            case "not JSON":
                return self.message("tank", "{")
            case "array":
                return self.message("tank", '[{"boot":2,"seq":1,"t":21},{"boot":2,"seq":3,"t":23},{"t":"poison"}]')
            case (key, boot, n, other):
                return self.message(key, f'{{"boot":{boot},"seq":{n},"t":{-1 if other else 10 * boot + n}}}')
            case (key, ago):
                ts = "" if ago is None else f'"ts":{self.now - 1000 * ago},'
                return self.message(key, f'{{{ts}"values":{{"t":{self.mid}}}}}')
        raise AssertionError(one)

    @rule(messages=sent, cut=st.integers(0, 8), again=st.booleans())
    def arrive(self, messages: list[wire.Message], cut: int, again: bool) -> None:
        """The first time or again (with the flag, as what was not acknowledged), in one batch or in two."""
        self.now += 10
        for part in (messages[:cut], messages[cut:]):
            self._arrive([structs.replace(one, received_at=self.now, dup=again) for one in part])

    @rule(messages=sent)
    def arrive_twice_in_a_batch(self, messages: list[wire.Message]) -> None:
        self.now += 10
        self._arrive([structs.replace(one, received_at=self.now, dup=True) for one in messages * 2])

    @rule(messages=sent)
    def break_off(self, messages: list[wire.Message]) -> None:
        with suppress(Broken), transaction.atomic():
            take(*messages, now=self.now)
            raise Broken

    def _arrive(self, messages: list[wire.Message]) -> None:
        before = {key: len(rows) for key, rows in self.stored.items()}
        refused, duplicates = self.refused, 0
        for one in messages:
            duplicates += self._expect(one)
        done = take(*messages, now=self.now)
        new = sum(len(rows) - before[key] for key, rows in self.stored.items())
        assert (done.frames, done.duplicates, len(done.rejects)) == (new, duplicates, self.refused - refused)
        # Of a batch that was stored in parts there are several of a boot; the last one is told.
        for receipt in {(one.device, one.boot): one for one in done.receipts}.values():
            here = {n for key, boot, n in self.numbers if (key, boot) == (receipt.device, receipt.boot)}
            told = {n for low, high in receipt.have for n in range(low, high + 1)}
            assert {*range(1, receipt.seq + 1)} | told == here - {0}

    def _expect(self, one: wire.Message) -> int:
        """Add to the model what a message should leave; return how much of it is known."""
        if one.topic.endswith("status"):
            return 0
        if one.payload == b"{" or b"poison" in one.payload:
            # One bad entry refuses the whole message: the database refused it, nobody knows which entry it was.
            self.refused += 1
            return 0
        key, said = wire.device_of(one.topic), json.loads(one.payload)
        if "seq" not in said:
            mark = (key, one.mid)
            if mark in self.marks and ("ts" in said or one.dup):
                return 1
            self.marks.add(mark)
            self.stored[key].append(said["values"])
            return 0
        number = (key, said["boot"], said["seq"])
        if (old := self.numbers.get(number)) is not None:
            self.refused += old != said["t"]
            return int(old == said["t"])
        self.numbers[number] = said["t"]
        self.stored[key].append({"t": said["t"]})
        return 0

    @invariant()
    def the_journal_has_each_once_in_order(self) -> None:
        for key, expected in self.stored.items():
            rows = list(Frame.objects.filter(device__key=key).order_by("seq").values_list("seq", "values"))
            assert rows == list(enumerate(expected, start=1))

    @invariant()
    def what_is_missing_is_counted(self) -> None:
        for at in Head.objects.select_related("device"):
            here: dict[int, list[int]] = {}
            for key, boot, n in self.numbers:
                if key == at.device.key:
                    here.setdefault(boot, []).append(n)
            assert at.missing == sum(max(each) - min(1, *each, 1) + 1 - len(each) for each in here.values())
            assert at.seq == len(self.stored[at.device.key])

    @invariant()
    def every_refusal_is_counted(self) -> None:
        assert sum(Reject.objects.values_list("count", flat=True)) == self.refused

    @invariant()
    def no_value_goes_back_in_time(self) -> None:
        for at in Head.objects.select_related("device"):
            now = {name: ts for name, (_, ts) in at.values.items()}
            before = self.times[at.device.key]
            assert all(now[name] >= ts for name, ts in before.items())
            assert not now or max(now.values()) <= (at.ts or 0)
            self.times[at.device.key] = now

    @invariant()
    def its_history_ends_with_what_a_device_is(self) -> None:
        for at in Head.objects.all():
            states = list(at.device.events.filter(kind="presence").order_by("pk").values_list("state", flat=True))
            assert ["never", *states][-1] == at.presence
            assert all(one != other for one, other in pairwise(states))


def test_nothing_is_lost_and_nothing_doubled_whatever_comes(poison: None) -> None:
    class Isolated(Ingest):
        def teardown(self) -> None:
            for device in Device.objects.all():
                registry.remove(device)
            Reject.objects.all().delete()

    Isolated.TestCase.settings = settings(
        max_examples=12,
        stateful_step_count=10,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    Isolated.TestCase("runTest").runTest()


def until_somebody_waits() -> None:
    if connection.vendor != "postgresql":
        return  # SQLite has one writer: nobody waits for a row
    until = monotonic() + 10
    with connection.cursor() as cursor:
        while monotonic() < until:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
    raise AssertionError


@pytest.mark.django_db(transaction=True)
def test_a_device_is_deleted_while_the_bridge_stores_what_it_says() -> None:
    device = make_device("tank")
    learned = threading.Event()

    def store() -> None:
        with transaction.atomic():
            learning.learn(wire.Announce(device="tank", fw="2"))
            learned.set()
            until_somebody_waits()
            telemetry.record([wire.Frame(device="tank", values={"t": 1}, received_at=NOW)], NOW)

    def remove() -> None:
        learned.wait()
        registry.remove(device)

    together(store, remove)
    assert not Device.objects.exists()


def test_known_numbers_are_looked_up_by_their_index(tank: Device) -> None:
    journal.append([journal.Row(tank.pk, seq, NOW, NOW, None, 0, {"t": 1}, seq) for seq in range(1, 20_001)])
    plans = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        execute(f"{asked} {sql}", params, many, context)
        plans.append(" ".join(str(row) for row in context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        assert [mark for mark, _, _ in journal.marked(range(20_000, 20_100))] == [20_000]
    assert "frame_by_mark" in plans[0]
