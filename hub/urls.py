"""The map of all addresses: each room brings its own, here is only where they hang."""

from django.contrib import admin
from django.urls import include, path

from dashboard import sse
from hub import health

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/stream", sse.Stream.as_view(), name="stream"),
    path("api/v1/", include("devices.urls")),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("metrics", health.metrics),
    path("", include("dashboard.urls")),
]
