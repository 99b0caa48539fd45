"""What the bridges' pulses tell: arithmetic."""

from typing import Any

from dashboard.pulses import DEAF_MS, SILENT_MS, Pulses, Verdict

START = 1_000_000


def pulse(bridge: str = "main", *, hearing: bool = True, **holding: Any) -> dict[str, object]:
    given = {"holding_since": None, "held": 0, "because": "", **holding}
    return {"type": "hub.pulse", "bridge": bridge, "hearing": hearing, "at": 0, **given}


FULL = {"holding_since": START - 40_000, "held": 7, "because": "the database's disk is full"}


def test_until_more_is_known_all_is_well() -> None:
    pulses = Pulses(START)
    assert pulses.verdict(START + SILENT_MS - 1).storing
    assert pulses.word(START) == "unknown"


def test_a_bridge_that_holds_is_an_alarm_from_its_own_time_on_until_it_goes_on() -> None:
    pulses = Pulses(START)
    pulses.hear(pulse(**FULL), START)
    assert pulses.verdict(START) == Verdict(storing=False, because="the database's disk is full", since=START - 40_000)
    assert pulses.word(START) == "holding"
    pulses.hear(pulse(), START + 5)
    assert pulses.verdict(START + 5) == Verdict(storing=True, because="", since=START + 5)
    assert pulses.word(START + 5) == "ok"


def test_of_several_bridges_one_that_holds_suffices() -> None:
    pulses = Pulses(START)
    pulses.hear(pulse("one", **FULL), START)
    pulses.hear(pulse("two"), START)
    assert not pulses.verdict(START).storing


def test_a_bridge_that_connects_again_is_no_alarm_and_one_that_cannot_is() -> None:
    pulses = Pulses(START)
    pulses.hear(pulse(hearing=False), START)
    assert pulses.verdict(START).storing
    pulses.hear(pulse(hearing=False), START + DEAF_MS)
    assert pulses.verdict(START + DEAF_MS) == Verdict(
        storing=False, because="the bridge does not reach the broker", since=START
    )


def test_silence_is_an_alarm_after_fifteen_seconds() -> None:
    pulses = Pulses(START)
    pulses.hear(pulse(), START)
    assert pulses.verdict(START + SILENT_MS - 1).storing
    assert pulses.verdict(START + SILENT_MS) == Verdict(storing=False, because="no bridge is running", since=START)
    assert pulses.word(START + SILENT_MS) == "unknown"


def test_where_nobody_listens_silence_tells_nothing() -> None:
    pulses = Pulses(START)
    pulses.hear(pulse(), START)
    for at in range(START, START + 4 * SILENT_MS, 5_000):
        pulses.deaf(at)
        assert pulses.verdict(at).storing
    assert not pulses.verdict(START + 6 * SILENT_MS).storing


def test_an_alarm_stays_while_nobody_listens() -> None:
    pulses = Pulses(START)
    pulses.hear(pulse(**FULL), START)
    before = pulses.verdict(START)
    pulses.deaf(START + 2 * SILENT_MS)
    assert pulses.verdict(START + 2 * SILENT_MS) == before
