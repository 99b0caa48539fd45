"""PURE. The live protocol: what a client may say, what the hub says, and how much of it each may.

The reference is docs/protocol/live.md. Rows and cursors are in rows.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

VERSION: Final = 1
HEARTBEAT_S: Final = 20
# Data frames in flight to one client: enough for 1.6 s at the pace of 50 ms, little enough to hold in memory.
CREDIT: Final = 32
# A client that takes nothing for this long is gone, or as good as gone.
CREDIT_TIMEOUT_S: Final = 30.0
HELLO_TIMEOUT_S: Final = 10.0
# A person sees no difference below 50 ms, and a socket frame costs the same for one reading as for a hundred.
PACE_S: Final = 0.05
MAX_SUBSCRIPTIONS: Final = 100
MAX_DEVICES: Final = 500
MAX_MESSAGE: Final = 65_536
# Messages that a client may send in one go, and how many come back each second.
BURST: Final = 200
RATE: Final = 50.0
# Frames further back than this are not sent one by one: history is for series/, live is for what moves.
MAX_BEHIND: Final = 20_000
# What is quoted of a refused message: enough to recognise it.
QUOTED: Final = 200
TEN_YEARS_S: Final = 10 * 366 * 86_400


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


# An id travels in each data message of its subscription, so it is short. No NUL anywhere: PostgreSQL takes none.
Id = Annotated[str, Meta(min_length=1, max_length=128)]
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]
Token = Annotated[str, Meta(max_length=512, pattern=r"^[\x21-\x7e]+$")]
Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    pass


class Hello(_Message, frozen=True, tag="hello"):
    """Who speaks: a program's first message."""

    token: Token


class Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to begin: `last_s` seconds of history, or behind a cursor for each device."""

    last_s: Annotated[float, Meta(ge=0, le=TEN_YEARS_S)] | None = None
    cursor: dict[Name, Seq] | None = None

    def __post_init__(self) -> None:
        """Refuse what says two things."""
        if self.last_s is not None and self.cursor is not None:
            raise ValueError("`since` takes `last_s` or `cursor`, not both")


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What was, again: frames that arrived from `from` on (ms), up to `to` or now, `speed` times as fast."""

    from_: Annotated[int, Meta(ge=0, le=2**53)]
    to: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    speed: Annotated[float, Meta(ge=0.1, le=1000)] = 1.0

    def __post_init__(self) -> None:
        """Refuse what ends before it begins."""
        if self.to is not None and self.to <= self.from_:
            raise ValueError("`replay` ends before it begins: `to` must be after `from`")


class Sub(_Message, frozen=True, tag="sub"):
    """Follow devices, or a fleet's summary. `since` None: from now on. `replay`: what was, as if it were now."""

    id: Id
    devices: Annotated[list[Name], Meta(min_length=1, max_length=MAX_DEVICES)] | None = None
    fleet: Name | None = None
    metrics: Annotated[list[Name], Meta(max_length=MAX_DEVICES)] | None = None
    mode: Literal["all", "latest"] = "all"
    since: Since | None = None
    replay: Replay | None = None

    def __post_init__(self) -> None:
        """Refuse what follows nothing, or two things."""
        if (self.devices is None) == (self.fleet is None):
            raise ValueError("sub takes `devices` (a list of keys) or `fleet` (a name), one of them")
        if self.replay is not None and (self.fleet is not None or self.since is not None or self.mode != "all"):
            raise ValueError("`replay` goes with `devices`, in mode all, and without `since`")


class Unsub(_Message, frozen=True, tag="unsub"):
    """End a subscription."""

    id: Id


class Cmd(_Message, frozen=True, tag="cmd"):
    """Order something of a device; answered by ok with the command's id, then by cmd_state messages."""

    id: Id
    device: Name
    name: Name
    args: Any = None
    ttl_s: int | None = None
    key: Name | None = None
    reason: str = ""
    confirm: bool = False


class Call(_Message, frozen=True, tag="call", omit_defaults=True):
    """What the REST API can change, over the socket; answered by `answer`. `path` is relative to /api/v1/."""

    id: Id
    method: Literal["POST", "PUT", "PATCH", "DELETE"]
    path: Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[\x21-\x7e]+$")]
    # As it was written: REST's own reader says what is wrong with it. Empty: none.
    body: msgspec.Raw = msgspec.Raw()


class Path(_Message, frozen=True, tag="path"):
    """Ask how the whole path is, from the broker to this socket; answered by `path`."""


class Credit(_Message, frozen=True, tag="credit"):
    """`n` more data or fleet messages were worked off."""

    n: Annotated[int, Meta(ge=1)]


class Ping(_Message, frozen=True, tag="ping"):
    """Answered by pong."""


ClientMessage = Hello | Sub | Unsub | Cmd | Call | Credit | Path | Ping
_decode: Callable[[str], ClientMessage] = msgspec.json.Decoder(ClientMessage).decode
_decode_any = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode

# What a refusal shows of each type: the form that would have been right.
FORMS: Final = {
    "hello": '{"type":"hello","token":"…"}',
    "sub": '{"type":"sub","id":"a1","devices":["pump-1"],"since":{"last_s":3600}}',
    "unsub": '{"type":"unsub","id":"a1"}',
    "cmd": '{"type":"cmd","id":"c1","device":"pump-1","name":"relay","args":"on"}',
    "call": '{"type":"call","id":"k1","method":"PATCH","path":"devices/pump-1/","body":{"name":"Pump one"}}',
    "credit": '{"type":"credit","n":8}',
    "path": '{"type":"path"}',
    "ping": '{"type":"ping"}',
}


class Refused(ValueError):
    """A message that is not in the protocol. `fatal`: not even a JSON object, so the socket closes with 4400."""

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
        raise _refused(text, str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise _no_object(error) from None


def _refused(text: str, problem: str) -> Refused:
    """Say what is wrong with what may be JSON: the decoder stops at the first fault and has not seen the rest."""
    try:
        message = _decode_any(text)
    except msgspec.ValidationError as error:  # a number that no computer holds
        return Refused(str(error)[:QUOTED], fatal=False)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        return _no_object(error)
    if not isinstance(message, dict):
        return Refused("a message is a JSON object with a `type`", fatal=True)
    kind, id_ = message.get("type"), message.get("id", "")
    form = FORMS.get(kind) if isinstance(kind, str) else None
    hint = f"It looks like {form}" if form else f"The types are {', '.join(FORMS)}."
    return Refused(f"{problem[:QUOTED]}. {hint}", fatal=False, id=id_[:128] if isinstance(id_, str) else "")


def _no_object(error: Exception) -> Refused:
    # Not the error's own text where that quotes what cannot be said in UTF-8.
    problem = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)[:QUOTED]
    return Refused(f"not a JSON object: {problem}", fatal=True)


def text(**fields: object) -> str:
    """Encode one hub message; `kind` stands for `type`, and comes first."""
    return encode({"type": fields.pop("kind"), **fields}).decode()


def welcome(user: str, now_ms: int) -> str:
    """Greet who signed in, and say what holds."""
    limits = {
        "subscriptions": MAX_SUBSCRIPTIONS,
        "devices": MAX_DEVICES,
        "message_bytes": MAX_MESSAGE,
        "messages_s": RATE,
        "frames_behind": MAX_BEHIND,
    }
    return text(
        kind="welcome",
        v=VERSION,
        user=user,
        server_ts=now_ms,
        heartbeat_s=HEARTBEAT_S,
        credit=CREDIT,
        limits=limits,
    )


class Window:
    """Credit: how many data frames may still be sent to a client, and since when there is none left."""

    def __init__(self) -> None:
        """Start with CREDIT frames."""
        self.left = CREDIT
        self.empty_since: float | None = None

    def spend(self, now: float) -> None:
        """One data frame was sent."""
        self.left -= 1
        if self.left == 0:
            self.empty_since = now

    def give(self, n: int) -> None:
        """`n` frames came back; more than were lent count for nothing."""
        self.left = min(CREDIT, self.left + n)
        self.empty_since = None

    def patience(self, now: float) -> float | None:
        """Return for how many seconds the client may go on taking nothing; 0: no longer; None: it has credit."""
        if self.empty_since is None:
            return None
        return max(0.0, self.empty_since + CREDIT_TIMEOUT_S - now)
