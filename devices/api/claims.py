"""claim/ and fleets/<slug>/claims/: how a device fetches credentials of its own, with a code that a manager made."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from axes.helpers import get_client_ip_address
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import claims, registry
from devices.api.asked import Instant, Shape, Strict, View, body, query, user_of
from devices.api.devices import Credentials, credentials
from devices.api.pages import Paged, page, paged
from devices.errors import Refusal
from devices.models import ClaimCode, Role

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request

# Wrong codes from one address, until it has to wait. They cannot be guessed; this tells who tries, and costs them time.
MISSES: Final = 20
WAIT_S: Final = 900


class ClaimAsked(Strict):
    """What a device says of itself."""

    code = serializers.CharField(max_length=64, help_text="as it was shown; case, spaces and dashes do not matter")
    key = serializers.CharField(max_length=63, required=False, help_text="not needed if the code was made for one")
    name = serializers.CharField(max_length=128, default="", allow_blank=True, help_text="of a new device")
    model = serializers.CharField(max_length=128, default="", allow_blank=True)


class CodeAsked(Strict):
    """A code to be made."""

    key = serializers.CharField(max_length=63, default="", allow_blank=True, help_text="for this device alone")
    lasts_s = serializers.IntegerField(
        min_value=int(claims.SHORTEST.total_seconds()),
        max_value=int(claims.LONGEST.total_seconds()),
        default=int(claims.LASTS.total_seconds()),
    )


class CodeShape(Shape):
    """A code without its secret part, and what became of it."""

    id = serializers.IntegerField()
    key = serializers.CharField(help_text='"": for any device')
    by = serializers.CharField(source="made_by.username")
    created_at = Instant()
    expires_at = Instant()
    state = serializers.SerializerMethodField()
    device = serializers.CharField(source="device.key", default=None, allow_null=True, help_text="that has claimed it")

    def get_state(self, code: ClaimCode) -> str:
        """Return open, claimed or expired."""
        return "claimed" if code.used_at else "open" if code.expires_at > timezone.now() else "expired"


class CodeMade(CodeShape):
    """The only time that a code is told."""

    code = serializers.CharField()
    url = serializers.CharField(help_text="what its QR code says: where to send it, and behind the # the code")


class Claim(View):
    """Where a device sends its code."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(auth=[], request=ClaimAsked, responses={201: Credentials})
    def post(self, request: Request) -> Response:
        """Take a code, once, for a device with credentials of its own; no other sign-in is asked for."""
        asked = body(request, ClaimAsked)
        misses = f"claim-misses:{get_client_ip_address(request._request)}"  # noqa: SLF001  axes needs Django's own
        if cache.get(misses, 0) >= MISSES:
            text = f"Too many wrong codes; try again in {WAIT_S} s."
            raise Refusal("too_many_requests", text, 429, retry_after_s=WAIT_S)
        try:
            device, secret = claims.claim(**asked)
        except Refusal as refusal:
            if refusal.code == "offer_unknown":
                cache.add(misses, 0, WAIT_S)
                cache.incr(misses)
            raise
        return Response(credentials(device, secret), status=201)


class Codes(View):
    """The claim codes of a fleet; for its managers."""

    @extend_schema(operation_id="fleets_claims_list", parameters=[Paged], responses=paged("ClaimCode", CodeShape))
    def get(self, request: Request, slug: str) -> Response:
        """List those that can still be used, newest first."""
        fleet = registry.find_fleet(user_of(request), slug, Role.MANAGER)
        return page(claims.open_of([fleet]), ("-pk",), CodeShape, query(request, Paged))

    @extend_schema(request=CodeAsked, responses={201: CodeMade})
    def post(self, request: Request, slug: str) -> Response:
        """Make one. It is told this once."""
        user = user_of(request)
        fleet = registry.find_fleet(user, slug, Role.MANAGER)
        asked = body(request, CodeAsked)
        made, code = claims.make(user, fleet, lasts=timedelta(seconds=asked["lasts_s"]), key=asked["key"])
        told: Any = made
        told.code, told.url = code, address(request._request, code)  # noqa: SLF001  the pages ask with Django's own
        return Response(CodeMade(told).data, status=201)


class OneCode(View):
    """One claim code."""

    @extend_schema(responses=CodeShape)
    def get(self, request: Request, slug: str, code: int) -> Response:
        """Tell what became of it."""
        fleet = registry.find_fleet(user_of(request), slug, Role.MANAGER)
        return Response(CodeShape(claims.find(fleet, code)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, code: int) -> Response:
        """Revoke it."""
        claims.revoke(registry.find_fleet(user_of(request), slug, Role.MANAGER), code)
        return Response(status=204)


def address(request: HttpRequest, code: str) -> str:
    """Return where to send a code, with the code behind a #: that part of an address is never sent, nor logged."""
    return f"{request.build_absolute_uri(reverse('api:claim'))}#{code}"
