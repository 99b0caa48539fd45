"""shares/: links that show devices to whoever has them, read-only and for a while; for managers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from devices import registry, shares, tokens
from devices.api.asked import Instant, Shape, Strict, View, body, query, user_of
from devices.api.pages import Paged, page, paged
from devices.models import Role

if TYPE_CHECKING:
    from rest_framework.request import Request

    from devices.models import Token

MOST: Final = 100
LONGEST_S: Final = 31 * 86_400


class SharesAsked(Paged):
    """Which links to list."""

    fleet = serializers.CharField(required=False, help_text="slug: those that show devices of this fleet")
    device = serializers.CharField(required=False, help_text="key: those that show this device")


class ShareAsked(Strict):
    """What to show, and for how long."""

    devices = serializers.ListField(child=serializers.CharField(max_length=128), min_length=1, max_length=MOST)
    name = serializers.CharField(max_length=128, default="", allow_blank=True, help_text="whoever has the link sees it")
    expires_in_s = serializers.IntegerField(min_value=60, max_value=LONGEST_S, default=86_400)


class ShareShape(Shape):
    """A link without its secret. `devices`: those that you may see."""

    id = serializers.CharField(source="token_key")
    name = serializers.CharField()
    by = serializers.CharField(source="user.username")
    devices = serializers.SerializerMethodField()
    created_at = Instant(source="created")
    expires_at = Instant(source="expiry")
    used_at = Instant(allow_null=True, help_text="when it was used last, to the minute")

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_devices(self, link: Token) -> list[str]:
        """Keys of what it shows."""
        keys: list[str] = shares.seen(self.context["user"], [link])[link.token_key]
        return keys


class ShareMade(ShareShape):
    """The only time that the link itself is told."""

    url = serializers.CharField()


class Shares(View):
    """Links that show devices."""

    @extend_schema(operation_id="shares_list", parameters=[SharesAsked], responses=paged("Share", ShareShape))
    def get(self, request: Request) -> Response:
        """List one's own, and all others that show devices of which one is manager; newest first."""
        user, asked = user_of(request), query(request, SharesAsked)
        devices = None
        if "fleet" in asked:
            devices = registry.visible_to(user).filter(fleet=registry.find_fleet(user, asked["fleet"]))
        if "device" in asked:
            devices = registry.visible_to(user).filter(pk=registry.find(user, asked["device"]).pk)
        return page(shares.of(user, devices), ("-created", "-digest"), ShareShape, asked, {"user": user})

    @extend_schema(request=ShareAsked, responses={201: ShareMade})
    def post(self, request: Request) -> Response:
        """Make a link, which is told this once."""
        user, asked = user_of(request), body(request, ShareAsked)
        devices = [registry.find(user, key, Role.MANAGER) for key in dict.fromkeys(asked["devices"])]
        link, secret = tokens.share(user, devices, asked["name"], timedelta(seconds=asked["expires_in_s"]))
        url = request.build_absolute_uri(reverse("share", args=[secret]))
        return Response({**ShareShape(link, context={"user": user}).data, "url": url}, status=201)


class OneShare(View):
    """A link."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, share: str) -> Response:
        """Revoke it: an open page of it is ended within a second."""
        shares.revoke(user_of(request), share)
        return Response(status=204)
