"""Whether readings are being stored: told by this process to its sockets, its log, and Prometheus."""

from __future__ import annotations

import logging

from dashboard import metrics, protocol
from dashboard.pulses import Pulses, Verdict
from devices import groups

logger = logging.getLogger(__name__)


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

    def hear(self, pulse: groups.Pulse, now: int) -> bool:
        """Take a bridge's pulse; whether that is the first of a duty."""
        begins = self.pulses.hear({**pulse}, now)
        name = pulse["bridge"]
        metrics.bridges[name] = self.pulses.bridges[name]
        return begins

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
