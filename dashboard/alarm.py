"""Whether readings are being stored: told by this process to its sockets, its log, and Prometheus."""

from __future__ import annotations

import logging
from typing import Final

from prometheus_client import Gauge

from dashboard import protocol
from dashboard.pulses import Pulses, Verdict
from devices import groups

logger = logging.getLogger(__name__)

HEARD: Final = Gauge("hub_bridge_heard_at_seconds", "When a bridge was last heard of.", ["bridge"])
HEARING: Final = Gauge("hub_bridge_hears_broker", "1 while a bridge reaches the broker.", ["bridge"])
HOLDING: Final = Gauge("hub_bridge_holding", "1 while a bridge cannot store.", ["bridge"])
HELD: Final = Gauge(
    "hub_bridge_held_messages", "Messages that a bridge holds, because it cannot store them.", ["bridge"]
)


class Alarm:
    """One process's. Times in ms."""

    def __init__(self, now: int) -> None:
        """Begin to listen; until more is known, all is well."""
        self.pulses = Pulses(now)
        self._told = Verdict(storing=True)

    @property
    def text(self) -> str | None:
        """Return what a socket is told that comes now; None: nothing is wrong."""
        return None if self._told.storing else _text(self._told)

    def hear(self, pulse: groups.Pulse, now: int) -> None:
        """Take a bridge's pulse."""
        self.pulses.hear({**pulse}, now)
        name = pulse["bridge"]
        HEARD.labels(name).set(now / 1000)
        HEARING.labels(name).set(pulse["hearing"])
        HOLDING.labels(name).set(pulse["holding_since"] is not None)
        HELD.labels(name).set(pulse["held"])

    def news(self, now: int) -> str | None:
        """Return what all sockets are told now; None: nothing new."""
        verdict = self.pulses.verdict(now)
        if verdict == self._told:
            return None
        if verdict.storing:
            logger.info("readings are being stored")
        else:
            logger.warning("readings are not being stored: %s", verdict.because)
        self._told = verdict
        return _text(verdict)


def _text(verdict: Verdict) -> str:
    return protocol.text(kind="hub", storing=verdict.storing, because=verdict.because, since=verdict.since)
