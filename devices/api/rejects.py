"""rejects/: what devices sent and could not be taken in, with the reason."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Final

from django.db.models import BinaryField, QuerySet
from django.db.models.functions import Substr
from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from devices import registry, values
from devices.api.asked import Shape, View, query, user_of
from devices.api.pages import Paged, page, paged
from devices.models import Reject

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.response import Response

# What a list shows of each payload: more than anybody reads, and a page of them stays small.
SHOWN: Final = 2048
_decoder = codecs.getincrementaldecoder("utf-8")


class RejectsAsked(Paged):
    """Which rejects to list."""

    device = serializers.CharField(required=False, help_text="key that the topic claims")
    reason = serializers.ChoiceField(values.REASONS, required=False)


class RejectShape(Shape):
    """A message that was refused. The same again raises `count`."""

    id = serializers.IntegerField()
    device = serializers.CharField(source="key", help_text='key that the topic claims; "" when it has none')
    topic = serializers.CharField()
    client = serializers.CharField()
    reason = serializers.ChoiceField(values.REASONS)
    detail = serializers.CharField()
    count = serializers.IntegerField()
    first_at = serializers.IntegerField()
    last_at = serializers.IntegerField()
    size = serializers.IntegerField(help_text="bytes of the payload")
    payload = serializers.SerializerMethodField(help_text=f"the first {SHOWN} bytes as text; null when it is none")
    payload_hex = serializers.SerializerMethodField(help_text=f"the first {SHOWN} bytes")

    def get_payload(self, reject: Any) -> str | None:  # noqa: ANN401  the row has a column made by the query
        """Decode it, if it is UTF-8 as far as it is shown."""
        try:
            return _decoder().decode(bytes(reject.shown or b""), final=reject.size <= SHOWN)
        except UnicodeDecodeError:
            return None

    def get_payload_hex(self, reject: Any) -> str:  # noqa: ANN401  as above
        """Show the bytes."""
        return bytes(reject.shown or b"").hex()


class Rejects(View):
    """The rejects of the devices that one may see."""

    @extend_schema(operation_id="rejects_list", parameters=[RejectsAsked], responses=paged("Reject", RejectShape))
    def get(self, request: Request) -> Response:
        """List rejects, newest first."""
        asked = query(request, RejectsAsked)
        rows = _visible(request)
        if "device" in asked:
            rows = rows.filter(key=asked["device"])
        if "reason" in asked:
            rows = rows.filter(reason=asked["reason"])
        return page(rows, ("-last_at", "-pk"), RejectShape, asked)


def _visible(request: Request) -> QuerySet[Reject]:
    """Select what claims to be of a visible device; what names no registered device is for administrators."""
    user = user_of(request)
    shown = Substr("payload", 1, SHOWN, output_field=BinaryField())
    rows = Reject.objects.defer("payload").annotate(shown=shown)
    return rows if user.is_superuser else rows.filter(key__in=registry.visible_to(user).values("key"))
