"""devices/<key>/export/: a device's frames as a file, of any length: it is sent while it is read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast, get_args

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from devices import registry
from devices.api.asked import LAST_MS, Between, View, query, user_of
from devices.history import exports
from devices.values import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.contrib.auth.models import User
    from rest_framework.request import Request

TYPES = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}


class ExportAsked(Between):
    """What to export; without `from` and `to` all that is kept."""

    needed = False

    format = serializers.ChoiceField(get_args(exports.Format), default="csv")
    metric = serializers.ListField(
        child=serializers.CharField(max_length=MAX_NAME, trim_whitespace=False),
        default=[],
        help_text="may be repeated; without it all metrics",
    )
    repaired = serializers.ChoiceField(
        ["leave", "include"], default="leave", help_text="readings that are marked as bad: left out, or flagged"
    )


class Export(View):
    """The frames of a device as a file."""

    for_links = True

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002  as the framework has it
        """Choose by `format` alone, whatever is accepted; what is refused is JSON."""
        return JSONRenderer(), JSONRenderer.media_type

    @extend_schema(
        parameters=[ExportAsked],
        responses={(200, "text/csv"): OpenApiTypes.STR, (200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    def get(self, request: Request, key: str) -> StreamingHttpResponse:
        """Send the frames in the order of ts, then seq."""
        user = user_of(request)
        device = registry.find(user, key)
        asked = query(request, ExportAsked, lists=("metric",))
        start, end = asked.get("from", 0), asked.get("to", LAST_MS)
        export = exports.of(device, asked["metric"], start, end, flagged=asked["repaired"] == "include")
        form = cast("exports.Format", asked["format"])
        response = StreamingHttpResponse(_parts(user, key, export, form), content_type=TYPES[form])
        response["Content-Disposition"] = f'attachment; filename="{_filename(key, asked)}"'
        response["Cache-Control"] = "no-store"
        response["X-Accel-Buffering"] = "no"
        return response


def _filename(key: str, asked: dict[str, Any]) -> str:
    days = [f"{datetime.fromtimestamp(asked[end] / 1000, UTC):-%Y%m%d}" for end in ("from", "to") if end in asked]
    return f"{key}{''.join(days)}.{asked['format']}"


async def _parts(user: User, key: str, export: exports.Export, form: exports.Format) -> AsyncIterator[bytes]:
    """Read a page, send it, read the next: whoever takes it slowly holds no database connection meanwhile."""
    yield exports.head(export, form)
    place: exports.Place | None = None
    while True:
        part, place = await _part(user, key, export, form, place)
        if part:
            yield part
        if place is None:
            return


@sync_to_async
def _part(
    user: User, key: str, export: exports.Export, form: exports.Format, place: exports.Place | None
) -> tuple[bytes, exports.Place | None]:
    """Read and write one page. Who may see it is asked each time: a permission may be withdrawn meanwhile."""
    try:
        registry.find(user, key)
        rows, place = exports.page(export, place)
    finally:
        if not connection.in_atomic_block:
            close_old_connections()
    return exports.written(export, form, rows), place
