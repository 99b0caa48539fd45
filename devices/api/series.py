"""devices/<key>/series/: one metric over time, in at most as many points as a chart can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from devices import registry
from devices.api.asked import Between, Shape, View, now, query, user_of
from devices.history import series

if TYPE_CHECKING:
    from rest_framework.request import Request

HOUR_MS: Final = 3_600_000
MAX_POINTS: Final = 5000


class SeriesAsked(Between):
    """What is asked of a metric; without `from` and `to` the last hour."""

    needed = False

    metric = serializers.CharField(help_text="name", trim_whitespace=False)
    points = serializers.IntegerField(default=500, min_value=1, max_value=MAX_POINTS, help_text="at most so many")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Fill in the hour, and refuse what is no range."""
        end: int = attrs.setdefault("to", now())
        start: int = attrs.setdefault("from", max(0, end - HOUR_MS))
        if not start < end:
            raise serializers.ValidationError({"to": f"must be later than from ({start}); both in ms, UTC."})
        return attrs


Row = serializers.ListField(child=serializers.JSONField(), min_length=6, max_length=6)


class SeriesShape(Shape):
    """Points are [ts, min, avg, max, n, last]: of `n` readings from `ts` on for `step` ms; without a step, of one.

    Times without readings have no point. `from` and `to` are widened to whole steps. Of texts there is only n and last.
    """

    metric = serializers.CharField()
    unit = serializers.CharField()
    to = serializers.IntegerField(source="end")
    step = serializers.IntegerField(allow_null=True, help_text="ms; null: each point is a reading")
    tier = serializers.ChoiceField(["raw", "minute", "hour", "day"], help_text="what it was made of")
    points = serializers.SerializerMethodField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add what cannot be an attribute."""
        return {**super().get_fields(), "from": serializers.IntegerField(source="start")}

    @extend_schema_field(serializers.ListField(child=Row))
    def get_points(self, found: series.Series) -> list[series.Point]:
        """Rows in the order of time."""
        return found.points


class Series(View):
    """A metric of a device over time."""

    for_links = True

    @extend_schema(parameters=[SeriesAsked], responses=SeriesShape)
    def get(self, request: Request, key: str) -> Response:
        """Answer with buckets, each exact, however long the range is."""
        asked = query(request, SeriesAsked)
        device = registry.find(user_of(request), key)
        found = series.series(device, asked["metric"], asked["from"], asked["to"], asked["points"])
        return Response(SeriesShape(found).data)
