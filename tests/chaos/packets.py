"""PURE. The little of MQTT 3.1.1 that a device needs: packets made ahead of time, and what a broker answers.

A client library would decide for itself what it sends again; here that decision is the publisher's, and is on record.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"
QOS_1: Final = 0x02
DUP: Final = 0x08
# Packet ids are 16 bits, and 0 is none.
PACKET_IDS: Final = 0xFFFF


class Packet(NamedTuple):
    """One packet from the broker: its kind with the flags, and what follows the length."""

    first: int
    body: bytes

    @property
    def kind(self) -> int:
        return self.first & 0xF0


def connect(key: str, secret: str, keepalive_s: int) -> bytes:
    """Log in as the device, with a session that the broker keeps."""
    flags = 0x80 | 0x40  # user name and password; not a clean session
    return packet(
        0x10,
        text("MQTT") + bytes([4, flags]) + struct.pack("!H", keepalive_s) + b"".join(map(text, (key, key, secret))),
    )


def publish(topic: str, payload: bytes, n: int) -> bytes:
    """Publish with QoS 1; the n-th message of a device has the packet id that `id_of` says."""
    return packet(PUBLISH | QOS_1, text(topic) + struct.pack("!H", id_of(n)) + payload)


def again(sent: bytes) -> bytes:
    """The same publish, marked as a repetition."""
    return bytes([sent[0] | DUP]) + sent[1:]


def subscribe(topic: str) -> bytes:
    """Subscribe with QoS 0."""
    return packet(0x82, struct.pack("!H", PACKET_IDS) + text(topic) + b"\x00")


def id_of(n: int) -> int:
    """The packet id of a device's n-th message; the last id is kept for its subscription."""
    return (n - 1) % (PACKET_IDS - 1) + 1


def topic_and_payload(body: bytes) -> tuple[str, bytes]:
    """What a QoS 0 publish says."""
    (length,) = struct.unpack_from("!H", body)
    return body[2 : 2 + length].decode(), body[2 + length :]


def taken(buffer: bytearray) -> Iterator[Packet]:
    """Every whole packet, taken out of what was read."""
    while len(buffer) >= 2:
        length, at, shift = 0, 1, 0
        while True:
            if at >= len(buffer):
                return
            length |= (buffer[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if buffer[at - 1] < 0x80:
                break
        if len(buffer) < at + length:
            return
        found = Packet(buffer[0], bytes(buffer[at : at + length]))
        del buffer[: at + length]
        yield found


def packet(first: int, body: bytes) -> bytes:
    """A packet of this kind."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([first]) + bytes(digits) + body


def text(what: str | bytes) -> bytes:
    """A text with its length before it; bytes are taken as they are, also those that are no text."""
    encoded = what.encode() if isinstance(what, str) else what
    return struct.pack("!H", len(encoded)) + encoded
