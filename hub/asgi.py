"""The server's entrance: HTTP goes to Django, WebSockets to the dashboard's consumers with the visitor's session."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
django = get_asgi_application()

from dashboard.routing import websocket_urlpatterns  # noqa: E402 -- needs the apps that the line above loads
from hub.pace import gated, paced  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": paced(django),
        # Who may open a socket from which page is decided, with the full Origin, by the consumer itself.
        "websocket": gated(AuthMiddlewareStack(URLRouter([*websocket_urlpatterns]))),  # type: ignore[arg-type, list-item]  # see routing
    }
)
