"""The one door through which the hub asks other machines by HTTP, at addresses that people entered.

A name is looked up once, what was found is checked (`addresses`), and exactly that is connected to: a name that means
another machine by then leads nowhere. No redirect is followed, no proxy of the environment is used, certificates are
verified, and an answer has so many seconds and bytes.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, NamedTuple, cast

from django.conf import settings

from devices import addresses
from devices.errors import Refusal

# From the first question for the name to the last byte of the answer.
WITHIN_S: Final = 10.0
# Of an answer as much is kept.
MOST: Final = 64 * 1024
# The system's resolver takes as long as it likes; whoever waits for it here does not.
_lookups = ThreadPoolExecutor(4, thread_name_prefix="lookup")


class Unanswered(Exception):
    """The address may be asked, and no whole answer came. The message says why."""


class Answer(NamedTuple):
    """What the other machine said: a redirect is an answer, too."""

    status: int
    body: bytes


def check(url: str) -> None:
    """Refuse an address that would not be asked (Refusal); Unanswered: nobody knows its name now."""
    place = _read(url)
    try:
        _found(place, time.monotonic() + WITHIN_S)
    except OSError as error:
        raise _unanswered(place, error) from None


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send this once. Raises Refusal, or Unanswered: then nobody knows whether it was taken."""
    place = _read(url)
    ends = time.monotonic() + WITHIN_S
    try:
        with closing(_connected(place, _found(place, ends), ends)) as connection:
            return _asked(place, _Line(connection, ends), body, headers)
    except (OSError, http.client.HTTPException) as error:
        raise _unanswered(place, error) from None


def _read(url: str) -> addresses.Place:
    try:
        return addresses.read(url)
    except addresses.Refused as refused:
        raise _refusal(refused) from None


def _refusal(refused: addresses.Refused) -> Refusal:
    return Refusal("address_refused", str(refused), fields={"url": str(refused)})


def _unanswered(place: addresses.Place, error: Exception) -> Unanswered:
    if isinstance(error, TimeoutError):
        return Unanswered(f"{place.authority} did not answer within {WITHIN_S:g} s.")
    return Unanswered(f"{place.authority} did not answer: {str(error) or type(error).__name__}")


def _found(place: addresses.Place, ends: float) -> list[addresses.Ip]:
    """Look the name up, once, and refuse it if anything found may not be asked."""
    asked = _lookups.submit(socket.getaddrinfo, place.host, place.port, type=socket.SOCK_STREAM)
    found = [ip_address(entry[4][0]) for entry in asked.result(_left(ends))]
    try:
        addresses.check(place, found, settings.HUB_OUTGOING)
    except addresses.Refused as refused:
        raise _refusal(refused) from None
    return found


def _connected(place: addresses.Place, found: list[addresses.Ip], ends: float) -> socket.socket:
    """Connect to one of these addresses, the first that takes it."""
    *others, last = found
    for address in others:
        try:
            return _connection(place, address, ends)
        except OSError:
            continue
    return _connection(place, last, ends)


def _connection(place: addresses.Place, address: addresses.Ip, ends: float) -> socket.socket:
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(_left(ends))
        connection.connect((str(address), place.port))
        if place.scheme == "https":
            connection.settimeout(_left(ends))
            return ssl.create_default_context().wrap_socket(connection, server_hostname=place.host)
    except BaseException:
        connection.close()
        raise
    return connection


def _asked(place: addresses.Place, line: _Line, body: bytes, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection(place.host, place.port)
    connection.sock = cast("Any", line)
    own = {"Host": place.authority, "User-Agent": "telemetry-hub", "Connection": "close"}
    connection.request("POST", place.target, body, {**headers, **own})
    answer = connection.getresponse()
    return Answer(answer.status, answer.read(MOST))


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Line:
    """A connection as http.client uses it, given up at an instant, however slowly it is fed."""

    def __init__(self, connection: socket.socket, ends: float) -> None:
        self._connection, self._ends = connection, ends

    def sendall(self, part: bytes) -> None:
        self._connection.settimeout(_left(self._ends))
        self._connection.sendall(part)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Feed(self._connection, self._ends))

    def close(self) -> None:
        """Leave it open: the answer is still to be read. Whoever made the connection closes it."""


class _Feed(io.RawIOBase):
    """What comes in on it."""

    def __init__(self, connection: socket.socket, ends: float) -> None:
        self._connection, self._ends = connection, ends

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  a buffer of any kind
        self._connection.settimeout(_left(self._ends))
        return self._connection.recv_into(buffer)
