"""Jobs: one command for a selection of a fleet's devices, with a result for each. All that is known of them is rows."""

from __future__ import annotations

from devices.jobs.asked import Asked
from devices.jobs.counting import counts, message, results
from devices.jobs.course import cancel, resume, step, stop
from devices.jobs.selection import check_selection, select
from devices.jobs.starting import Plan, barred, check, find, plan, start, visible_to

__all__ = [
    "Asked",
    "Plan",
    "barred",
    "cancel",
    "check",
    "check_selection",
    "counts",
    "find",
    "message",
    "plan",
    "results",
    "resume",
    "select",
    "start",
    "step",
    "stop",
    "visible_to",
]
