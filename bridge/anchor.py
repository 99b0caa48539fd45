"""Keeps the audit's chain linked, and writes now and then to the log how far it goes: outside the database."""

from __future__ import annotations

import logging
import time
from typing import Final

from devices import audit
from devices.models import AuditHead

logger = logging.getLogger(__name__)

EVERY_S: Final = 3_600.0


class Anchor:
    """One process's."""

    def __init__(self) -> None:
        """Have said nothing yet."""
        self._said_at = float("-inf")

    def drop(self) -> None:
        """Link what is new; once an hour say where the chain stands. By that a chain that was made anew is known."""
        audit.link()
        now = time.monotonic()
        if now - self._said_at >= EVERY_S and (head := AuditHead.objects.filter(pk=1).first()):
            self._said_at = now
            logger.info("the audit goes to entry %d, digest %s", head.seq, head.digest)
