"""storage/: what the hub's tables take, and when the disk is full at this rate. For administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import rights
from devices.api.asked import Shape, View, now, user_of
from devices.errors import Refusal
from devices.history import storage

if TYPE_CHECKING:
    from rest_framework.request import Request


class StorageShape(Shape):
    """Estimates, from the last 24 hours."""

    frames = serializers.IntegerField(help_text="in the journal")
    frames_a_day = serializers.IntegerField()
    bytes = serializers.IntegerField(help_text="of the database")
    bytes_a_day = serializers.IntegerField(help_text="of a day's frames and roll-ups")
    for_ever = serializers.IntegerField(help_text="bytes a day that nothing will delete")
    balance = serializers.IntegerField(help_text="bytes that all else comes to, once as much goes as comes")
    free = serializers.IntegerField(allow_null=True, help_text="bytes on the database's disk; null: not to be seen")
    full_in_days = serializers.IntegerField(allow_null=True, help_text="null: never, or not known")


class Storage(View):
    """The database and its disk."""

    @extend_schema(responses=StorageShape)
    def get(self, request: Request) -> Response:
        """Tell how much there is, how it grows, and when the disk is full."""
        if not rights.administers(user_of(request)):
            raise Refusal("forbidden", "This is for administrators.", 403)
        return Response(StorageShape(msgspec.to_builtins(storage.forecast(now()))).data)
