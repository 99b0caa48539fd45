"""What Prometheus is told: of this process (path.py), and of each bridge that it hears (alarm.py).

A bridge's numbers come with its pulses and begin at zero with each duty, which `rate()` takes for a restart. One that
was not heard of for long is left out, instead of looking as it did last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import REGISTRY, Collector

from dashboard import path, reads
from dashboard.pulses import known

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from dashboard.pulses import Heard

# What this process has heard of bridges, by name.
bridges: Final[dict[str, Heard]] = {}

STANDING: Final[dict[str, tuple[str, Callable[[Heard], float]]]] = {
    "heard_at_seconds": ("When a bridge was last heard of.", lambda one: one.at / 1000),
    "began_at_seconds": ("When a bridge took up its duty.", lambda one: one.began / 1000),
    "hears_broker": ("1 while a bridge reaches the broker.", lambda one: one.deaf_since is None),
    "holding": ("1 while a bridge cannot store.", lambda one: one.holding_since is not None),
    "held_messages": ("Messages that a bridge holds, because it cannot store them.", lambda one: one.held),
    "waiting_frames": ("Frames that a bridge is still to announce.", lambda one: one.counts.get("waiting", 0)),
}
# As in groups.Passed.
PASSED: Final = {
    "heard": "Messages from the broker that were taken in.",
    "batched": "Readings beyond the first of their message.",
    "frames": "Frames stored.",
    "duplicates": "Readings that were stored before.",
    "rejects": "Messages and readings refused for what they are.",
    "refused": "Messages over their device's limit.",
    "others": "Messages without readings, and retained values.",
    "announced": "Frames announced to web processes.",
    "unwatched": "Frames that nobody watches.",
    "lost": "Frames whose announcement the channel layer did not take.",
}
# As in path.Counts.
COUNTED: Final = {
    "doorbells": "Announcements of frames that came through the channel layer.",
    "frames_heard": "Frames in them.",
    "frames_missed": "Frames that no announcement brought in time, although one should have.",
    "messages_sent": "Data and fleet messages sent to clients.",
    "frames_sent": "Rows sent to clients.",
    "frames_merged": "Rows that went into another one, in mode latest.",
    "frames_read_back": "Rows that live subscriptions were sent from the database.",
    "frames_skipped": "Frames told to clients as lag.",
    "frames_gone": "Frames told to clients as gap.",
    "sockets_opened": "Clients that came.",
}


def of_bridges(heard: dict[str, Heard]) -> Iterable[Metric]:
    """Say how each of these bridges is, and what it has counted."""
    for name, (text, value) in STANDING.items():
        gauge = GaugeMetricFamily(f"hub_bridge_{name}", text, labels=["bridge"])
        for bridge, one in heard.items():
            gauge.add_metric([bridge], value(one))
        yield gauge
    for name, text in PASSED.items():
        counter = CounterMetricFamily(f"hub_bridge_{name}", text, labels=["bridge"])
        for bridge, one in heard.items():
            if name in one.counts:
                counter.add_metric([bridge], one.counts[name], created=one.began / 1000)
        yield counter


def of_process(counts: path.Counts) -> Iterable[Metric]:
    """Say what this process has counted."""
    for name, text in COUNTED.items():
        counter = CounterMetricFamily(f"hub_web_{name}", text)
        counter.add_metric([], getattr(counts, name), created=counts.began / 1000)
        yield counter
    yield GaugeMetricFamily("hub_web_sockets", "Clients that are here now.", counts.sockets)
    hops = HistogramMetricFamily(
        "hub_hop_seconds", "How long a reading takes from one hop to this one.", labels=["hop"]
    )
    for name, hop in counts.latency.items():
        hops.add_metric([name], *_cumulative(hop))
    yield hops


def _cumulative(hop: path.Hop) -> tuple[list[tuple[str, float]], float]:
    buckets, so_far = [], 0
    for limit, amount in zip((*path.BUCKETS, None), hop.buckets, strict=True):
        so_far += amount
        buckets.append(("+Inf" if limit is None else str(limit / 1000), float(so_far)))
    return buckets, hop.total / 1000


class Everything(Collector):
    """Asked at each scrape."""

    def collect(self) -> Iterable[Metric]:
        """Say it all."""
        yield from of_bridges(known(bridges, reads.now_ms()))
        yield from of_process(path.counts)


REGISTRY.register(Everything())
