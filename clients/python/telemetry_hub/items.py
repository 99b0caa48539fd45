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
    """A state that a command entered, and what proves it."""

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
class Setting:
    """What a device shall keep to (`desired`; None: nobody wants anything), and what it keeps to (`reported`).

    state    own, waiting, sent, kept or different
    spec     as the device announced it
    """

    name: str
    spec: Mapping[str, Any] | None
    desired: Value | None
    reported: Value | None
    version: int
    answered: int
    by: str
    at: int | None
    sent_at: int | None
    reported_at: int | None
    state: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a watched device that are new or have changed; `version`: of its desired state."""

    device: str
    version: int
    settings: tuple[Setting, ...]


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


Event = Presence | CommandState | Registration | Settings | Storing | Connection | Missed
