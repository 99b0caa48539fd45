"""PURE. What a device sent, as a file: a line of JSON each for who it was, for each message, and for the sum of it.

{"format": "telemetry-hub-session", "version": 1, "device", "name", "model", "fw", "metrics", "commands", "began"}
[offset in ms, topic behind hub/<key>/, payload as text]       in the order in which the hub stored them
{"frames", "sha256"}                                           of [offset, values] of all of them, in this order
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from devices.values import Value
from simulators.script import Unusable

Part = TypeVar("Part")

FORMAT: Final = "telemetry-hub-session"
VERSION: Final = 1
# How a file of ours begins, so that it is told from a scenario.
_BEGINS: Final = f'{{"format":"{FORMAT}"'.encode()


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Who it was. `began`: the instant of the first frame (ms), to which offsets are counted."""

    format: str = FORMAT
    version: int = VERSION
    device: str
    name: str = ""
    model: str = ""
    fw: str = ""
    metrics: dict[str, dict[str, str]] = {}
    commands: dict[str, dict[str, Any]] = {}
    began: int = 0


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One message: when after the first (ms; less than that if it came late), topic, payload."""

    offset: int
    suffix: str
    payload: str


class End(msgspec.Struct, frozen=True):
    """How many frames that were, and their digest."""

    frames: int
    sha256: str


class _Frame(msgspec.Struct):
    values: dict[str, Value]


class Digest:
    """The sum of a session: the same frames at the same distances give the same, whoever counts."""

    def __init__(self) -> None:
        self.frames = 0
        self._sha256 = hashlib.sha256()

    def add(self, offset: int, values: dict[str, Value]) -> None:
        """Count a frame."""
        plain = {name: _plain(value) for name, value in values.items()}
        self._sha256.update(msgspec.json.encode([offset, plain], order="sorted") + b"\n")
        self.frames += 1

    def end(self) -> End:
        """What it is so far."""
        return End(self.frames, self._sha256.hexdigest())


def _plain(value: Value) -> Value:
    # Some databases keep 21.0 as 21.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def written(header: Header, frames: Iterable[tuple[int, dict[str, Value]]]) -> Iterator[bytes]:
    """Write a session, line by line: frames are (instant in ms, values), numbered anew from 1."""
    yield msgspec.json.encode(header) + b"\n"
    digest = Digest()
    for n, (ts, values) in enumerate(frames, 1):
        payload = msgspec.json.encode({"boot": 1, "seq": n, "values": values}).decode()
        yield msgspec.json.encode(Row(ts - header.began, "telemetry", payload)) + b"\n"
        digest.add(ts - header.began, values)
    yield msgspec.json.encode(digest.end()) + b"\n"


def is_session(beginning: bytes) -> bool:
    """Whether a file is one, by how it begins."""
    return beginning.startswith(_BEGINS)


def header_of(line: bytes) -> Header:
    """Read the first line."""
    header = _decoded(line, Header)
    if (header.format, header.version) != (FORMAT, VERSION):
        raise Unusable(f"this is no session of version {VERSION}; record it again with `manage.py record`")
    return header


def rows(lines: Iterable[bytes]) -> Iterator[tuple[Row, dict[str, Value]]]:
    """Read all that follows; Unusable: it is not what was recorded."""
    digest = Digest()
    for line in lines:
        if line.startswith(b"{"):
            if _decoded(line, End) != digest.end():
                raise Unusable("the session was changed since it was recorded: its sum is another one")
            return
        row = _decoded(line, Row)
        values = _decoded(row.payload.encode(), _Frame).values
        digest.add(row.offset, values)
        yield row, values
    raise Unusable("the session has no end: it was not recorded to the end, or cut off")


def _decoded(line: bytes, as_type: type[Part]) -> Part:
    try:
        return msgspec.json.decode(line, type=as_type)
    except msgspec.DecodeError as error:
        raise Unusable(f"session: {error}") from None
