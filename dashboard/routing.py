"""Where sockets are served."""

from django.urls import path

from dashboard.consumers import LiveConsumer

websocket_urlpatterns = [path("ws/v1/live/", LiveConsumer.as_asgi())]
