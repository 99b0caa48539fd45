"""A narrow passage between browser and hub, as a phone's network is one: it can be narrowed, and closed for a while.

Closed, it lets nothing through and ends nothing: packets vanish, as they do in a tunnel.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.services import LOOPBACK

# Small, or they would hold seconds of what a narrow passage lets through.
BUFFER: Final = 8192
SIP: Final = 1024


class Strait:
    """A TCP port that leads to another one."""

    def __init__(self, target: int) -> None:
        self.rate: float | None = None  # bytes a second towards the browser; None: as fast as it goes
        self._target = target
        self._clear = threading.Event()
        self._clear.set()
        self._ended = False
        self._pairs: list[socket.socket] = []
        self._door = socket.create_server((LOOPBACK, 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nothing through from now on."""
        self._clear.clear()

    def clear(self) -> None:
        """Let all through again, and what waited."""
        self._clear.set()

    def end(self) -> None:
        """For good."""
        self._ended = True
        self._clear.set()
        for one in [self._door, *self._pairs]:
            _shut(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._door.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._pairs.append(near)
        self._clear.wait()
        if self._ended:
            return
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        far.connect((LOOPBACK, self._target))
        self._pairs.append(far)
        threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
        threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, inward: bool) -> None:
        with suppress(OSError):
            while data := source.recv(SIP):
                self._clear.wait()
                if inward and self.rate:
                    time.sleep(len(data) / self.rate)
                sink.sendall(data)
        _shut(source)
        _shut(sink)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def before(port: int) -> Iterator[Strait]:
    """A passage to this port."""
    strait = Strait(port)
    try:
        yield strait
    finally:
        strait.end()
