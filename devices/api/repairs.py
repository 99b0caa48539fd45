"""devices/<key>/repairs/: readings that somebody marked as bad, and took for good again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import registry
from devices.api.asked import Between, Shape, View, body, now, query, user_of
from devices.api.pages import Paged, page, paged
from devices.history import repairs
from devices.models import Role
from devices.values import MAX_METRICS, MAX_NAME

if TYPE_CHECKING:
    from rest_framework.request import Request


class RepairAsked(Between):
    """Which readings are bad, and why."""

    metrics = serializers.ListField(
        child=serializers.CharField(max_length=MAX_NAME, trim_whitespace=False),
        default=None,
        allow_null=True,
        max_length=MAX_METRICS,
        help_text="names; without them all metrics of the device",
    )
    reason = serializers.CharField(max_length=repairs.MAX_REASON)


class RepairShape(Shape):
    """A range of readings marked as bad, by whom and why; `rebuilt`: whether the roll-ups say the same already."""

    id = serializers.IntegerField()
    metrics = serializers.ListField(child=serializers.CharField(), allow_null=True)
    to = serializers.IntegerField(source="end")
    reason = serializers.CharField()
    by = serializers.CharField(source="user", allow_null=True)
    at = serializers.IntegerField()
    undone_by = serializers.CharField(allow_null=True)
    undone_at = serializers.IntegerField(allow_null=True)
    rebuilt = serializers.BooleanField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add what cannot be an attribute."""
        return {**super().get_fields(), "from": serializers.IntegerField(source="start")}


class Repairs(View):
    """The repairs of a device."""

    @extend_schema(operation_id="repairs_list", parameters=[Paged], responses=paged("Repair", RepairShape))
    def get(self, request: Request, key: str) -> Response:
        """List them, the newest first; those that were undone too."""
        rows = repairs.listed(registry.find(user_of(request), key))
        return page(rows, ("-at", "-pk"), RepairShape, query(request, Paged))

    @extend_schema(request=RepairAsked, responses={201: RepairShape})
    def post(self, request: Request, key: str) -> Response:
        """Mark readings as bad: series and exports leave them out. The journal keeps them, and so does the head."""
        user = user_of(request)
        device = registry.find(user, key, Role.MANAGER)
        asked = body(request, RepairAsked)
        names = None if asked["metrics"] is None else frozenset(asked["metrics"])
        bad = repairs.Range(names, asked["from"], asked["to"])
        repair = repairs.mark(device, bad, asked["reason"], user, now())
        return Response(RepairShape(repair).data, status=201)


class Undoing(View):
    """One repair."""

    @extend_schema(request=None, responses=RepairShape)
    def post(self, request: Request, key: str, repair: int) -> Response:
        """Take its readings for good again."""
        user = user_of(request)
        found = repairs.find(registry.find(user, key, Role.MANAGER), repair)
        repairs.undo(found, user, now())
        return Response(RepairShape(found).data)
