"""Presence as it is kept: every path by which it changes says why, is noted among the events, and rings."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import commands, registry, standing, telemetry, wire
from devices.models import Device, Event, Head
from tests.django.conftest import NOW

MINUTE = 60_000


@pytest.fixture
def sleeper(pump: Device) -> Device:
    """It came, announced to sleep for 15 minutes, sent two readings a second apart, and its connection ended."""
    telemetry.record([said(NOW, sleep_s=900), sent(NOW + 1000), sent(NOW + 2000)], NOW + 2000)
    telemetry.record([said(NOW + 3000, online=False)], NOW + 3000)
    return pump


def said(at: int, *, online: bool = True, **given: Any) -> wire.Presence:
    return wire.Presence(device="pump-1", online=online, received_at=at, **given)


def sent(at: int, device: str = "pump-1") -> wire.Frame:
    return wire.Frame(device=device, values={"t": 1}, received_at=at)


def state(key: str = "pump-1") -> tuple[str, str]:
    head = Head.objects.get(device__key=key)
    return head.presence, head.because


def history(key: str = "pump-1") -> list[tuple[str, str]]:
    rows = Event.objects.filter(device__key=key, kind="presence").order_by("pk")
    return list(rows.values_list("state", "because"))


# --- asleep, as announced


def test_a_device_that_sleeps_as_it_announced_stays_online(sleeper: Device) -> None:
    assert state() == ("online", "asleep, as announced, for about 15 min")
    assert standing.sweep(NOW + 20 * MINUTE, 0) == 0


def test_it_is_stale_when_it_oversleeps_by_half_and_the_history_tells(sleeper: Device) -> None:
    assert standing.sweep(NOW + 23 * MINUTE, 0) == 1
    told = "no data for 22 min, and it announced to sleep for 15 min"
    assert history() == [("online", "it said so"), ("stale", told)]


def test_any_data_wake_it_and_its_sleep_is_not_learned_as_its_rhythm(sleeper: Device) -> None:
    recorded = telemetry.record([sent(NOW + 15 * MINUTE)], NOW + 15 * MINUTE)
    assert state() == ("online", "it woke and sent data")
    assert recorded.states[0]["because"] == "it woke and sent data"
    assert Head.objects.get(device=sleeper).usual_ms == 1000


def test_nor_is_it_when_it_says_that_it_is_back(sleeper: Device) -> None:
    telemetry.record([said(NOW + 15 * MINUTE, sleep_s=900), sent(NOW + 16 * MINUTE)], NOW + 16 * MINUTE)
    assert state() == ("online", "it woke and said so")
    assert Head.objects.get(device=sleeper).usual_ms == 1000


def test_falling_asleep_and_waking_do_not_fill_the_history(sleeper: Device) -> None:
    for minute in range(15, 90, 15):
        at = NOW + minute * MINUTE
        telemetry.record([sent(at)], at)
        telemetry.record([said(at + 1000, online=False)], at + 1000)
    assert history() == [("online", "it said so")]


def test_a_device_may_announce_its_sleep_as_it_goes(pump: Device) -> None:
    telemetry.record([sent(NOW), said(NOW + 1, online=False, sleep_s=120)], NOW + 1)
    assert state() == ("online", "asleep, as announced, for about 2 min")


def test_one_that_takes_its_announcement_back_is_offline_when_it_goes(sleeper: Device) -> None:
    telemetry.record([said(NOW + MINUTE), said(NOW + 2 * MINUTE, online=False)], NOW + 2 * MINUTE)
    assert state() == ("offline", "last will, or it said so")


def test_what_a_sleeper_is_told_waits_until_it_wakes(sleeper: Device, alice: User) -> None:
    order, _ = commands.issue(sleeper, "reboot", None, user=alice, now=NOW + 4000, ttl_s=3600)
    assert commands.claim(None, NOW + 5000) == []
    assert commands.claim(frozenset(["pump-1"]), NOW + 5000) == []
    telemetry.record([sent(NOW + 15 * MINUTE)], NOW + 15 * MINUTE)
    claimed = commands.claim(None, NOW + 15 * MINUTE)
    assert [(one.device, one.cid) for one in claimed] == [("pump-1", order.pk)]


# --- silence that may be the hub's own


def test_while_the_hub_does_not_hear_its_broker_nobody_becomes_stale(pump: Device) -> None:
    telemetry.record([sent(NOW), sent(NOW + 10_000)], NOW + 10_000)
    assert standing.sweep(NOW + 60 * MINUTE, None) == 0
    back = NOW + 60 * MINUTE
    assert standing.sweep(back + 30_000, back) == 0
    assert standing.sweep(back + 30_001, back) == 1
    assert state() == ("stale", "no data for 60 min, usually every 10 s")


# --- cut off by the hub itself


@pytest.fixture
def leaf(pump: Device) -> Device:
    """It speaks through the pump, and both are online."""
    device, _ = registry.create("leaf", pump.fleet, gateway=pump)
    telemetry.record([sent(NOW), sent(NOW, "leaf")], NOW)
    return device


def test_a_device_whose_secret_was_changed_is_offline_and_so_are_those_behind_it(
    leaf: Device, pump: Device, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as rung:
        registry.rotate(pump)
    assert len(rung) == 3  # both states, and the registry
    assert state("pump-1") == ("offline", "its secret was changed")
    assert state("leaf") == ("offline", "its gateway's secret was changed")
    assert history("leaf") == [("online", "it sent data"), ("offline", "its gateway's secret was changed")]


def test_so_is_one_that_was_disabled(leaf: Device, pump: Device) -> None:
    registry.change(leaf, {"enabled": False})
    assert (state("leaf"), state("pump-1")[0]) == (("offline", "it was disabled"), "online")
    registry.change(leaf, {"enabled": True})
    telemetry.record([sent(NOW + 1, "leaf")], NOW + 1)
    registry.change(pump, {"enabled": False})
    assert state("pump-1") == ("offline", "its account was withdrawn")
    assert state("leaf") == ("offline", "its gateway's account was withdrawn")


def test_what_changes_nothing_at_the_broker_leaves_presence_alone(leaf: Device, pump: Device) -> None:
    registry.change(pump, {"name": "Pump", "enabled": True, "gateway": None})
    registry.change(leaf, {"gateway": pump, "enabled": True})
    assert (state("leaf")[0], state("pump-1")[0]) == ("online", "online")


def test_the_last_will_of_a_session_that_the_hub_cut_does_not_change_the_reason(pump: Device) -> None:
    telemetry.record([sent(NOW)], NOW)
    registry.rotate(pump)
    telemetry.record([said(NOW + 1, online=False)], NOW + 1)
    assert state() == ("offline", "its secret was changed")


def test_one_that_was_never_seen_is_not_said_to_have_gone(pump: Device) -> None:
    registry.rotate(pump)
    assert state() == ("never", "no message yet")
    assert history() == []
