"""The groups' names and messages: what Channels demands of them, and that a lost one costs nothing."""

import logging
import time
from typing import Any, get_args, get_type_hints

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db import transaction

from devices import groups

LONGEST_KEY = "x" * 63
EXAMPLES: dict[str, Any] = {"device": LONGEST_KEY, "fleet": "f" * 63}
SHAPES = get_args(groups.Message)


def example(shape: type) -> Any:
    """A message of this shape with the longest names; what no group's name depends on is left out."""
    hints = get_type_hints(shape)
    (kind,) = get_args(hints["type"])
    return {"type": kind} | {name: text for name, text in EXAMPLES.items() if name in hints}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_message_has_a_group_with_a_name_that_channels_takes(shape: type) -> None:
    assert InMemoryChannelLayer().require_valid_group_name(groups.group_of(example(shape)))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_messages_type_is_a_methods_name(shape: type) -> None:
    method = example(shape)["type"].replace(".", "_")
    assert method.isidentifier()
    assert not method.startswith("_")


def test_no_two_messages_have_one_type() -> None:
    assert len({example(shape)["type"] for shape in SHAPES}) == len(SHAPES)


def test_the_names_of_groups_do_not_run_into_each_other() -> None:
    names = {groups.device_group("registry"), groups.fleet_group("registry"), groups.REGISTRY}
    assert names == {"device.registry", "fleet.registry", "registry"}


def test_a_message_goes_to_its_device_its_fleet_or_the_registry() -> None:
    assert groups.group_of({"type": "device.watch", "device": "tank"}) == "device.tank"
    assert groups.group_of({"type": "fleet.watch", "fleet": "cellar"}) == "fleet.cellar"
    assert groups.group_of({"type": "fleet.summary", "fleet": "cellar", "devices": {}}) == "fleet.cellar"
    assert groups.group_of({"type": "registry.changed", "device": "tank"}) == "registry"


async def test_an_announcement_reaches_the_members_of_its_group_only() -> None:
    layer: Any = get_channel_layer()
    tank, boiler = [await layer.new_channel() for _ in range(2)]
    await layer.group_add("device.tank", tank)
    await layer.group_add("device.boiler", boiler)
    tank_bell, boiler_bell = (groups.Watch(type="device.watch", device=key) for key in ("tank", "boiler"))
    assert await groups.announce(tank_bell, boiler_bell) == []
    assert (await layer.receive(tank))["device"] == "tank"
    assert (await layer.receive(boiler))["device"] == "boiler"


async def test_a_layer_that_is_down_stops_nothing_and_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(group: str, message: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(get_channel_layer(), "group_send", away)
    monkeypatch.setattr(groups, "_losses", groups.Losses())
    with caplog.at_level(logging.WARNING):
        lost = await groups.announce({"type": "device.watch", "device": "tank"})
    assert lost == [{"type": "device.watch", "device": "tank"}]
    assert "1 announcements lost, the channel layer is away: ConnectionError('refused')" in caplog.text


async def test_frames_are_stamped_at_the_moment_in_which_they_are_announced() -> None:
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("device.tank", channel)
    before = time.time_ns() // 1_000_000
    frames: list[groups.FrameRow] = [(1, 5, {"t": 1}, 0)]
    await groups.announce({"type": "device.frames", "device": "tank", "prev": 0, "frames": frames, "hops": [5, 6, 0]})
    await groups.announce({"type": "device.frames", "device": "tank", "prev": 0, "frames": frames})
    received, committed, announced = (await layer.receive(channel))["hops"]
    assert (received, committed) == (5, 6)
    assert before <= announced <= time.time_ns() // 1_000_000
    assert "hops" not in await layer.receive(channel)


@pytest.mark.django_db
def test_what_is_rolled_back_is_not_announced(django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks() as rung:
        with transaction.atomic():
            groups.announce_on_commit({"type": "device.watch", "device": "tank"})
            transaction.set_rollback(True)
        groups.announce_on_commit({"type": "device.watch", "device": "boiler"})
    assert len(rung) == 1


def test_a_layer_that_is_away_is_said_now_and_then_with_the_number_of_losses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    losses = groups.Losses()
    for now in (0.0, 1.0, 2.0, groups.SAY_EVERY_S):
        losses.note(1, OSError("refused"), now)
    assert [record.getMessage()[:22] for record in caplog.records] == [
        "1 announcements lost, ",
        "3 announcements lost, ",
    ]
