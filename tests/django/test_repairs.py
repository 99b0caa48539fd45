"""Repairs: readings marked as bad, by whom and why; taken for good again; and what cannot be followed is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from devices.errors import Refusal
from devices.history import repairs
from devices.history.repairs import Range
from devices.models import Device, Event, Frame, Repair, Rolled
from devices.values import DAY_MS
from tests.django.conftest import NOW

Say = Callable[..., None]
TEMPERATURE = frozenset({"temperature"})
DAY = NOW - NOW % DAY_MS


@pytest.fixture
def measured(pump: Device, say: Say) -> Device:
    say(pump, 3, temperature=21.5, humidity=40)
    return pump


def bad(
    device: Device, metrics: frozenset[str] | None = TEMPERATURE, start: int = NOW, end: int = NOW + 2000
) -> Repair:
    return repairs.mark(device, Range(metrics, start, end), "the door stood open", None, NOW)


def refused(device: Device, metrics: frozenset[str] | None, start: int, end: int, reason: str = "why") -> Refusal:
    with pytest.raises(Refusal) as found:
        repairs.mark(device, Range(metrics, start, end), reason, None, NOW)
    return found.value


def test_a_marked_range_is_told_to_whoever_reads_in_it(measured: Device) -> None:
    bad(measured)
    assert repairs.of(measured.pk, NOW - 5000, NOW + 1) == [Range(TEMPERATURE, NOW, NOW + 2000)]
    assert repairs.of(measured.pk, NOW + 1999, NOW + 9000) == [Range(TEMPERATURE, NOW, NOW + 2000)]
    assert repairs.of(measured.pk, NOW - 5000, NOW) == []
    assert repairs.of(measured.pk, NOW + 2000, NOW + 9000) == []


def test_what_is_struck_begins_with_from_and_ends_before_to() -> None:
    ranges = [Range(TEMPERATURE, 10, 20), Range(None, 15, 16)]
    names = ["temperature", "humidity"]
    told = {ts: repairs.struck(ranges, ts, names) for ts in (9, 10, 15, 19, 20)}
    assert told == {9: set(), 10: {"temperature"}, 15: {"temperature", "humidity"}, 19: {"temperature"}, 20: set()}


def test_the_journal_is_not_touched(measured: Device) -> None:
    before = list(Frame.objects.order_by("seq").values())
    repairs.undo(bad(measured, None), None, NOW)
    bad(measured, None)
    assert list(Frame.objects.order_by("seq").values()) == before


def test_who_did_it_when_and_why_is_kept_for_ever(measured: Device, alice: User, bob: User) -> None:
    repair = repairs.mark(measured, Range(TEMPERATURE, NOW, NOW + 1), " calibrating ", alice, NOW + 5)
    repairs.undo(repair, bob, NOW + 9)
    (row,) = repairs.listed(measured)
    assert (row.reason, row.user, row.at, row.undone_by, row.undone_at) == ("calibrating", alice, NOW + 5, bob, NOW + 9)
    said = Event.objects.filter(kind="repair").order_by("pk").values_list("because", flat=True)
    assert list(said) == [
        "temperature in a range marked as bad by alice: calibrating",
        "temperature in a range taken for good again by bob",
    ]


def test_the_roll_ups_have_to_follow_both_times(measured: Device) -> None:
    repair = bad(measured)
    assert repair.rebuilt is False
    Repair.objects.update(rebuilt=True, rebuilt_to=NOW)
    repairs.undo(repair, None, NOW)
    assert (repair.rebuilt, repair.rebuilt_to) == (False, 0)
    assert repairs.of(measured.pk, 0, NOW + DAY_MS) == []


def test_nothing_is_undone_twice(measured: Device, alice: User) -> None:
    repair = bad(measured)
    repairs.undo(repair, alice, NOW + 1)
    with pytest.raises(Refusal, match="undone before"):
        repairs.undo(repair, None, NOW + 2)
    assert Repair.objects.get().undone_by == alice


@pytest.mark.parametrize(
    ("metrics", "start", "end", "reason", "field"),
    [
        (None, NOW, NOW, "why", "to"),
        (None, NOW, NOW - 1, "why", "to"),
        (None, 0, NOW, "why", "to"),
        (None, NOW, 2**63, "why", "to"),
        (None, NOW, NOW + 1, "  ", "reason"),
        (None, NOW, NOW + 1, "x" * 201, "reason"),
        (frozenset({"temprature"}), NOW, NOW + 1, "why", "metrics"),
        (frozenset({"a\0b"}), NOW, NOW + 1, "why", "metrics"),
        (frozenset(), NOW, NOW + 1, "why", "metrics"),
    ],
)
def test_what_says_nothing_is_refused_by_name(
    metrics: frozenset[str] | None, start: int, end: int, reason: str, field: str, measured: Device
) -> None:
    refusal = refused(measured, metrics, start, end, reason)
    assert refusal.code == "invalid"
    assert field in (refusal.fields or {})
    assert not Repair.objects.exists()


def pruned(device: Device, whole_from: int) -> None:
    Rolled.objects.create(device=device, seq=3, raw_from=whole_from)


def test_days_of_which_frames_were_deleted_cannot_be_repaired(measured: Device) -> None:
    pruned(measured, DAY + 1)
    assert refused(measured, None, NOW + 1500, NOW + 2000).code == "too_old"
    assert refused(measured, None, DAY + DAY_MS - 1, DAY + DAY_MS).code == "too_old"
    assert bad(measured, None, DAY + DAY_MS, DAY + DAY_MS + 1).pk


def test_nor_can_they_be_taken_for_good_again(measured: Device) -> None:
    repair = bad(measured)
    Rolled.objects.update(raw_from=DAY + 1)
    with pytest.raises(Refusal, match="not kept any more"):
        repairs.undo(repair, None, NOW)
    assert Repair.objects.get().undone_at is None


def test_a_program_cannot_mark_without_end(measured: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "MAX_MARKED", 2)
    first = bad(measured)
    bad(measured)
    assert refused(measured, None, NOW, NOW + 1).code == "too_many"
    repairs.undo(first, None, NOW)
    assert bad(measured).pk


# --- over REST


URL = "/api/v1/devices/pump-1/repairs/"
ASKED = {"from": NOW, "to": NOW + 1000, "reason": "calibrating"}


def test_a_manager_marks_lists_and_undoes(alice: User, vera: User, measured: Device, api: Any) -> None:
    manager = api(alice)
    made = manager.post(URL, {**ASKED, "metrics": ["temperature"]}, format="json")
    assert made.status_code == 201
    told = made.json()
    assert told.pop("at") > 0
    assert told == {
        "id": told["id"],
        "metrics": ["temperature"],
        "from": NOW,
        "to": NOW + 1000,
        "reason": "calibrating",
        "by": "alice",
        "undone_by": None,
        "undone_at": None,
        "rebuilt": False,
    }
    undone = manager.post(f"{URL}{told['id']}/undo/")
    assert (undone.status_code, undone.json()["undone_by"]) == (200, "alice")
    assert manager.post(f"{URL}{told['id']}/undo/").status_code == 409
    (row,) = api(vera).get(URL).json()["results"]
    assert row == undone.json()


def test_metrics_may_be_left_out_for_all(alice: User, measured: Device, api: Any) -> None:
    assert api(alice).post(URL, ASKED, format="json").json()["metrics"] is None


@pytest.mark.parametrize(
    "wrong", [{"from": "monday"}, {"to": None}, {"reason": "a\0b"}, {"metrics": []}, {"metrics": "all"}, {"form": 1}]
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], alice: User, measured: Device, api: Any) -> None:
    answer = api(alice).post(URL, {**ASKED, **wrong}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert any(name.startswith(next(iter(wrong))) for name in answer.json()["fields"])


def test_a_name_with_a_space_before_it_is_another_metric(alice: User, pump: Device, say: Say, api: Any) -> None:
    say(pump, **{"a": 1, " a": 2})
    assert api(alice).post(URL, {**ASKED, "metrics": [" a"]}, format="json").json()["metrics"] == [" a"]


def test_operators_and_viewers_only_look(bob: User, vera: User, measured: Device, api: Any) -> None:
    repair = bad(measured)
    for user in (bob, vera):
        client = api(user)
        assert client.get(URL).status_code == 200
        assert client.post(URL, ASKED, format="json").status_code == 403
        assert client.post(f"{URL}{repair.pk}/undo/").status_code == 403


def test_strangers_learn_nothing(charlie: User, kettle: Device, measured: Device, api: Any) -> None:
    repair = bad(measured)
    client = api(charlie)
    assert client.get(URL).status_code == 404
    assert client.post(URL, ASKED, format="json").status_code == 404
    assert client.post(f"{URL}{repair.pk}/undo/").status_code == 404
    assert client.post(f"/api/v1/devices/kettle/repairs/{repair.pk}/undo/").json()["code"] == "repair_unknown"
    assert client.post(f"/api/v1/devices/kettle/repairs/{10**30}/undo/").json()["code"] == "repair_unknown"
