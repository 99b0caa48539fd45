"""Commands: evidence, not hope. How they are given, go out and end; each move has one winner, and is logged."""

from __future__ import annotations

from devices.commands.course import ORPHAN_MS, cancel, claim, lost, sent, settle, sweep, unsent, waiting
from devices.commands.issuing import (
    DEFAULT_TTL_S,
    MAX_REASON,
    MAX_TTL_S,
    MAX_WAITING,
    check_key,
    check_reason,
    check_ttl,
    is_dangerous,
    issue,
    issue_many,
)

__all__ = [
    "DEFAULT_TTL_S",
    "MAX_REASON",
    "MAX_TTL_S",
    "MAX_WAITING",
    "ORPHAN_MS",
    "cancel",
    "check_key",
    "check_reason",
    "check_ttl",
    "claim",
    "is_dangerous",
    "issue",
    "issue_many",
    "lost",
    "sent",
    "settle",
    "sweep",
    "unsent",
    "waiting",
]
