"""What Prometheus is told: numbers that `rate()` understands, of this process and of the bridges that are there."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from bridge.tally import Tally
from dashboard import metrics, path, reads
from dashboard.alarm import Alarm
from dashboard.pulses import FORGET_MS
from devices import groups


@pytest.fixture(autouse=True)
def nothing_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "bridges", {})
    monkeypatch.setattr(path, "counts", path.Counts(reads.now_ms()))


def pulse(tally: Tally, bridge: str = "main") -> groups.Pulse:
    return {
        "type": "hub.pulse",
        "bridge": bridge,
        "began": tally.began,
        "counts": tally.told(waiting=3),
        "hearing": True,
        "holding_since": None,
        "held": 0,
        "because": "",
        "at": 0,
    }


def scraped() -> dict[str, float]:
    """Each sample of /metrics by name, with its labels in the order of the alphabet."""
    text = Client().get("/metrics").content.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): sample.value for sample in samples
    }


def test_a_bridges_counters_go_on_after_it_began_again_as_a_counter_that_was_reset() -> None:
    now = reads.now_ms()
    alarm, tally = Alarm(now), Tally(now - 5_000)
    tally.frames = 70
    alarm.hear(pulse(tally), now)
    first = scraped()
    assert first["hub_bridge_frames_total bridge=main"] == 70
    assert first["hub_bridge_frames_created bridge=main"] == (now - 5_000) / 1000
    assert first["hub_bridge_waiting_frames bridge=main"] == 3
    again = Tally(now)
    again.frames = 2
    alarm.hear(pulse(again), now)
    second = scraped()
    assert second["hub_bridge_frames_total bridge=main"] == 2
    assert second["hub_bridge_began_at_seconds bridge=main"] == now / 1000


def test_a_bridge_that_is_gone_for_long_is_left_out_and_not_frozen() -> None:
    now = reads.now_ms()
    alarm = Alarm(now)
    alarm.hear(pulse(Tally(1)), now)
    alarm.hear(pulse(Tally(1), "renamed"), now - FORGET_MS)
    assert {match for name in scraped() for match in re.findall("bridge=(.+)", name)} == {"main"}


def test_a_bridge_of_an_older_release_is_heard_all_the_same() -> None:
    now = reads.now_ms()
    old: Any = {name: value for name, value in pulse(Tally(1)).items() if name not in ("began", "counts")}
    Alarm(now).hear(old, now)
    told = scraped()
    assert told["hub_bridge_hears_broker bridge=main"] == 1
    assert "hub_bridge_frames_total bridge=main" not in told


def test_every_counter_of_a_bridge_and_of_this_process_is_shown() -> None:
    now = reads.now_ms()
    Alarm(now).hear(pulse(Tally(now)), now)
    told = scraped()
    assert all(
        f"hub_bridge_{name}_total bridge=main" in told for name in groups.Passed.__annotations__ if name != "waiting"
    )
    numbers = set(path.counts.numbers()) - {"began", "sockets"}
    assert all(f"hub_web_{name}_total" in told for name in numbers)
    assert told["hub_web_sockets"] == 0


def test_hops_are_a_histogram_in_seconds() -> None:
    path.counts.heard([[1, 1_000, {}, 0]], [1_000, 1_003, 1_053], 1_060)
    path.counts.heard([[1, 1_000, {}, 0]], [1_000, 1_500, 91_500], 91_500)
    told = scraped()
    assert told["hub_hop_seconds_bucket hop=committed le=0.002"] == 0
    assert told["hub_hop_seconds_bucket hop=committed le=0.005"] == 1
    assert told["hub_hop_seconds_bucket hop=announced le=60.0"] == 1
    assert told["hub_hop_seconds_bucket hop=announced le=+Inf"] == told["hub_hop_seconds_count hop=announced"] == 2
    assert told["hub_hop_seconds_sum hop=announced"] == 90.05


def test_production_md_has_every_number_and_no_other() -> None:
    families = metrics.Everything().collect()
    shown = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    page = (Path(__file__).parents[2] / "docs" / "production.md").read_text(encoding="utf-8")
    _, tables = page.split("### All the numbers")
    assert set(re.findall(r"\bhub_(?:bridge|web|hop)_\w+", tables)) == shown
