"""The server's entrance: HTTP goes to Django, WebSockets to the dashboard's consumers with the visitor's session."""

import gc
import os
import sys

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
django = get_asgi_application()

from dashboard.routing import websocket_urlpatterns  # noqa: E402 -- needs the apps that the line above loads
from hub import machine  # noqa: E402
from hub.bodies import unread  # noqa: E402
from hub.pace import gated, paced  # noqa: E402
from hub.plain import private  # noqa: E402

router = ProtocolTypeRouter(
    {
        "http": private(paced(django)),
        # Who may open a socket from which page is decided, with the full Origin, by the consumer itself.
        "websocket": private(gated(AuthMiddlewareStack(URLRouter([*websocket_urlpatterns])))),  # type: ignore[arg-type, list-item]  # see routing
    }
)
application = unread(router)

machine.open_all_files_allowed()
# Sockets must not wait 5 ms (Python's own choice) for a thread that computes, again and again.
sys.setswitchinterval(0.0005)

# What is loaded by now stays for good. Python's collector would look through all of it again and again, with every
# socket waiting for 0.2 s (docs/performance.md); so it is told. Views are loaded now instead of with the first request.
_ = get_resolver().url_patterns
gc.collect()
gc.freeze()
