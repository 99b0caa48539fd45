"""unclaimed/: who publishes at the broker and is not registered. For administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import registry, rights, unclaimed
from devices.api.asked import Shape, Strict, View, body, now, query, user_of
from devices.api.devices import MqttShape, credentials
from devices.api.pages import Paged, page, paged
from devices.api.rejects import ReplayedShape
from devices.errors import Refusal

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.request import Request


class PublisherShape(Shape):
    """Somebody who is not registered, and what they publish."""

    key = serializers.CharField(help_text="that the topics name")
    first_at = serializers.IntegerField(source="began_at")
    last_at = serializers.IntegerField(source="newest_at")
    count = serializers.IntegerField(source="messages", help_text="how many messages these were")
    topics = serializers.ListField(child=serializers.CharField(), default=[], help_text=f"the first {unclaimed.TOPICS}")
    topic = serializers.CharField(source="newest_topic", allow_null=True, help_text="the newest")
    sample = serializers.SerializerMethodField(help_text="begin of its payload; bytes that are no text as \\x..")

    def get_sample(self, row: dict[str, Any]) -> str:
        """Decode it."""
        return bytes(row["sample"] or b"").decode(errors="backslashreplace")


class PublisherAsked(Strict):
    """As what a publisher is registered."""

    fleet = serializers.CharField(required=False, help_text="slug; not needed if there is one alone")
    name = serializers.CharField(max_length=128, default="", allow_blank=True)
    replay = serializers.BooleanField(default=True, help_text="take in what it had sent (some hundred messages)")


class PublisherClaimed(Shape):
    """A new device. Without a secret it logs in as before: with an account that the hub does not keep."""

    key = serializers.CharField()
    secret = serializers.CharField(allow_null=True)
    mqtt = MqttShape()
    replayed = ReplayedShape(allow_null=True)


class Unclaimed(View):
    """Publishers that nobody has registered."""

    @extend_schema(operation_id="unclaimed_list", parameters=[Paged], responses=paged("Publisher", PublisherShape))
    def get(self, request: Request) -> Response:
        """List them by key."""
        administrator(user_of(request))
        answer = page(unclaimed.publishers(), ("key",), PublisherShape, query(request, Paged))
        rows = answer.data["results"]
        topics = unclaimed.topics_of([row["key"] for row in rows])
        for row in rows:
            row["topics"] = topics[row["key"]]
        return answer


class Claim(View):
    """A publisher that nobody has registered."""

    @extend_schema(operation_id="unclaimed_claim", request=PublisherAsked, responses={201: PublisherClaimed})
    def post(self, request: Request, key: str) -> Response:
        """Register it; and take in again what it had sent."""
        user = administrator(user_of(request))
        asked = body(request, PublisherAsked)
        fleet = registry.fleet_for(user, asked.get("fleet"))
        done = unclaimed.claim(key, fleet, asked["name"], now(), user.get_username(), replayed=asked["replay"])
        told = {**credentials(done.device, ""), "secret": done.secret, "replayed": done.replayed}
        return Response(PublisherClaimed(told).data, status=201)


def administrator(user: User) -> User:
    """Return who asks, if they may see what is nobody's."""
    if not rights.administers(user):
        raise Refusal("forbidden", "This is for administrators.", 403)
    return user
