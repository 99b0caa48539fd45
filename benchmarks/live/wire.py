"""PURE. The little of WebSocket (RFC 6455) that a counting client needs: whole frames in, frames made ahead out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_FIN: Final = 0x80
_MASKED: Final = 0x80
_MASK: Final = b"\0\0\0\0"  # a client has to mask; with zeros that is no work (5.3 forbids none)
_KEY: Final = "AAAAAAAAAAAAAAAAAAAAAA=="


def upgrade(host: str, port: int, token: str) -> bytes:
    """Ask for the live socket."""
    lines = (
        "GET /ws/v1/live/ HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {_KEY}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Token {token}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Make one frame from client to hub."""
    size = len(payload)
    if size < 126:
        head = bytes([_FIN | opcode, _MASKED | size])
    elif size < 65_536:
        head = struct.pack("!BBH", _FIN | opcode, _MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", _FIN | opcode, _MASKED | 127, size)
    return head + _MASK + payload


def server_frame(opcode: int, payload: bytes) -> bytes:
    """Make one frame from hub to client, for whoever plays the hub."""
    size = len(payload)
    long = (
        struct.pack("!BBH", _FIN | opcode, 126, size)
        if size < 65_536
        else struct.pack("!BBQ", _FIN | opcode, 127, size)
    )
    return (bytes([_FIN | opcode, size]) if size < 126 else long) + payload


class Reader:
    """Takes frames out of what comes in any pieces. Before the first: the answer to the upgrade."""

    def __init__(self) -> None:
        """Wait for the answer."""
        self.status: int | None = None
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield each whole frame: opcode and payload."""
        data, self._rest = self._rest + data if self._rest else data, b""
        at = 0 if self.status is not None else self._answer(data)
        while self.status is not None and (frame := _frame(data, at)) is not None:
            at, opcode, payload = frame
            yield opcode, payload
        self._rest = data[at:]

    def _answer(self, data: bytes) -> int:
        """Return where frames begin; nowhere, as long as the answer is not whole."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return 0
        self.status = int(data[9:12])
        return end + 4


def _frame(data: bytes, at: int) -> tuple[int, int, bytes] | None:
    """Return where the next one begins, this one's opcode and payload; None when it is not whole."""
    if len(data) < at + 2:
        return None
    opcode, size, start = data[at] & 0x0F, data[at + 1] & 0x7F, at + 2
    assert data[at] & _FIN, "a frame in parts, which the hub never sends"
    if size >= 126:
        width = 2 if size == 126 else 8
        size, start = int.from_bytes(data[start : start + width], "big"), start + width
    end = start + size
    return (end, opcode, data[start:end]) if len(data) >= end >= start else None
