"""audit/: who did what to whom, for managers and administrators; as pages, or as a file that can be checked outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from devices import entries, registry
from devices.api.asked import LAST_MS, Shape, View, query, user_of
from devices.api.pages import Paged, page, paged
from devices.models import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.contrib.auth.models import User
    from rest_framework.request import Request
    from rest_framework.response import Response

    from devices.models import AuditEntry

PART: Final = 1_000
TYPES: Final = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}


class EntriesAsked(Paged):
    """Which entries; with csv and ndjson all that are linked, in the order of the chain."""

    fleet = serializers.CharField(required=False, help_text="slug")
    by = serializers.CharField(required=False, max_length=150, help_text="user name of who did it")
    action = serializers.CharField(required=False, max_length=40, help_text="member.admitted, or all of member")
    since = serializers.IntegerField(required=False, min_value=0, max_value=LAST_MS, help_text="ms, UTC")
    until = serializers.IntegerField(required=False, min_value=0, max_value=LAST_MS, help_text="ms, UTC")
    format = serializers.ChoiceField(["json", *TYPES], default="json")


class EntryShape(Shape):
    """Who did what, to whom, when, and by what they came."""

    id = serializers.IntegerField(source="pk")
    seq = serializers.IntegerField(allow_null=True, help_text="its number in the chain; null: not linked yet")
    at = serializers.IntegerField()
    by = serializers.CharField()
    via = serializers.CharField(help_text="session, a token's name, command line")
    fleet = serializers.CharField(source="fleet_name")
    action = serializers.CharField()
    target = serializers.CharField()
    detail = serializers.JSONField()
    words = serializers.SerializerMethodField()
    digest = serializers.CharField()

    @extend_schema_field(serializers.CharField())
    def get_words(self, row: AuditEntry) -> str:
        """Say it in words."""
        return entries.words(row)


class Entries(View):
    """The audit."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002  as the framework has it
        """Choose by `format` alone, whatever is accepted; what is refused is JSON."""
        return JSONRenderer(), JSONRenderer.media_type

    @extend_schema(
        operation_id="audit_list",
        parameters=[EntriesAsked],
        responses={
            (200, "application/json"): paged("Entry", EntryShape),
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/x-ndjson"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        """List what was done, newest first: administrators all of it, managers what was done in their fleets."""
        user, asked = user_of(request), query(request, EntriesAsked)
        chosen = cast(
            "entries.Chosen", {name: asked[name] for name in ("by", "action", "since", "until") if name in asked}
        )
        if "fleet" in asked:
            chosen["fleet"] = registry.find_fleet(user, asked["fleet"], Role.MANAGER).pk
        if asked["format"] == "json":
            return page(entries.select(user, chosen), ("-pk",), EntryShape, asked)
        form: entries.Format = asked["format"]
        response = StreamingHttpResponse(_parts(user, chosen, form), content_type=TYPES[form])
        response["Content-Disposition"] = f'attachment; filename="audit.{form}"'
        response["Cache-Control"] = "no-store"
        response["X-Accel-Buffering"] = "no"
        return response


async def _parts(user: User, chosen: entries.Chosen, form: entries.Format) -> AsyncIterator[bytes]:
    """Read a part, send it, read the next: whoever takes it slowly holds no database connection meanwhile."""
    yield entries.head(form).encode()
    after: int | None = 0
    while after is not None:
        text, after = await _careful(_part, user, chosen, form, after)
        yield text.encode()


def _part(user: User, chosen: entries.Chosen, form: entries.Format, after: int) -> tuple[str, int | None]:
    """Write one part. What the user may read is asked each time: a role may be withdrawn meanwhile."""
    rows = entries.page(entries.select(user, chosen), after, PART)
    return entries.written(rows, form), rows[-1].seq if len(rows) == PART else None


@sync_to_async
def _careful(do: Any, *args: Any) -> Any:  # noqa: ANN401  what `do` takes and returns
    try:
        return do(*args)
    finally:
        if not connection.in_atomic_block:
            close_old_connections()
