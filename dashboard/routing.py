"""Where sockets are served."""

from django.urls import path

from dashboard.consumers import LiveConsumer

# Django's types know no ASGI application as a view; Channels' URLRouter calls it as one.
websocket_urlpatterns = [path("ws/v1/live/", LiveConsumer.as_asgi())]  # type: ignore[arg-type]
