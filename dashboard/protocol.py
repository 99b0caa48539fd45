"""PURE. The live protocol: what a client may say, what the hub says, and where a subscriber stands.

The reference is docs/protocol/live.md. Rows travel as [seq, ts, {metric: value}, flags]; `prev` is the cursor before
the first row of a message, so that a client can tell a hole from `prev` alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

VERSION: Final = 1
HEARTBEAT_S: Final = 20
# Data frames in flight to one client: enough for 1.6 s at the pace of 50 ms, little enough to hold in memory.
CREDIT: Final = 32
# A client that takes nothing for this long is gone, or as good as gone.
CREDIT_TIMEOUT_S: Final = 30
HELLO_TIMEOUT_S: Final = 10
# A person sees no difference below 50 ms, and a socket frame costs the same for one reading as for a hundred.
PACE_S: Final = 0.05
MAX_SUBSCRIPTIONS: Final = 100
MAX_DEVICES: Final = 500
MAX_MESSAGE: Final = 65_536
# Messages that a client may send in one go, and how many come back each second.
BURST: Final = 200
RATE: Final = 50.0
# Rows in one data message: some 100 KB.
CHUNK: Final = 1000
# Frames further back than this are not sent one by one: history is for series/, live is for what moves.
MAX_BEHIND: Final = 20_000
# Rows of a device kept for all its watchers: 10 s at 50 a second; who is further behind reads the store.
KEPT: Final = 512

Row = Sequence[Any]  # [seq, ts, {metric: value}, flags]


class Close:
    """Close codes (docs/protocol/live.md)."""

    BAD_FRAME: Final = 4400
    NOT_AUTHENTICATED: Final = 4401
    ORIGIN: Final = 4403
    TIMEOUT: Final = 4408
    DUPLICATE_ID: Final = 4409
    TOO_BIG: Final = 4413
    TOO_MANY: Final = 4429
    ERROR: Final = 4500
    RESTART: Final = 1012


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    pass


class Hello(_Message, tag="hello"):
    """Who speaks: a program's first message."""

    token: str


class Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to begin: `last_s` seconds of history, or behind a cursor for each device."""

    last_s: float | None = None
    cursor: dict[str, int] | None = None


class Sub(_Message, tag="sub"):
    """Follow devices, or a fleet's summary. `since` None: from now on."""

    id: str
    devices: list[str] | None = None
    fleet: str | None = None
    metrics: list[str] | None = None
    mode: Literal["all", "latest"] = "all"
    since: Since | None = None


class Unsub(_Message, tag="unsub"):
    """End a subscription."""

    id: str


class Cmd(_Message, tag="cmd"):
    """Order something of a device; answered by ok with the command's id, then by cmd_state messages."""

    id: str
    device: str
    name: str
    args: Any = None
    ttl_s: int = 60
    key: str | None = None


class Credit(_Message, tag="credit"):
    """`n` more data frames were worked off."""

    n: int


class Ping(_Message, tag="ping"):
    """Answered by pong."""


ClientMessage = Hello | Sub | Unsub | Cmd | Credit | Ping
_decode = msgspec.json.Decoder(ClientMessage).decode
encode = msgspec.json.Encoder().encode


class Refused(ValueError):  # noqa: N818  the client's fault, answered
    """A message that is not in the protocol. `fatal`: not even JSON, so the socket closes with 4400."""

    def __init__(self, message: str, *, fatal: bool, id: str = "") -> None:  # noqa: A002  the protocol's word
        """Keep what the client is told; `id` of its message, when it has one."""
        super().__init__(message)
        self.fatal = fatal
        self.id = id


def parse(text: str) -> ClientMessage:
    """Read one client message; raises Refused."""
    try:
        return _decode(text)
    except msgspec.ValidationError as error:
        message = msgspec.json.decode(text)
        fatal = not isinstance(message, dict)
        id_ = "" if fatal else str(message.get("id", ""))[:128]
        raise Refused(f"{error}. Types: hello, sub, unsub, cmd, credit, ping.", fatal=fatal, id=id_) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Refused(f"not a JSON object: {error}", fatal=True) from None


def text(**fields: object) -> str:
    """Encode one hub message; `kind` stands for `type`, and comes first."""
    return encode({"type": fields.pop("kind"), **fields}).decode()


class Bucket:
    """A token bucket: BURST messages at once, RATE a second."""

    def __init__(self, now: float) -> None:
        """Start full."""
        self._left = float(BURST)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more message is allowed at `now` (s)."""
        self._left = min(float(BURST), self._left + (now - self._at) * RATE)
        self._at = now
        self._left -= 1
        return self._left >= 0


class Window:
    """Credit: how many data frames may still be sent to a client, and since when it is used up."""

    def __init__(self) -> None:
        """Start with CREDIT frames."""
        self.left = CREDIT
        self.empty_since: float | None = None

    def spend(self, now: float) -> None:
        """One data frame was sent."""
        self.left -= 1
        if self.left <= 0:
            self.empty_since = now

    def give(self, n: int) -> None:
        """`n` frames came back; more than were lent count for nothing."""
        self.left = min(CREDIT, self.left + max(0, n))
        if self.left > 0:
            self.empty_since = None

    def stuck(self, now: float) -> bool:
        """Whether the client has taken nothing for too long."""
        return self.empty_since is not None and now - self.empty_since >= CREDIT_TIMEOUT_S


class Kept:
    """The newest rows of one device, encoded once for all its watchers; always without a hole."""

    def __init__(self) -> None:
        """Start empty."""
        self._rows: deque[tuple[int, Row, str]] = deque(maxlen=KEPT)

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows in order; a hole before them, or old news, is met by forgetting or skipping."""
        for row in rows:
            last = self._rows[-1][0] if self._rows else None
            if last is not None and row[0] <= last:
                continue
            if last is not None and row[0] != last + 1:
                self._rows.clear()
            self._rows.append((row[0], row, encode(row).decode()))

    def after(self, cursor: int, limit: int) -> list[tuple[int, Row, str]] | None:
        """Return at most `limit` of what follows the cursor; None when that is not (all) here."""
        if not self._rows or self._rows[0][0] > cursor + 1:
            return None
        skip = cursor + 1 - self._rows[0][0]
        return [self._rows[index] for index in range(skip, min(len(self._rows), skip + limit))]


class Track:
    """Where a subscription stands with one device.

    cursor   seq of the newest row sent
    seam     the head when it joined: rows up to it are history
    """

    __slots__ = ("cursor", "seam")

    def __init__(self, cursor: int, seam: int) -> None:
        """Stand at `cursor`; history ends at `seam`."""
        self.cursor = cursor
        self.seam = seam


def fragment(
    rows: Sequence[tuple[int, Row, str]],
    prev: int,
    metrics: frozenset[str] | None,
    mode: str,
) -> str:
    """Encode one device's part of a data message: {"prev":…,"frames":[…]}."""
    if mode == "latest" and len(rows) > 1:
        merged: dict[str, Any] = {}
        for _, row, _ in rows:
            merged.update(row[2])
        newest = rows[-1][1]
        row = (newest[0], max(row[1] for _, row, _ in rows), merged, newest[3])
        rows = [(newest[0], row, encode(row).decode())]
    if metrics is None:
        texts = [text for _, _, text in rows]
    else:
        texts = [encode(_only(row, metrics)).decode() for _, row, _ in rows]
    return f'{{"prev":{prev},"frames":[{",".join(texts)}]}}'


def _only(row: Row, metrics: frozenset[str]) -> Row:
    # A row whose metrics were not asked for still travels, empty: the cursor has no holes.
    return [row[0], row[1], {name: value for name, value in row[2].items() if name in metrics}, row[3]]


def data(sub: str, phase: str, fragments: dict[str, str], *, more: bool = False) -> str:
    """Put one data message together from encoded parts."""
    parts = ",".join(f'"{key}":{part}' for key, part in fragments.items())
    tail = ',"more":true' if more else ""
    return f'{{"type":"data","id":{encode(sub).decode()},"phase":"{phase}","devices":{{{parts}}}{tail}}}'
