"""Every address that is none: programs are told so in JSON, as with any other mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema

from devices.api.asked import View
from devices.errors import Refusal

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.response import Response


@extend_schema(exclude=True)
class Nowhere(View):
    """What is not there."""

    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *_: Any, **__: Any) -> None:  # noqa: ANN401  as the framework has it
        """Refuse, whatever was to be done."""
        slash = "" if request.path.endswith("/") else " Addresses end with a slash."
        raise Refusal("not_found", f"There is nothing at {request.path}.{slash} See /api/v1/docs/.", 404)

    def get(self, _request: Request) -> Response:
        """Never comes here."""
        raise AssertionError
