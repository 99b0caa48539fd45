"""What measures is measured: the crowd sees each fault of a hub; the scenarios play, in a size that tells nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import commands
from benchmarks.live import ceiling, scene, soak, stuck, wire
from benchmarks.live.ask import Child, child
from benchmarks.live.latency import Latencies
from tests.hub import Production
from tests.services import LOOPBACK


def test_frames_are_read_in_whatever_pieces_they_come() -> None:
    texts = [b"x" * size for size in (0, 1, 125, 126, 65_535, 65_536)]
    stream = b"HTTP/1.1 101 Switching\r\n\r\n" + b"".join(wire.server_frame(wire.TEXT, text) for text in texts)
    for piece in (1, 7, 1000, len(stream)):
        reader = wire.Reader()
        parts = (stream[at : at + piece] for at in range(0, len(stream), piece))
        assert [frame for part in parts for frame in reader.feed(part)] == [(wire.TEXT, text) for text in texts]
        assert reader.status == 101


def test_a_percentile_is_the_latency_that_so_many_stayed_below() -> None:
    latencies = Latencies()
    for ms in range(1, 101):
        latencies.add(ms * 1000 - 1)
    assert (latencies.ms(0.5), latencies.ms(0.99), latencies.ms(1)) == (50, 99, 100)
    assert (Latencies(latencies.told()) + latencies).amount == 200


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Child]:
    with child("benchmarks.live.crowd", tmp_path / "crowd.log") as running:
        yield running


async def test_the_crowd_counts_each_frame_and_sees_what_is_missing_doubled_or_late(crowd: Child) -> None:
    told = ceiling.Told()
    async with ceiling.source() as (port, live):

        async def ask(do: str, **given: Any) -> Any:
            return await asyncio.to_thread(crowd.ask, do, **given)

        await ask("open", group="all", count=3, to=[(LOOPBACK, port, "none")], devices=ceiling.DEVICES)
        first = [told.next() for _ in range(4)]
        for text in first:
            for socket in live:
                socket.write(text)
        assert (await ask("level", group="all", heads=told.heads))["incomplete"] == 0
        whole = await ask("report", group="all")
        assert (whole["messages"], whole["frames"], whole["faults"]) == (12, 12 * ceiling.ROWS, {})
        assert Latencies(whole["latencies"]).amount == 12 * ceiling.ROWS

        told.next()  # which nobody gets
        lucky = next(iter(live))
        for text in (told.next(), told.next(), first[0]):
            lucky.write(text)
        assert (await ask("level", group="all", heads=told.heads, patience_s=0.2))["incomplete"] == 3
        assert (await ask("report", group="all"))["faults"] == {"hole": ceiling.ROWS, "double": ceiling.ROWS}


def test_scenarios_play_on_the_whole_hub(production: Production) -> None:
    with scene.on(production, stuck.SMOKE.devices, "watched-") as here:
        played = stuck.run(here, stuck.SMOKE)
        assert (played["healthy, incomplete at the end"], played["faults of the healthy"]) == (0, {})
        assert played["publisher"]["stored"] == played["publisher"]["published"] > 0
        assert all(stuck.show(played))
        soaked = soak.run(here, soak.SMOKE)
        assert (soaked["steady, incomplete"], soaked["faults"], soaked["left over"]) == (0, {}, 0)
        assert soaked["handshakes"].keys() == {"open"}
        assert all(soak.show(soaked))
        assert soak.as_csv(soaked).count("\n") > 1


def test_commands_are_timed_on_the_whole_hub(production: Production) -> None:
    for turn in commands.measured(production, commands.SMOKE).values():
        assert turn["given"] == commands.SMOKE.rate * commands.SMOKE.seconds * commands.TURNS
        assert all(Latencies(turn[kind]).amount == turn["given"] for kind in commands.SHOWN)
