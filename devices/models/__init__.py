"""Tables and constraints, no logic. Times are integers: ms since the epoch, UTC."""

from devices.models.jobs import Campaign, Firmware, Job, Run, Schedule, Target
from devices.models.journal import KINDS, Event, Frame, Reject, Repair, Rolled, Rollup
from devices.models.orders import Command, CommandEvent
from devices.models.people import (
    Access,
    AuditEntry,
    AuditHead,
    ClaimCode,
    DeviceRole,
    Invitation,
    Membership,
    Offer,
    Role,
    Token,
)
from devices.models.things import Device, Fleet, Head, Limits, Metric, Setting, Tag

__all__ = [
    "KINDS",
    "Access",
    "AuditEntry",
    "AuditHead",
    "Campaign",
    "ClaimCode",
    "Command",
    "CommandEvent",
    "Device",
    "DeviceRole",
    "Event",
    "Firmware",
    "Fleet",
    "Frame",
    "Head",
    "Invitation",
    "Job",
    "Limits",
    "Membership",
    "Metric",
    "Offer",
    "Reject",
    "Repair",
    "Role",
    "Rolled",
    "Rollup",
    "Run",
    "Schedule",
    "Setting",
    "Tag",
    "Target",
    "Token",
]
