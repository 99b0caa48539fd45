"""What pages have in common: who is let in, how refusals are answered, and what a browser may keep and pass on."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache

from devices.errors import Refusal

View: TypeAlias = Callable[..., HttpResponse]


def page(view: View) -> View:
    """Let only signed-in people in, keep nothing in caches, and answer refusals with the pages for 403 and 404."""

    @wraps(view)
    def asked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401  any view's
        try:
            return view(request, *args, **kwargs)
        except Refusal as refusal:
            if refusal.status == 404:  # noqa: PLR2004  HTTP's own number
                raise Http404 from None
            raise PermissionDenied(refusal.message) from None

    return cast("View", login_required(never_cache(asked)))


def told(request: HttpRequest, back: str, do: Callable[[], str]) -> HttpResponse:
    """Do it, and go back to where it was asked for with a sentence on what became of it."""
    try:
        messages.success(request, do())
    except Refusal as refusal:
        if refusal.status == 403:  # noqa: PLR2004  HTTP's own number
            raise
        messages.warning(request, refusal.message)
    return redirect(back)


def secretive(referrer: str) -> Callable[[View], View]:
    """Have a page whose address is a secret in no cache and no search, and its address told to nobody."""

    def dressed(view: View) -> View:
        @wraps(view)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401  any view's
            response = view(request, *args, **kwargs)
            response["Referrer-Policy"] = referrer
            response["X-Robots-Tag"] = "noindex"
            return response

        return cast("View", never_cache(answered))

    return dressed
