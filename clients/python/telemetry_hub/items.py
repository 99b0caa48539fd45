"""PURE. What a client is given: rows, what is missing, summaries, what else happens. Times are ms since 1970, UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

# What a row's `flags` are the sum of.
LATE: Final = 1
CLOCK: Final = 2
RETAINED: Final = 4

# Nothing more is expected of a command in one of these states (of `unknown` and `timed_out` perhaps, much later).
SETTLED: Final = frozenset("succeeded failed rejected cancelled expired unknown timed_out".split())

Value = float | int | bool | str
Phase = Literal["history", "live", "replay"]


@dataclass(frozen=True, slots=True)
class Row:
    """What a device sent together. `seq` counts its rows without holes: the cursor.

    ts      when it was measured
    flags   a sum of LATE (older than what came before it), CLOCK (the device's clock was impossible: `ts` is the time
            of arrival), RETAINED (the broker had kept it)
    """

    device: str
    seq: int
    ts: int
    values: Mapping[str, Value]
    flags: int
    phase: Phase

    @property
    def time(self) -> datetime:
        """When it was measured."""
        return datetime.fromtimestamp(self.ts / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows `first` to `last`, both included, cannot be had here.

    cause   retention: they were deleted, or the hub's journal is another than before (restored from a backup).
            limit: too many for a live stream; the REST API has them (`devices/<key>/frames/`)
    """

    device: str
    first: int
    last: int
    cause: str


@dataclass(frozen=True, slots=True)
class Lag:
    """So many rows were skipped, because they were not taken fast enough; the REST API has them."""

    device: str
    skipped: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A device of a fleet as it is now; replaces the one before.

    values, times   newest value of each metric, and when it was measured
    ts, seq         of its newest row; ts None: it has none
    """

    device: str
    name: str
    presence: str
    because: str
    since: int
    seq: int
    ts: int | None
    values: Mapping[str, Value]
    times: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Gone:
    """A device that is not in the fleet any more."""

    device: str


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a watched device is there: `never`, `online`, `stale` or `offline`; `because` is a sentence."""

    device: str
    presence: str
    because: str
    since: int


@dataclass(frozen=True, slots=True)
class CommandState:
    """A state that a command entered, and what proves it. `step`: of an update; `reason`: why it was given."""

    command: str
    device: str
    name: str
    args: Any
    state: str
    proof: str
    at: int
    by: str
    message: str
    progress: float | None
    step: str = ""
    reason: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected."""
        return self.state in SETTLED


@dataclass(frozen=True, slots=True)
class Registration:
    """How a watched device is registered, told when that changed."""

    device: str
    name: str
    fleet: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job of a watched fleet stands: one command for many of its devices.

    issued   how many of `total` devices have their command, or were refused it
    counts   devices by the state of their command, and by `waiting` and `refused`
    """

    job: str
    fleet: str
    name: str
    state: str
    because: str
    total: int
    issued: int
    counts: Mapping[str, int]
    at: int


@dataclass(frozen=True, slots=True)
class Storing:
    """Whether the hub stores what devices send; if not, `because` says why, and since when."""

    storing: bool
    because: str
    since: int


@dataclass(frozen=True, slots=True)
class Connection:
    """The connection was made (`up`), or is gone: `because` says why, and it is tried again in `retry_s`."""

    up: bool
    because: str = ""
    retry_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Missed:
    """So many events came and were not taken; their number is all that is known of them."""

    events: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the REST API says: its status and body, also when it refuses."""

    status: int
    body: Any

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return 200 <= self.status < 300  # noqa: PLR2004  as HTTP counts


Event = Presence | CommandState | Registration | JobState | Storing | Connection | Missed
