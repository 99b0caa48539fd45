"""A line between a device and its broker: a test cuts it, hears the device, and speaks on it as the broker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.chaos.packets import PUBLISH, packet, taken, text
from tests.services import LOOPBACK

BUFFER: Final = 65536


class Line:
    """A TCP port that leads to a broker, for one device."""

    def __init__(self, broker: int) -> None:
        self.said: list[tuple[str, str]] = []  # topic and payload of each publish of the device
        self.is_cut = False
        self.is_mute = False  # the device hears nothing
        self._broker = broker
        self._ends: list[socket.socket] = []
        self._device: socket.socket | None = None
        self._speaking = threading.Lock()
        self._door = socket.create_server((LOOPBACK, 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End the connection, and let nobody through until `mend`."""
        self.is_cut = True
        for end in self._ends:
            _shut(end)

    def mend(self) -> None:
        self.is_cut = self.is_mute = False

    def tell(self, topic: str, payload: str, *, retained: bool = False) -> None:
        """Say to the device what no broker has sent."""
        with self._speaking:
            assert self._device is not None, "no device has come yet"
            self._device.sendall(packet(PUBLISH | retained, text(topic) + payload.encode()))

    def heard(self, topic: str) -> list[str]:
        """The payloads that the device has published there."""
        return [payload for at, payload in self.said if at == topic]

    def end(self) -> None:
        _shut(self._door)
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                device, _ = self._door.accept()
                if self.is_cut:
                    _shut(device)
                    continue
                try:
                    broker = socket.create_connection((LOOPBACK, self._broker))
                except OSError:
                    _shut(device)
                    continue
                self._device, self._ends = device, [device, broker]
                threading.Thread(target=self._upwards, args=(device, broker), daemon=True).start()
                threading.Thread(target=self._downwards, args=(broker, device), daemon=True).start()

    def _upwards(self, device: socket.socket, broker: socket.socket) -> None:
        buffer = bytearray()
        with suppress(OSError):
            while piece := device.recv(BUFFER):
                broker.sendall(piece)
                buffer += piece
                self.said += [_publish(each.first, each.body) for each in taken(buffer) if each.kind == PUBLISH]
        _shut(broker)

    def _downwards(self, broker: socket.socket, device: socket.socket) -> None:
        # Whole packets, so that what a test says comes between two of them.
        buffer = bytearray()
        with suppress(OSError):
            while piece := broker.recv(BUFFER):
                buffer += piece
                for each in taken(buffer):
                    if self.is_mute:
                        continue
                    with self._speaking:
                        device.sendall(packet(each.first, each.body))
        _shut(device)


def _publish(first: int, body: bytes) -> tuple[str, str]:
    end = 2 + int.from_bytes(body[:2])
    return body[2:end].decode(), body[end + (2 if first & 6 else 0) :].decode()


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def line_to(broker: int) -> Iterator[Line]:
    line = Line(broker)
    try:
        yield line
    finally:
        line.end()
