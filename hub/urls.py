"""The map of all addresses: each room brings its own, here is only where they hang."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from dashboard import sse
from devices.api.download import download
from hub import health

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/stream", sse.Stream.as_view(), name="stream"),
    path("api/v1/", include("devices.urls")),
    path("fw/<slug:cid>/<slug:signature>", download, name="download"),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("metrics", health.metrics),
    path("", include("dashboard.urls")),
]

if settings.SECOND_FACTOR != "off":
    from dashboard import second_factor  # needs a package that is there only where it is on

    # First: its doors stand before the admin's own, and its sign-in instead of the plain one.
    urlpatterns[:0] = second_factor.urlpatterns
