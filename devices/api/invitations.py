"""fleets/<slug>/invitations/: links by which people become members; for managers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import invitations, registry
from devices.api.asked import Instant, Shape, Strict, View, body, query, user_of
from devices.api.pages import Paged, page, paged
from devices.models import Role

if TYPE_CHECKING:
    from rest_framework.request import Request


class InvitationAsked(Strict):
    """What somebody is invited to be."""

    role = serializers.ChoiceField(Role.choices, default=Role.VIEWER)
    name = serializers.CharField(max_length=128, default="", allow_blank=True, help_text="whom it is for")
    expires_in_s = serializers.IntegerField(min_value=60, required=False, help_text="7 days if not given; 31 at most")


class InvitationShape(Shape):
    """An invitation without its link."""

    id = serializers.IntegerField(source="pk")
    role = serializers.ChoiceField(Role.choices)
    name = serializers.CharField()
    by = serializers.CharField(source="made_by.username")
    created_at = Instant()
    expires_at = Instant()


class InvitationMade(InvitationShape):
    """The only time that its link is told."""

    url = serializers.CharField(help_text="good once; whoever has it may take the place")


class Invitations(View):
    """The invitations into a fleet."""

    @extend_schema(operation_id="invitations_list", parameters=[Paged], responses=paged("Invitation", InvitationShape))
    def get(self, request: Request, slug: str) -> Response:
        """List those that wait for somebody, newest first."""
        fleet = registry.find_fleet(user_of(request), slug, Role.MANAGER)
        return page(invitations.of(fleet), ("-created_at", "-pk"), InvitationShape, query(request, Paged))

    @extend_schema(request=InvitationAsked, responses={201: InvitationMade})
    def post(self, request: Request, slug: str) -> Response:
        """Invite somebody by a link, which is told this once."""
        user = user_of(request)
        fleet = registry.find_fleet(user, slug, Role.MANAGER)
        asked = body(request, InvitationAsked)
        lasts = timedelta(seconds=asked["expires_in_s"]) if "expires_in_s" in asked else invitations.LASTS
        invitation, code = invitations.make(user, fleet, asked["role"], asked["name"], lasts)
        url = request.build_absolute_uri(reverse("invitation", args=[code]))
        return Response({**InvitationShape(invitation).data, "url": url}, status=201)


class OneInvitation(View):
    """An invitation."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, invitation: int) -> Response:
        """Revoke it: its link leads nowhere from now on."""
        invitations.revoke(registry.find_fleet(user_of(request), slug, Role.MANAGER), invitation)
        return Response(status=204)
