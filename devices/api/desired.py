"""settings/: what a device shall keep to, what it keeps to, and the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.response import Response

from devices import desired, registry, values
from devices.api.asked import Shape, Strict, View, body, now, user_of
from devices.models import Device, Role

if TYPE_CHECKING:
    from rest_framework.request import Request


class Wanted(Strict):
    """What a device shall keep to."""

    desired = serializers.DictField(
        child=serializers.JSONField(allow_null=True),
        help_text="setting → value, as the device announced it; null: nobody wants anything of it any more",
    )
    version = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=values.MAX_COUNTER,
        help_text="as it was read: a setting that somebody else has changed since then is a conflict (409)",
    )


STATES: Final = get_args(desired.State)
Spec = inline_serializer(
    "SettingKind",
    {
        "type": serializers.CharField(),
        "min": serializers.FloatField(required=False),
        "max": serializers.FloatField(required=False),
        "step": serializers.FloatField(required=False),
        "unit": serializers.CharField(required=False),
        "options": serializers.ListField(child=serializers.JSONField(), required=False),
    },
    allow_null=True,
)


class SettingShape(Shape):
    """One setting."""

    name = serializers.CharField()
    spec = Spec
    desired = serializers.JSONField(allow_null=True, help_text="null: nobody wants anything")
    reported = serializers.JSONField(allow_null=True, help_text="null: the device has not said")
    version = serializers.IntegerField(help_text="with which it was last wanted; 0: never")
    answered = serializers.IntegerField(help_text="the version that the device had when it reported this")
    by = serializers.CharField(help_text="who wanted it")
    at = serializers.IntegerField(allow_null=True, help_text="when it was wanted")
    sent_at = serializers.IntegerField(allow_null=True, help_text="when the broker last took it for the device")
    reported_at = serializers.IntegerField(allow_null=True, help_text="since when the device reports this")
    state = serializers.ChoiceField(STATES)


class SettingsShape(Shape):
    """All settings of a device, by name."""

    version = serializers.IntegerField(help_text="of its desired state; grows with each change")
    settings = SettingShape(many=True)


class Settings(View):
    """The settings of a device."""

    @extend_schema(operation_id="devices_settings_retrieve", responses=SettingsShape)
    def get(self, request: Request, key: str) -> Response:
        """Tell what it shall keep to and what it keeps to."""
        return Response(_described(registry.find(user_of(request), key)))

    @extend_schema(request=Wanted, responses=SettingsShape)
    def patch(self, request: Request, key: str) -> Response:
        """Have it keep to these values, all or none; the others stay as they are."""
        user = user_of(request)
        device = registry.find(user, key, Role.OPERATOR)
        asked = body(request, Wanted)
        desired.want(device, asked["desired"], user, now(), asked.get("version"))
        return Response(_described(device))


def _described(device: Device) -> dict[str, Any]:
    version, rows = desired.described([device.pk]).get(device.pk, (0, []))
    return {"version": version, "settings": rows}
