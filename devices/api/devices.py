"""devices/: the registry, and where each device stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

from django.conf import settings
from django.db.models import Q
from drf_spectacular.utils import extend_schema, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.response import Response

from devices import numbering, presence, registry, tags, telemetry, values
from devices.api.asked import Instant, Shape, Strict, View, body, query, user_of
from devices.api.limits import LimitsAsked, LimitsShape
from devices.api.pages import Paged, page, paged
from devices.models import Device, Head, Role

if TYPE_CHECKING:
    from rest_framework.request import Request


class AnyValue(serializers.JSONField):
    """Number, true, false or text."""


class DevicesAsked(Paged):
    """Which devices to list."""

    fleet = serializers.CharField(required=False, help_text="slug of a fleet")
    presence = serializers.ChoiceField(get_args(presence.Presence), required=False)
    tag = serializers.CharField(required=False, max_length=63)
    q = serializers.CharField(required=False, max_length=128, help_text="text in key or name")


class DeviceAsked(Strict):
    """A device to be made."""

    key = serializers.CharField()
    name = serializers.CharField(max_length=128, default="", allow_blank=True)
    fleet = serializers.CharField(required=False, help_text="slug; not needed if you manage one alone")
    gateway = serializers.CharField(required=False, allow_null=True, help_text="key of the device it speaks through")


class DeviceChanged(LimitsAsked):
    """What can be changed of a device."""

    name = serializers.CharField(max_length=128, allow_blank=True, required=False)
    fleet = serializers.CharField(required=False)
    enabled = serializers.BooleanField(required=False)
    gateway = serializers.CharField(required=False, allow_null=True)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=128), required=False, help_text="words by which it is selected"
    )


class MqttShape(Shape):
    """Where a device connects, and as whom."""

    host = serializers.CharField()
    port = serializers.IntegerField()
    tls = serializers.BooleanField(help_text="whether it speaks TLS there")
    username = serializers.CharField()


class Credentials(Shape):
    """The only time that a secret is told."""

    key = serializers.CharField()
    secret = serializers.CharField()
    mqtt = MqttShape()


class PresenceShape(Shape):
    """Presence with its reason."""

    state = serializers.ChoiceField(get_args(presence.Presence), source="presence")
    because = serializers.CharField()
    since = serializers.IntegerField()


class HeadShape(Shape):
    """The newest state: `values` is metric → value, `times` is metric → ts."""

    seq = serializers.IntegerField()
    ts = serializers.IntegerField(allow_null=True)
    values = serializers.SerializerMethodField()
    times = serializers.SerializerMethodField()

    @extend_schema_field(serializers.DictField(child=AnyValue()))
    def get_values(self, head: Head) -> dict[str, Any]:
        """Metric → newest value."""
        return telemetry.head_values(head)

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_times(self, head: Head) -> dict[str, int]:
        """Metric → ts of its newest value."""
        return {name: ts for name, (_, ts) in head.values.items()}


NumberingShape = inline_serializer(
    "Numbering",
    {
        "boot": serializers.IntegerField(help_text="that was heard last"),
        "newest": serializers.IntegerField(help_text="number of its newest frame"),
        "committed": serializers.IntegerField(help_text="every frame of it up to this number is stored"),
        "missing": serializers.IntegerField(help_text="frames that are not here though later ones are, of all boots"),
    },
    allow_null=True,
)


class DeviceShape(Shape):
    """A device in a list."""

    key = serializers.CharField()
    name = serializers.CharField()
    fleet = serializers.CharField(source="fleet.slug")
    gateway = serializers.CharField(source="gateway.key", allow_null=True)
    enabled = serializers.BooleanField()
    model = serializers.CharField()
    firmware = serializers.CharField()
    tags = serializers.SerializerMethodField()
    created_at = Instant()
    presence = PresenceShape(source="head")
    head = HeadShape()
    numbering = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_tags(self, device: Device) -> list[str]:
        """Words by which it is selected."""
        return tags.of(device)

    @extend_schema_field(NumberingShape)
    def get_numbering(self, device: Device) -> dict[str, Any] | None:
        """How the device's own numbering stands; null when it does not number its frames."""
        return numbering.described(device.head.numbering)


Kind = inline_serializer(
    "Metric",
    {name: serializers.CharField() for name in ("name", "unit", "class", "type")},
    many=True,
)
Order = inline_serializer(
    "CommandKind",
    {
        "name": serializers.CharField(),
        "type": serializers.CharField(),
        "min": serializers.FloatField(required=False),
        "max": serializers.FloatField(required=False),
        "step": serializers.FloatField(required=False),
        "unit": serializers.CharField(required=False),
        "options": serializers.ListField(child=AnyValue(), required=False),
    },
    many=True,
)


class WholeDevice(DeviceShape, LimitsShape):
    """A device with what it measures, what it can be told, and its own limits."""

    metrics = serializers.SerializerMethodField()
    commands = serializers.SerializerMethodField()

    @extend_schema_field(Kind)
    def get_metrics(self, device: Device) -> list[dict[str, str]]:
        """Name, unit, class and type of each metric."""
        rows = device.metrics.order_by("name").values_list("name", "unit", "device_class", "type")
        return [dict(zip(("name", "unit", "class", "type"), row, strict=True)) for row in rows]

    @extend_schema_field(Order)
    def get_commands(self, device: Device) -> list[dict[str, Any]]:
        """Name, type and limits of each command that the device announced."""
        return [{"name": name, **kind} for name, kind in device.commands.items()]


class Devices(View):
    """The devices that one may see."""

    for_links = True

    @extend_schema(operation_id="devices_list", parameters=[DevicesAsked], responses=paged("Device", DeviceShape))
    def get(self, request: Request) -> Response:
        """List devices by key."""
        asked = query(request, DevicesAsked)
        rows = registry.visible_to(user_of(request)).prefetch_related("tags")
        if "fleet" in asked:
            rows = rows.filter(fleet__slug=asked["fleet"])
        if "presence" in asked:
            rows = rows.filter(head__presence=asked["presence"])
        if "tag" in asked:
            # PostgreSQL cannot be asked for a NUL.
            rows = rows.filter(tags__name=asked["tag"]) if values.is_key(asked["tag"]) else rows.none()
        if "q" in asked:
            rows = rows.filter(Q(key__icontains=asked["q"]) | Q(name__icontains=asked["q"]))
        return page(rows, ("key",), DeviceShape, asked)

    @extend_schema(request=DeviceAsked, responses={201: Credentials})
    def post(self, request: Request) -> Response:
        """Make a device. Its secret is told this once."""
        asked = body(request, DeviceAsked)
        user = user_of(request)
        fleet = registry.fleet_for(user, asked.get("fleet"))
        gateway = registry.find(user, asked["gateway"], Role.MANAGER) if asked.get("gateway") else None
        device, secret = registry.create(asked["key"], fleet, asked["name"], gateway)
        return Response(credentials(device, secret), status=201)


class OneDevice(View):
    """One device."""

    for_links = True

    @extend_schema(responses=WholeDevice)
    def get(self, request: Request, key: str) -> Response:
        """Tell where it stands, what it measures and what it can be told."""
        return Response(WholeDevice(registry.find(user_of(request), key)).data)

    @extend_schema(request=DeviceChanged, responses=WholeDevice)
    def patch(self, request: Request, key: str) -> Response:
        """Change name, fleet, gateway, tags, limits, or whether it may connect."""
        user = user_of(request)
        device = registry.find(user, key, Role.MANAGER)
        asked = body(request, DeviceChanged, partial=True)
        if "fleet" in asked:
            asked["fleet"] = registry.fleet_for(user, asked["fleet"])
        if asked.get("gateway"):
            asked["gateway"] = registry.find(user, asked["gateway"], Role.MANAGER)
        registry.change(device, cast("registry.Changes", asked))
        return Response(WholeDevice(registry.find(user, key)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, key: str) -> Response:
        """Delete it with its journal."""
        registry.remove(registry.find(user_of(request), key, Role.MANAGER))
        return Response(status=204)


class Rotation(View):
    """A device's secret."""

    @extend_schema(request=None, responses=Credentials)
    def post(self, request: Request, key: str) -> Response:
        """Make a new secret, told this once; the session of the old one is cut."""
        device = registry.find(user_of(request), key, Role.MANAGER)
        return Response(credentials(device, registry.rotate(device)))


def credentials(device: Device, secret: str) -> dict[str, Any]:
    """Return what a device needs to connect."""
    return {"key": device.key, "secret": secret, "mqtt": {**broker(), "username": device.key}}


def broker() -> dict[str, Any]:
    """Return where devices connect."""
    host, port, tls = settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT, settings.MQTT_PUBLIC_TLS
    return {"host": host, "port": port, "tls": tls}
