"""How much a device may send: a bucket each, so that the flood of one is its own trouble."""

from typing import NamedTuple

from bridge.limits import Limits
from devices import wire

NOW = 1_790_000_000_000


class Entry(NamedTuple):
    rate: int | None = None
    burst: int | None = None


DIRECTORY = {"pump-1": Entry(), "calm": Entry(), "fast": Entry(100, 50), "gate": Entry()}


def messages(key: str, count: int, at: int = NOW) -> list[wire.Message]:
    return [wire.Message(topic=f"hub/{key}/telemetry/t", payload=b"1", received_at=at) for _ in range(count)]


def within(limits: Limits, sent: list[wire.Message]) -> int:
    return len(limits.split(sent, DIRECTORY)[0])


def test_a_device_may_send_its_burst_at_once_and_then_as_much_as_its_rate() -> None:
    limits = Limits(10, 20)
    assert within(limits, messages("pump-1", 50)) == 20
    assert within(limits, messages("pump-1", 50, NOW + 1000)) == 10
    assert within(limits, messages("pump-1", 50, NOW + 60_000)) == 20


def test_the_flood_of_one_device_takes_nothing_from_another() -> None:
    limits = Limits(10, 20)
    flood, calm = messages("pump-1", 1000), messages("calm", 5)
    kept, over = limits.split([*flood[:500], *calm, *flood[500:]], DIRECTORY)
    assert [one for one in kept if one.topic.startswith("hub/calm/")] == calm
    assert len(over) == 980
    assert {one.key for one in over} == {"pump-1"}


def test_what_is_over_the_limit_says_so_and_is_kept_as_it_came() -> None:
    sent = messages("pump-1", 2)
    (over,) = Limits(10, 1).split(sent, DIRECTORY)[1]
    assert (over.reason, over.message) == ("rate_limited", sent[1])
    assert over.detail == "more than 10 frames/s and 1 at once; send fewer, or have its limits raised"


def test_a_device_with_limits_of_its_own_has_those() -> None:
    assert within(Limits(10, 20), messages("fast", 80)) == 50


def test_limits_that_were_changed_hold_at_once() -> None:
    limits = Limits(10, 20)
    within(limits, messages("pump-1", 20))
    assert len(limits.split(messages("pump-1", 50), {"pump-1": Entry(10, 30)})[0]) == 30


def test_a_gateway_is_charged_for_its_children() -> None:
    limits = Limits(10, 20)
    assert within(limits, messages("gate/sub/a", 15)) == 15
    assert within(limits, messages("gate/sub/b", 15)) == 5


def test_all_who_are_not_registered_share_one_bucket() -> None:
    limits = Limits(10, 20)
    assert sum(within(limits, messages(f"stranger-{index}", 1)) for index in range(100)) == 20


def test_a_message_with_many_frames_is_charged_for_each() -> None:
    limits = Limits(10, 20)
    batch = messages("pump-1", 1)
    assert within(limits, batch) == 1
    limits.charge(batch * 15, DIRECTORY)
    assert within(limits, messages("pump-1", 50)) == 5


def test_a_clock_that_is_set_back_gives_nothing_and_holds_nobody_until_it_is_again_as_late() -> None:
    limits = Limits(10, 20)
    assert within(limits, messages("pump-1", 15)) == 15
    assert within(limits, messages("pump-1", 15, NOW - 3_600_000)) == 5
    assert within(limits, messages("pump-1", 15, NOW - 3_599_000)) == 10


def test_a_device_is_not_charged_for_what_the_hub_says_to_it() -> None:
    limits = Limits(1, 2)
    said = [
        wire.Message(topic=topic, payload=b"{}", received_at=NOW)
        for topic in ("hub/pump-1/receipt", "hub/pump-1/error", "hub/pump-1/cmd/led/c1", "hub/pump-1/sub/a/receipt")
    ]
    assert limits.split(said * 10, DIRECTORY) == (said * 10, [])
    assert within(limits, messages("pump-1", 5)) == 2
    assert limits.split(said, DIRECTORY) == (said, [])


def test_a_topic_of_nobody_is_somebodys_too() -> None:
    nowhere = wire.Message(topic="hub", payload=b"", received_at=NOW)
    assert Limits(10, 20).split([nowhere], DIRECTORY) == ([nowhere], [])
