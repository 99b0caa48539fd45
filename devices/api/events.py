"""devices/<key>/events/: what happened to a device and is no reading, with its presence history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from devices import registry
from devices.api.asked import Shape, View, query, user_of
from devices.api.pages import Paged, page, paged
from devices.models import KINDS, Event

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.response import Response


class EventsAsked(Paged):
    """Which events to list."""

    kind = serializers.ChoiceField(KINDS, required=False)


class HappeningShape(Shape):
    """One event; `state` is the presence that the device came to, empty for other kinds."""

    at = serializers.IntegerField(help_text="ms, UTC")
    kind = serializers.ChoiceField(KINDS)
    state = serializers.CharField(allow_blank=True)
    because = serializers.CharField()


class Events(View):
    """The events of a device."""

    @extend_schema(operation_id="events_list", parameters=[EventsAsked], responses=paged("Event", HappeningShape))
    def get(self, request: Request, key: str) -> Response:
        """List them, the newest first."""
        asked = query(request, EventsAsked)
        rows = Event.objects.filter(device=registry.find(user_of(request), key))
        if "kind" in asked:
            rows = rows.filter(kind=asked["kind"])
        return page(rows, ("-at", "-pk"), HappeningShape, asked)
