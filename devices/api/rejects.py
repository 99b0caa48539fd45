"""rejects/: what devices sent and could not be taken in, with the reason; to be replayed, or discarded."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Final, cast

from django.db.models import BinaryField, F
from django.db.models.functions import Greatest, Substr
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from devices import rejects, replay, values
from devices.api.asked import Shape, Strict, View, body, now, query, user_of
from devices.api.pages import Paged, page, paged
from devices.errors import Refusal
from devices.models import Reject, Role

if TYPE_CHECKING:
    from rest_framework.request import Request

# What a list shows of each payload: more than anybody reads, and a page of them stays small.
SHOWN: Final = 2048
# Bytes before the fault, and from it on, that are told in any case.
AROUND: Final = 32
_decoder = codecs.getincrementaldecoder("utf-8")


class Selection(Strict):
    """Of which device, for which reason."""

    device = serializers.CharField(
        required=False, allow_blank=True, help_text='key that the topic claims; "": those without one'
    )
    reason = serializers.ChoiceField(values.REASONS, required=False)


class RejectsAsked(Selection, Paged):
    """Which rejects to list."""


class ReplayAsked(Selection):
    """Which rejects to replay: all that fit what is given, among those of devices that one may command."""

    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=values.MAX_COUNTER), required=False, max_length=1000
    )
    after = serializers.IntegerField(
        default=0, min_value=0, max_value=values.MAX_COUNTER, help_text="`next` of the call before"
    )


class AroundShape(Shape):
    """The bytes around the fault."""

    offset = serializers.IntegerField(help_text="of the first of them in the payload")
    hex = serializers.CharField()


class RejectShape(Shape):
    """A message that was refused. The same again raises `count`."""

    id = serializers.IntegerField()
    device = serializers.CharField(source="key", help_text='key that the topic claims; "" when it has none')
    topic = serializers.CharField()
    client = serializers.CharField()
    reason = serializers.ChoiceField(values.REASONS)
    detail = serializers.CharField()
    position = serializers.IntegerField(allow_null=True, help_text="of the byte at fault; null when it is not known")
    count = serializers.IntegerField()
    first_at = serializers.IntegerField()
    last_at = serializers.IntegerField()
    size = serializers.IntegerField(help_text="bytes of the payload")
    retain = serializers.BooleanField(help_text="whether the broker had kept it")
    payload = serializers.SerializerMethodField(help_text=f"the first {SHOWN} bytes as text; null when it is none")
    payload_hex = serializers.SerializerMethodField(help_text=f"the first {SHOWN} bytes")
    around = serializers.SerializerMethodField(help_text="the bytes around the fault; null when it is not known")

    def get_payload(self, reject: Any) -> str | None:  # noqa: ANN401  the row has a column made by the query
        """Decode it, if it is UTF-8 as far as it is shown."""
        try:
            return _decoder().decode(bytes(reject.shown or b""), final=reject.size <= SHOWN)
        except UnicodeDecodeError:
            return None

    def get_payload_hex(self, reject: Any) -> str:  # noqa: ANN401  as above
        """Show the bytes."""
        return bytes(reject.shown or b"").hex()

    @extend_schema_field(AroundShape(allow_null=True))
    def get_around(self, reject: Any) -> dict[str, Any] | None:  # noqa: ANN401  as above
        """Show what the fault stands in."""
        if reject.position is None:
            return None
        return {"offset": max(reject.position - AROUND, 0), "hex": bytes(reject.near or b"").hex()}


class GroupShape(Shape):
    """The rejects of one device for one reason."""

    device = serializers.CharField(source="key", help_text='key that the topics claim; "" when they have none')
    reason = serializers.ChoiceField(values.REASONS)
    kinds = serializers.IntegerField(help_text="how many different ones are kept")
    count = serializers.IntegerField(source="messages", help_text="how many messages these were")
    first_at = serializers.IntegerField(source="began_at")
    last_at = serializers.IntegerField(source="newest_at")
    detail = serializers.CharField(source="newest_detail", help_text="of the newest")


class OutcomeShape(Shape):
    """What became of a reject."""

    result = serializers.ChoiceField(["stored", "known", "taken", "refused"])
    message = serializers.CharField()
    count = serializers.IntegerField(help_text="how often it had come; it is replayed once")
    frames = serializers.IntegerField(help_text="stored")
    duplicates = serializers.IntegerField(help_text="frames that the journal had already")
    partly = serializers.IntegerField(help_text="of its frames that were refused; each is kept as a reject of its own")
    reason = serializers.CharField(help_text="why it was refused again")
    detail = serializers.CharField()


class ReplayedShape(Shape):
    """What became of many."""

    message = serializers.CharField()
    replayed = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="again; their rows say why")
    cut = serializers.IntegerField(help_text="cannot be replayed: they were not kept whole")
    frames = serializers.IntegerField(help_text="stored")
    duplicates = serializers.IntegerField(help_text="frames that the journal had already")
    left = serializers.IntegerField(help_text=f"not tried yet; one call tries {replay.MOST}")
    next = serializers.IntegerField(allow_null=True, help_text="`after` of the next call; null when none are left")


class DiscardedShape(Shape):
    """How many rows were deleted."""

    discarded = serializers.IntegerField()


class Rejects(View):
    """The rejects of the devices that one may see."""

    @extend_schema(operation_id="rejects_list", parameters=[RejectsAsked], responses=paged("Reject", RejectShape))
    def get(self, request: Request) -> Response:
        """List rejects, newest first."""
        asked = query(request, RejectsAsked)
        start = Substr("payload", 1, SHOWN, output_field=BinaryField())
        near = Substr("payload", Greatest(F("position") + (1 - AROUND), 1), 2 * AROUND, output_field=BinaryField())
        rows = rejects.select(user_of(request), _named(asked)).defer("payload").annotate(shown=start, near=near)
        return page(rows, ("-last_at", "-pk"), RejectShape, asked)

    @extend_schema(operation_id="rejects_discard", parameters=[Selection], responses={200: DiscardedShape})
    def delete(self, request: Request) -> Response:
        """Discard all of a device, of a reason, or both, without replaying them; for managers."""
        asked = query(request, Selection)
        if not asked:
            problem = "Say which: ?device= or ?reason= or both."
            raise Refusal("invalid", problem, fields={"device": "is missing", "reason": "is missing"})
        rows = rejects.select(user_of(request), _named(asked), Role.MANAGER)
        return Response({"discarded": rejects.discard(rows, user_of(request).get_username())})


class Groups(View):
    """Rejects, gathered."""

    @extend_schema(
        operation_id="rejects_groups_list", parameters=[RejectsAsked], responses=paged("RejectGroup", GroupShape)
    )
    def get(self, request: Request) -> Response:
        """List what there is of each device and reason, by device."""
        asked = query(request, RejectsAsked)
        rows = rejects.select(user_of(request), _named(asked))
        return page(rejects.groups(rows), ("key", "reason"), GroupShape, asked)


class OneReject(View):
    """One reject."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Discard it; for managers."""
        row = rejects.find(user_of(request), pk, Role.MANAGER)
        rejects.discard(Reject.objects.filter(pk=row.pk), user_of(request).get_username())
        return Response(status=204)


class Replay(View):
    """A reject, once more."""

    @extend_schema(request=None, responses=OutcomeShape)
    def post(self, request: Request, pk: int) -> Response:
        """Take it in again; it leaves the list, or stays with what is wrong with it now. For operators."""
        row = rejects.find(user_of(request), pk, Role.OPERATOR)
        outcome = replay.one(row, now(), user_of(request).get_username())
        return Response(OutcomeShape(outcome).data)


class Replays(View):
    """Many rejects, once more."""

    @extend_schema(operation_id="rejects_replay_many", request=ReplayAsked, responses=ReplayedShape)
    def post(self, request: Request) -> Response:
        """Take them in again, some hundred a call. For operators."""
        asked = body(request, ReplayAsked)
        rows = rejects.select(user_of(request), _named(asked), Role.OPERATOR)
        if "ids" in asked:
            rows = rows.filter(pk__in=asked["ids"])
        done = replay.many(rows, now(), user_of(request).get_username(), asked["after"])
        return Response(ReplayedShape(done).data)


def _named(asked: dict[str, Any]) -> rejects.Chosen:
    named = {name: asked[name] for name in ("device", "reason") if name in asked}
    return cast("rejects.Chosen", named)
