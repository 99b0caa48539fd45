"""/fw/<cid>/<signature>: where a device fetches the firmware of an update, in parts if it must.

What is refused is said in a few words of plain text: it is read on serial monitors.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import close_old_connections, connection
from django.http import HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_safe

from devices import address, downloads, firmware, quota
from devices.api.asked import now
from devices.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from devices.downloads import Download

T = TypeVar("T")
PART: Final = 65_536
# Who takes no part for so long is cut off; a device asks again for the rest.
STALLED_S: Final = 60.0
# How often it is noted that a device is still at it: a command is given up after a minute of silence at the earliest.
TELL_S: Final = 20.0
# One range alone; what else may be asked for is answered as if it were not, with the whole file.
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)

_disk: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="downloads")


class Span(NamedTuple):
    """Bytes of a file: from the first up to, and without, the end."""

    first: int
    end: int


@require_safe
async def download(request: HttpRequest, cid: str, signature: str) -> HttpResponseBase:
    """Send the file, or the part of it that is asked for."""
    said, where = request.headers.get("Authorization", ""), address.of(request)
    try:
        wanted = await _apart(lambda: downloads.admit(cid, signature, said, where, now()))
        quota.places.check(_place(wanted))
    except Refusal as refusal:
        return _refused(refusal)
    kept = wanted.firmware
    etag = f'"{kept.sha256}"'
    asked = span_of(request.headers.get("Range", ""), kept.size)
    if request.headers.get("If-Range", etag) != etag:
        asked = None
    if asked and asked.first >= asked.end:
        return _said(f"There are {kept.size} bytes.", 416, {"Content-Range": f"bytes */{kept.size}"})
    span = asked or Span(0, kept.size)
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(span.end - span.first),
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "X-Accel-Buffering": "no",
    }
    if asked:
        headers["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{kept.size}"
    status = 206 if asked else 200
    if request.method == "HEAD":
        return HttpResponse(status=status, headers=headers)
    gate = getattr(request, "scope", {}).get("gate")
    return StreamingHttpResponse(_parts(wanted, span, gate), status=status, headers=headers)


def span_of(header: str, size: int) -> Span | None:
    """Return what a Range asks of a file; None: nothing that is understood; an empty one: nothing that is there."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return Span(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return Span(int(first), min(size, int(last) + 1) if last else size)


async def _parts(wanted: Download, span: Span, gate: Any) -> AsyncIterator[bytes]:  # noqa: ANN401  hub.pace's
    """Read a part, send it, read the next: memory holds one."""
    with quota.places.held(_place(wanted)):
        await _apart(lambda: downloads.begin(wanted, span.first, now()))
        _release()
        with await _read(partial(firmware.opened, wanted.firmware)) as file:
            await _read(partial(file.seek, span.first))
            left, loop = span.end - span.first, asyncio.get_running_loop()
            told_at = loop.time()
            while left and (part := await _read(partial(file.read, min(PART, left)))):
                left -= len(part)
                deadline = loop.call_later(STALLED_S, gate.abandon) if gate else None
                yield part
                if deadline:
                    deadline.cancel()
                if loop.time() - told_at > TELL_S:
                    told_at = loop.time()
                    await _apart(lambda: downloads.go_on(wanted, now()))
                    _release()
        if span.end == wanted.firmware.size and not left:
            await _apart(lambda: downloads.end(wanted, now()))


def _place(wanted: Download) -> quota.Whose:
    return "device", wanted.key


async def _apart(work: Callable[[], T]) -> T:
    """Do what may wait for a disk or the database in a thread, and give the connection back."""

    def done() -> T:
        try:
            return work()
        finally:
            if not connection.in_atomic_block:
                close_old_connections()

    return await sync_to_async(done)()


async def _read(work: Callable[[], T]) -> T:
    """Do what waits for the disk alone, in one of a few threads for all downloads."""
    return await sync_to_async(work, thread_sensitive=False, executor=_disk)()


def _release() -> None:
    """Give back the thread that Django keeps for a request to its end: that of a download may be far."""
    request = SyncToAsync.thread_sensitive_context.get(None)
    if request is not None and (thread := SyncToAsync.context_to_thread_executor.pop(request, None)):
        thread.shutdown(wait=False)


def _refused(refusal: Refusal) -> HttpResponse:
    headers = {}
    if refusal.status == 401:  # noqa: PLR2004  HTTP's own number
        headers["WWW-Authenticate"] = 'Basic realm="hub", charset="UTF-8"'
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return _said(refusal.message, refusal.status, headers)


def _said(text: str, status: int, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8", headers=headers)
