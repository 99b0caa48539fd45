"""A file from the hub over HTTPS: in pieces that go on where they were cut, and not taken unless its digest fits."""

import base64
import hashlib
import http.client
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from telemetry_hub.device.arguments import Update

_PIECE: Final = 64 * 1024
_TIMEOUT_S: Final = 30.0
_TRIES: Final = 8
_LONGEST_PAUSE_S: Final = 30.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_OK, _PARTIAL, _BEYOND = 200, 206, 416
_FINAL: Final = range(400, 500)


class NotFetched(Exception):
    """The file is not to be had, or is not the one that was meant; the message says why."""


def is_at(url: str, host: str) -> bool:
    """Whether an address is this host's; whatever this machine calls itself is one host."""
    asked = urlsplit(url).hostname
    return asked == host or (asked in _LOOPBACK and host in _LOOPBACK)


def fetch(
    update: Update,
    to: Path,
    credentials: tuple[str, str] | None,
    context: ssl.SSLContext | None,
    tell: Callable[[float], None],
    ended: threading.Event,
) -> Path:
    """Fetch what an update names; NotFetched says why not. `tell` hears how far it is, from 0 to 1 (all is here).

    A part of it that is there already (from before a cut, or a restart) is not asked for again.
    """
    part = to.with_name(to.name + ".part")
    for attempt in range(_TRIES):
        try:
            _go_on(update, part, credentials, context, tell)
            break
        except (OSError, http.client.HTTPException) as error:
            if attempt == _TRIES - 1 or ended.is_set():
                raise NotFetched(f"the download was cut {attempt + 1} times, at last: {error}") from None
        ended.wait(min(_LONGEST_PAUSE_S, 2.0**attempt))
    tell(1.0)
    _verify(update, part)
    part.replace(to)
    return to


def _go_on(
    update: Update,
    part: Path,
    credentials: tuple[str, str] | None,
    context: ssl.SSLContext | None,
    tell: Callable[[float], None],
) -> None:
    here = part.stat().st_size if part.exists() else 0
    if here > update.size:
        part.unlink()
        here = 0
    if here == update.size:
        return
    url = urlsplit(update.url)
    connection = _connection(update.url, context)
    try:
        headers = {"Range": f"bytes={here}-", "Accept-Encoding": "identity"}
        if credentials:
            headers["Authorization"] = _basic(*credentials)
        connection.request("GET", url.path + (f"?{url.query}" if url.query else ""), headers=headers)
        answer = connection.getresponse()
        if answer.status in _FINAL:
            raise NotFetched(f"the hub answers {answer.status} {answer.reason} for {url.path}")
        if answer.status not in (_OK, _PARTIAL):
            raise OSError(f"the hub answers {answer.status} {answer.reason}")
        with part.open("ab" if answer.status == _PARTIAL else "wb") as file:
            _take(update, file.tell(), answer, file.write, tell)
    finally:
        connection.close()


def _take(
    update: Update,
    here: int,
    answer: http.client.HTTPResponse,
    write: Callable[[bytes], int],
    tell: Callable[[float], None],
) -> None:
    told = time.monotonic()
    while piece := answer.read(_PIECE):
        here += len(piece)
        if here > update.size:
            raise NotFetched(f"the file is larger than the {update.size} bytes that were announced")
        write(piece)
        if time.monotonic() - told > 1:
            told = time.monotonic()
            tell(min(0.99, here / update.size))
    if here < update.size:
        raise OSError(f"it ended after {here} of {update.size} bytes")


def _verify(update: Update, part: Path) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != update.sha256:
        part.unlink()
        raise NotFetched(f"the file's sha256 is {digest}, not the {update.sha256} that was announced")


def _connection(url: str, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=context)
    if parts.scheme == "http" and host in _LOOPBACK:
        return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    raise NotFetched(f"{parts.scheme}://{host} is no https:// address: a secret goes along")


def _basic(key: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()
