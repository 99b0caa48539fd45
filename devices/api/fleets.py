"""fleets/: the devices that people share, and who may do what with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import members, registry, rights
from devices.api.asked import Shape, Strict, View, body, query, user_of
from devices.api.limits import LimitsAsked, LimitsShape
from devices.api.pages import Paged, page, paged
from devices.errors import Refusal
from devices.models import Fleet, Membership, Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.request import Request


class FleetShape(Shape):
    """A fleet, and what one is in it (null: an administrator, who is no member)."""

    slug = serializers.CharField()
    name = serializers.CharField()
    devices = serializers.IntegerField(source="size", help_text="how many")
    role = serializers.ChoiceField(Role.choices, allow_null=True)


class WholeFleet(FleetShape, LimitsShape):
    """A fleet with the limits of its devices, where they do not say them themselves."""


class MemberShape(Shape):
    """A member and their role."""

    user = serializers.CharField(source="user.username")
    role = serializers.ChoiceField(Role.choices)


class MemberAsked(Strict):
    """Who shall be what."""

    user = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(Role.choices)


class FleetAsked(Strict):
    """A fleet to be made."""

    slug = serializers.CharField(help_text="its name in addresses")
    name = serializers.CharField(max_length=128, default="", allow_blank=True)
    manager = serializers.CharField(max_length=150, required=False, help_text="user name of its first member")


class Fleets(View):
    """The fleets that one may see."""

    @extend_schema(operation_id="fleets_list", parameters=[Paged], responses=paged("Fleet", FleetShape))
    def get(self, request: Request) -> Response:
        """List fleets by slug."""
        return page(_fleets(user_of(request)), ("slug",), FleetShape, query(request, Paged))

    @extend_schema(request=FleetAsked, responses={201: WholeFleet})
    def post(self, request: Request) -> Response:
        """Make a fleet, and its first manager; for administrators."""
        user = user_of(request)
        if not rights.administers(user):
            raise Refusal("forbidden", "Making a fleet is for administrators; ask one.", 403)
        asked = body(request, FleetAsked)
        fleet = members.make_fleet(asked["slug"], asked["name"], asked.get("manager"))
        return Response(WholeFleet(_fleets(user).get(pk=fleet.pk)).data, status=201)


def _fleets(user: User) -> QuerySet[Fleet]:
    """Select what one may see, each with how many devices it has and what one is in it."""
    mine = Membership.objects.filter(fleet=OuterRef("pk"), user_id=user.pk).values("role")
    size = Count("devices", filter=Q(devices__in=registry.visible_to(user).values("pk")))
    return cast("QuerySet[Fleet]", registry.fleets_of(user).annotate(size=size, role=Subquery(mine)))


class OneFleet(View):
    """One fleet."""

    @extend_schema(responses=WholeFleet)
    def get(self, request: Request, slug: str) -> Response:
        """Tell its limits, and what one is in it."""
        user = user_of(request)
        return Response(WholeFleet(_fleets(user).get(pk=registry.find_fleet(user, slug).pk)).data)

    @extend_schema(request=LimitsAsked, responses=WholeFleet)
    def patch(self, request: Request, slug: str) -> Response:
        """Change what its devices keep and may send, where they do not say it themselves."""
        fleet = registry.find_fleet(user_of(request), slug, Role.MANAGER)
        registry.change_fleet(fleet, cast("registry.Limits", body(request, LimitsAsked, partial=True)))
        return self.get(request, slug)


class Members(View):
    """The members of a fleet; for its managers."""

    @extend_schema(operation_id="fleets_members_list", parameters=[Paged], responses=paged("Member", MemberShape))
    def get(self, request: Request, slug: str) -> Response:
        """List members in the order in which they came."""
        fleet = registry.find_fleet(user_of(request), slug, Role.MANAGER)
        rows = fleet.memberships.select_related("user")
        return page(rows, ("pk",), MemberShape, query(request, Paged))

    @extend_schema(request=MemberAsked, responses={200: MemberShape, 201: MemberShape})
    def post(self, request: Request, slug: str) -> Response:
        """Make somebody a member (201), or change their role (200)."""
        fleet = registry.find_fleet(user_of(request), slug, Role.MANAGER)
        asked = body(request, MemberAsked)
        membership, new = members.admit(fleet, asked["user"], asked["role"])
        return Response(MemberShape(membership).data, status=201 if new else 200)


class OneMember(View):
    """A member of a fleet."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """End a membership."""
        members.dismiss(registry.find_fleet(user_of(request), slug, Role.MANAGER), username)
        return Response(status=204)
