"""The middleware that has the audit know who asks. (Calls over a live socket, which pass none, do it themselves.)"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from devices import audit


@sync_and_async_middleware
def witnessed(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Have everything that is done for a request be done by whoever sent it."""
    if iscoroutinefunction(get_response):
        return _asynchronous(get_response)

    def answered(request: HttpRequest) -> HttpResponseBase:
        with audit.acting(request):
            response: HttpResponseBase = get_response(request)
            return response

    return answered


def _asynchronous(
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    async def answered(request: HttpRequest) -> HttpResponseBase:
        with audit.acting(request):
            return await get_response(request)

    return answered
