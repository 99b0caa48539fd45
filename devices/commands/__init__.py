"""Commands: evidence, not hope. How they are given, go out, are answered and end; each move has one winner."""

from __future__ import annotations

from devices.commands.closing import ORPHAN_MS, SHORTEST_WORK_MS, cancel, sweep
from devices.commands.fetching import seen
from devices.commands.issuing import (
    DEFAULT_TTL_S,
    MAX_REASON,
    MAX_TTL_S,
    MAX_WAITING,
    Wish,
    check_key,
    check_reason,
    check_ttl,
    default_ttl,
    is_dangerous,
    issue,
    issue_each,
    issue_many,
)
from devices.commands.sending import AGAIN_MS, claim, lost, sent, unsent
from devices.commands.settling import settle

__all__ = [
    "AGAIN_MS",
    "DEFAULT_TTL_S",
    "MAX_REASON",
    "MAX_TTL_S",
    "MAX_WAITING",
    "ORPHAN_MS",
    "SHORTEST_WORK_MS",
    "Wish",
    "cancel",
    "check_key",
    "check_reason",
    "check_ttl",
    "claim",
    "default_ttl",
    "is_dangerous",
    "issue",
    "issue_each",
    "issue_many",
    "lost",
    "seen",
    "sent",
    "settle",
    "sweep",
    "unsent",
]
