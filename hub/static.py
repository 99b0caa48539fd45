"""How static files leave the house: WhiteNoise, at home under ASGI, and content even where nobody ran collectstatic."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile
from whitenoise.storage import CompressedManifestStaticFilesStorage

Answer = HttpResponseBase | Awaitable[HttpResponseBase]


class Storage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    """Hashed names once `collectstatic` has run (the production image); before that (the demo) the plain names."""

    # Modules import each other by hashed names, too: after an update no page runs a mixture of old and new.
    support_js_module_import_aggregation = True

    def stored_name(self, name: str) -> str:
        """The hashed name, where a manifest knows hashed names at all."""
        return str(super().stored_name(name)) if self.hashed_files else name


class Files(WhiteNoiseMiddleware):  # type: ignore[misc]  # whitenoise has no types
    """WhiteNoise as a middleware for both worlds.

    The original is synchronous, which costs each request a change of thread, and streams from a synchronous iterator,
    which Django warns about under ASGI. Our files are small: each is read and sent whole.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        """Called by Django with the next middleware, once in each process."""
        super().__init__(get_response)
        self.asynchronous = iscoroutinefunction(get_response)
        if self.asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Answer:
        """The file that the path names, else what the next one answers."""
        path = request.path_info
        found = self.find_file(path) if self.autorefresh else self.files.get(path)
        if found is None:
            return cast("Answer", self.get_response(request))
        return at_once(whole(found, request)) if self.asynchronous else whole(found, request)

    def add_files(self, root: str, prefix: str | None = None) -> None:
        """Take in a folder. Before `collectstatic` there is none, and that is no reason for a warning."""
        if Path(root).is_dir():
            super().add_files(root, prefix)


async def at_once(response: HttpResponse) -> HttpResponse:
    """The response, as something to await."""
    return response


def whole(file: StaticFile, request: HttpRequest) -> HttpResponse:
    """WhiteNoise's answer (range, not modified, compressed variant, cache headers) with the body read."""
    found = file.get_response(request.method, request.META)
    content = b""
    if found.file is not None:
        with found.file as body:
            content = body.read()
    response = HttpResponse(content, status=int(found.status))
    del response["Content-Type"]
    for name, value in found.headers:
        response[name] = value
    return response
