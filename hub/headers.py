"""What every answer tells a browser to allow: the content policy of the settings, no sensors, and no keeping.

What devices and people wrote stands on the pages as text. Should some of it ever become markup, the policy leaves it
without power: no script, style, frame or address but the hub's own files is obeyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from csp.middleware import CSPMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

OTHERS: Final = {
    # Nothing here asks for a sensor, a payment or a device of the browser's machine.
    "Permissions-Policy": ", ".join(
        f"{feature}=()"
        for feature in (
            *("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "hid", "magnetometer"),
            *("microphone", "midi", "payment", "serial", "usb"),
        )
    ),
    # A page of another origin cannot pull an answer into its own process.
    "Cross-Origin-Resource-Policy": "same-origin",
    # Secrets, tokens and readings are kept by no cache. Static files say themselves how long they are.
    "Cache-Control": "no-store",
}


class Headers(CSPMiddleware):
    """Adds what an answer does not say itself. The outermost: what goes wrong further in passes here as well."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do the same under ASGI, without the change of thread before and after that Django's own would cost."""
        self.process_request(request)
        answer = cast("Awaitable[HttpResponseBase]", self.get_response(request))
        return self.process_response(request, await answer)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add them."""
        for name, value in OTHERS.items():
            response.headers.setdefault(name, value)
        return super().process_response(request, response)
