"""What devices are told of their own messages: the newest receipt, the first refusal, each at most once a second."""

import json
from typing import Any, NamedTuple

import pytest

from bridge.notices import Notices
from devices import wire
from devices.batch import Rejected
from devices.dialects import Publish, native
from devices.numbering import Receipt
from devices.values import REASONS, Value


class Entry(NamedTuple):
    gateway: str | None = None


DIRECTORY: Any = {"pump-1": Entry(), "pump-2": Entry(), "child": Entry("gate")}


def refused(key: str = "pump-1", detail: str = "it is no JSON", reason: Any = "not_json", topic: str = "") -> Rejected:
    message = wire.Message(topic=topic or f"hub/{key}/telemetry", payload=b"{", received_at=0)
    return Rejected(key=key, message=message, reason=reason, detail=detail)


def said(publishes: list[Publish]) -> list[tuple[str, Any]]:
    return [(one.topic, json.loads(one.payload)) for one in publishes]


def test_a_receipt_says_what_is_committed() -> None:
    notices = Notices()
    notices.put([Receipt("pump-1", 7, 12)], [])
    (one,) = notices.due(DIRECTORY, 0.0)
    assert said([one]) == [("hub/pump-1/receipt", {"boot": 7, "seq": 12})]
    assert (one.qos, one.retain) == (0, False)


def test_frames_behind_a_gap_are_told_beside() -> None:
    notices = Notices()
    notices.put([Receipt("pump-1", 7, 2, [[5, 6], [9, 9]])], [])
    assert said(notices.due(DIRECTORY, 0.0))[0][1] == {"boot": 7, "seq": 2, "have": [[5, 6], [9, 9]]}


def test_of_many_receipts_the_newest_is_told_once_a_second() -> None:
    notices = Notices()
    notices.put([Receipt("pump-1", 1, 1)], [])
    assert len(notices.due(DIRECTORY, 0.0)) == 1
    for seq in range(2, 100):
        notices.put([Receipt("pump-1", 1, seq)], [])
        assert not notices.due(DIRECTORY, seq / 100)
    assert said(notices.due(DIRECTORY, 1.0)) == [("hub/pump-1/receipt", {"boot": 1, "seq": 99})]
    assert not notices.due(DIRECTORY, 5.0)


def test_each_boot_and_each_device_has_receipts_of_its_own() -> None:
    notices = Notices()
    notices.put([Receipt("pump-1", 1, 1), Receipt("pump-1", 2, 1), Receipt("pump-2", 1, 1)], [])
    assert len(notices.due(DIRECTORY, 0.0)) == 3


def test_a_device_behind_a_gateway_is_told_through_it() -> None:
    notices = Notices()
    notices.put([Receipt("child", 1, 1)], [refused("child")])
    assert {one.topic for one in notices.due(DIRECTORY, 0.0)} == {
        "hub/gate/sub/child/receipt",
        "hub/gate/sub/child/error",
    }


def test_a_refusal_is_told_with_its_reason_and_the_rest_is_counted() -> None:
    notices = Notices()
    notices.put([], [refused()])
    told = {"reason": "not_json", "topic": "hub/pump-1/telemetry", "detail": "it is no JSON"}
    assert said(notices.due(DIRECTORY, 0.0)) == [("hub/pump-1/error", told)]
    notices.put([], [refused() for _ in range(5)])
    assert not notices.due(DIRECTORY, 0.5)
    assert said(notices.due(DIRECTORY, 1.0)) == [("hub/pump-1/error", told | {"more": 4})]


@pytest.mark.parametrize("key", ["", "stranger"])
def test_nobody_is_told_what_names_no_registered_device(key: str) -> None:
    notices = Notices()
    notices.put([Receipt(key, 1, 1)], [refused(key, topic="hub")])
    assert not notices.due(DIRECTORY, 0.0)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("text", ["°", "😀", "\1", '"'])
@pytest.mark.parametrize("gateway", [None, "g" * 63])
def test_every_notice_fits_into_the_packets_that_small_devices_take(
    reason: Any, text: str, gateway: str | None
) -> None:
    key = "k" * 63
    ranges = [[at, at + 5] for at in range(2**62, 2**62 + 1000, 10)]
    notices = Notices()
    notices.put([Receipt(key, 2**63 - 1, 2**62, ranges)], [refused(key, text * 900, reason, "hub/k/" + text * 900)])
    notices.put([], [refused(key)])
    told = notices.due({key: Entry(gateway)}, 0.0)  # type: ignore[dict-item]
    assert len(told) == 2
    for one in told:
        # In front of both: a byte, two for the length of the rest, two for that of the topic.
        assert 5 + len(one.topic) + len(one.payload) <= 256
        assert json.loads(one.payload)


@pytest.mark.parametrize("gateway", [None, "g" * 63])
@pytest.mark.parametrize("text", ["x", "°", "😀", "\1", '"'])
def test_what_a_device_shall_keep_to_comes_whole_in_packets_that_small_devices_take(
    text: str, gateway: str | None
) -> None:
    values: dict[str, Value | None] = {f"setting_{number}": text * (number % 5) for number in range(40)}
    values |= {"on": True, "off": None, "number": -(2**53) + 1}
    told = native.desired("k" * 63, gateway, 2**63 - 1, values, dict.fromkeys(values, 2**63 - 1))
    said = [json.loads(one.payload) for one in told]
    assert [one["version"] for one in said] == [2**63 - 2] * (len(told) - 1) + [2**63 - 1]
    assert [item for one in said for item in one["values"].items()] == list(values.items())
    assert {(one.topic, one.qos, one.retain) for one in told} == {(told[0].topic, 1, False)}
    assert all(5 + len(one.topic) + len(one.payload) <= 256 for one in told)


def test_what_fits_comes_in_one_message_and_what_is_too_large_by_itself() -> None:
    assert len(native.desired("kitchen", None, 1, {"a": 1, "b": 2}, {"a": 1, "b": 1})) == 1
    large = {"before": 1, "large": "x" * 1024, "after": 2, "later": 3}
    since = {"before": 3, "large": 4, "after": 7, "later": 7}
    said = [json.loads(one.payload) for one in native.desired("kitchen", None, 8, {**large}, since)]
    assert [one["values"] for one in said] == [{"before": 1}, {"large": "x" * 1024}, {"after": 2, "later": 3}]
    # Who got the first ones alone answers for no more than is in them.
    assert [one["version"] for one in said] == [3, 6, 8]
    assert native.desired("kitchen", None, 1, {}, {}) == []
