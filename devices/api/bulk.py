"""devices/bulk/: many devices from one table, with a report of what became of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.response import Response

from devices import provisioning, registry
from devices.api.asked import Shape, Strict, query, user_of
from devices.api.devices import OneDevice, broker
from devices.models import Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.request import Request


class Table(BaseParser):
    """CSV, as its bytes."""

    media_type = "text/csv"

    def parse(self, stream: Any, *_: object, **__: object) -> Any:  # noqa: ANN401  as the framework has it
        """Read as much as is taken, and one byte more, by which it is known to be too much."""
        return stream.read(provisioning.MAX_BYTES + 1)


class BulkAsked(Strict):
    """How to take the table."""

    fleet = serializers.CharField(required=False, help_text="slug, for rows that name none")
    dry_run = serializers.BooleanField(default=False, help_text="say what would become of each row, and make nothing")


class RowShape(Shape):
    """What became of a row, and the only time that its secret is told."""

    line = serializers.IntegerField(help_text="of the table, counted from 1")
    key = serializers.CharField()
    result = serializers.ChoiceField(get_args(provisioning.Result))
    reason = serializers.CharField(help_text="why it was not made")
    secret = serializers.CharField(allow_null=True)


class BrokerShape(Shape):
    """Where the devices connect."""

    host = serializers.CharField()
    port = serializers.IntegerField()
    tls = serializers.BooleanField()


class ReportShape(Shape):
    """What became of a table."""

    dry_run = serializers.BooleanField()
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="rows by result")
    mqtt = BrokerShape()
    rows = RowShape(many=True)


_one = extend_schema(exclude=True)


@extend_schema_view(get=_one, patch=_one, delete=_one)
class Bulk(OneDevice):
    """Many devices by POST; else the one that is called so, should there be one."""

    def get_parsers(self) -> list[BaseParser]:
        """Take a table where many are made."""
        asked = getattr(self.request, "method", "POST")  # the schema asks for nothing
        return [Table()] if asked == "POST" else super().get_parsers()

    @extend_schema(
        operation_id="devices_bulk",
        parameters=[BulkAsked],
        request={"text/csv": OpenApiTypes.STR},
        responses=ReportShape,
    )
    def post(self, request: Request, key: str) -> Response:  # noqa: ARG002  the address has it
        """Make the devices of a table with the columns key, name, model, gateway, fleet; those that can be made."""
        asked = query(request, BulkAsked)
        dry_run, by = asked["dry_run"], asked_by(user_of(request), asked.get("fleet"))
        rows = provisioning.provision(cast("bytes", request.data or b""), by, dry_run=dry_run)
        report = {"dry_run": dry_run, "counts": provisioning.counts(rows), "mqtt": broker(), "rows": rows}
        return Response(ReportShape(report).data)


def asked_by(user: User, fleet: str | None) -> provisioning.Asked:
    """Return what this user may have made, by default in this fleet (slug)."""
    return provisioning.Asked(
        fleets=registry.fleets_of(user, Role.MANAGER),
        gateways=registry.visible_to(user, Role.MANAGER),
        fleet=registry.fleet_for(user, fleet) if fleet else None,
    )
