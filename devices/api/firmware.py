"""firmware/: the files that a fleet's devices can be told to install."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.response import Response

from devices import firmware, registry
from devices.api.asked import Shape, Strict, View, body, now, query, user_of
from devices.api.pages import Paged, page, paged
from devices.errors import Refusal
from devices.models import Firmware, Role

if TYPE_CHECKING:
    from rest_framework.request import Request


class FirmwareShape(Shape):
    """A file and what it is."""

    id = serializers.IntegerField()
    fleet = serializers.CharField(source="fleet.slug")
    version = serializers.CharField(help_text="as a device announces it")
    model = serializers.CharField(help_text='of which devices; "": of any')
    size = serializers.IntegerField(help_text="bytes")
    sha256 = serializers.CharField()
    notes = serializers.CharField()
    by = serializers.CharField(source="user.username", default=None, allow_null=True)
    created_at = serializers.IntegerField()


class FirmwareAsked(Strict):
    """A file to be kept. What may be in each field the service says."""

    fleet = serializers.CharField(required=False, help_text="slug; not needed if you manage one alone")
    version = serializers.CharField(max_length=128)
    model = serializers.CharField(max_length=128, default="", allow_blank=True, help_text="in any case of letters")
    notes = serializers.CharField(max_length=firmware.MAX_NOTES, default="", allow_blank=True)
    file = serializers.FileField(allow_empty_file=True)


class Asked(Paged):
    """Which firmware."""

    fleet = serializers.CharField(required=False, help_text="slug")


class Firmwares(View):
    """Firmware of the fleets that one sees."""

    def get_parsers(self) -> list[BaseParser]:
        """Take a form with a file where one is sent."""
        asked = getattr(self.request, "method", "POST")  # the schema asks for nothing
        return [MultiPartParser()] if asked == "POST" else super().get_parsers()

    @extend_schema(operation_id="firmware_list", parameters=[Asked], responses=paged("Firmware", FirmwareShape))
    def get(self, request: Request) -> Response:
        """List it, the newest first."""
        user, asked = user_of(request), query(request, Asked)
        rows = Firmware.objects.filter(fleet__in=registry.fleets_of(user).values("pk")).select_related("fleet", "user")
        if "fleet" in asked:
            rows = rows.filter(fleet=registry.find_fleet(user, asked["fleet"]))
        return page(rows, ("-pk",), FirmwareShape, asked)

    @extend_schema(request={"multipart/form-data": FirmwareAsked}, responses={201: FirmwareShape})
    def post(self, request: Request) -> Response:
        """Keep a file; for managers of the fleet."""
        user = user_of(request)
        asked = body(request, FirmwareAsked)
        fleet = registry.fleet_for(user, asked.get("fleet"))
        about = firmware.About(asked["version"], asked["model"], asked["notes"])
        made = firmware.add(fleet, about, asked["file"], user=user, now=now())
        return Response(FirmwareShape(made).data, status=201)


class OneFirmware(View):
    """One file."""

    @extend_schema(responses=FirmwareShape)
    def get(self, request: Request, file: int) -> Response:
        """Tell what it is. It is fetched by devices alone, by the address that an update tells them."""
        return Response(FirmwareShape(_find(request, file)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, file: int) -> Response:
        """Delete it; for managers. Refused (409) while an update to it is open, or a job or schedule rolls it out."""
        found = _find(request, file)
        registry.find_fleet(user_of(request), found.fleet.slug, Role.MANAGER)
        firmware.remove(found)
        return Response(status=204)


def _find(request: Request, pk: int) -> Firmware:
    """Return one; what does not exist and what may not be seen are refused alike."""
    fleets = registry.fleets_of(user_of(request)).values("pk")
    rows = Firmware.objects.filter(fleet__in=fleets, pk=pk) if pk < 2**63 else Firmware.objects.none()
    found = rows.select_related("fleet", "user").first()
    if found is None:
        raise Refusal("not_found", f"There is no firmware {pk}, or you may not see it.", 404)
    return found
