"""What a supervisor and a Prometheus ask: is the process alive, can it do its work, what has it counted."""

from collections.abc import Callable

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dashboard import fanout, reads

log = structlog.get_logger(__name__)


@require_safe
@never_cache
def alive(_request: HttpRequest) -> JsonResponse:
    """The process answers. Asks nothing else, so that a lost database does not have it killed."""
    return JsonResponse({"alive": True})


@require_safe
@never_cache
def ready(_request: HttpRequest) -> JsonResponse:
    """The parts that a request needs: 200 when all answer, else 503. Why one does not is in the log.

    And how the bridge is, without which pages are shown as well: ok, holding (it cannot store), or unknown.
    """
    parts = {"database": answers("database", ask_database)}
    if settings.REDIS_URL:
        parts["layer"] = answers("layer", ask_layer)
    whole = {"ready": all(parts.values()), **parts, "bridge": async_to_sync(ask_bridge)()}
    return JsonResponse(whole, status=200 if all(parts.values()) else 503)


@require_safe
@never_cache
def metrics(_request: HttpRequest) -> HttpResponse:
    """All that this process has counted, in Prometheus' text format."""
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def answers(part: str, ask: Callable[[], object]) -> bool:
    """Whether asking this part raises nothing."""
    try:
        ask()
    except Exception:
        log.exception("not ready", part=part)
        return False
    return True


def ask_database() -> None:
    """One round trip to the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def ask_bridge() -> str:
    """What this process has heard of the bridges. It listens from the first question on."""
    here = fanout.here()
    here.start()
    return here.alarm.pulses.word(reads.now_ms())


def ask_layer() -> None:
    """One message through the channel layer, to nobody."""
    layer = get_channel_layer()
    assert layer is not None, "CHANNEL_LAYERS has no default"
    async_to_sync(layer.send)("readyz", {"type": "readyz"})
