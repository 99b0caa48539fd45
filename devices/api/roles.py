"""devices/<key>/roles/: who is something else for this device than in its fleet; for its managers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import members, registry
from devices.api.asked import Shape, Strict, View, body, query, user_of
from devices.api.pages import Paged, page, paged
from devices.models import DeviceRole, Role

if TYPE_CHECKING:
    from rest_framework.request import Request

# In the order of the model's own: `none` first.
ROLES = [(DeviceRole.NONE, "None"), *Role.choices]


class DeviceRoleShape(Shape):
    """Somebody and their role for this device."""

    user = serializers.CharField(source="user.username")
    role = serializers.ChoiceField(ROLES)


class DeviceRoleAsked(Strict):
    """Who shall be what for this device."""

    user = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(ROLES, help_text="`none`: to them the device does not exist")


class DeviceRoles(View):
    """The exceptions of a device."""

    @extend_schema(
        operation_id="devices_roles_list", parameters=[Paged], responses=paged("DeviceRole", DeviceRoleShape)
    )
    def get(self, request: Request, key: str) -> Response:
        """List them in the order in which they were made."""
        device = registry.find(user_of(request), key, Role.MANAGER)
        return page(device.roles.select_related("user"), ("pk",), DeviceRoleShape, query(request, Paged))

    @extend_schema(request=DeviceRoleAsked, responses=DeviceRoleShape)
    def post(self, request: Request, key: str) -> Response:
        """Give somebody a role for this device alone, instead of the one in its fleet."""
        device = registry.find(user_of(request), key, Role.MANAGER)
        asked = body(request, DeviceRoleAsked)
        return Response(DeviceRoleShape(members.except_for(device, asked["user"], asked["role"])).data)


class OneDeviceRole(View):
    """An exception."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, key: str, username: str) -> Response:
        """Have them be for this device what they are in its fleet."""
        members.end_exception(registry.find(user_of(request), key, Role.MANAGER), username)
        return Response(status=204)
