"""Every address of the hub, read off its URL resolver: a new page is in the tests before anybody thinks of it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.urls import URLPattern, URLResolver, get_resolver

# <str:key> of a path(), (?P<url>.*) of a re_path().
PLACE: Final = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")


def routes(below: Any = None, before: str = "") -> Iterator[str]:
    """All routes as they are written: devices/<str:key>/."""
    for one in (below or get_resolver()).url_patterns:
        route = before + str(one.pattern).strip("^$")
        if isinstance(one, URLResolver):
            yield from routes(one, route)
        elif isinstance(one, URLPattern):
            yield route.replace(r"\.", ".").replace(r"\Z", "")


def filled(route: str, samples: Mapping[str, object]) -> str:
    """The route as an address. A sample has the name of its place, or the route up to there where these differ."""

    def sample(place: re.Match[str]) -> str:
        name = place[1] or place[2]
        for key in (route[: place.end()], name):
            if key in samples:
                return str(samples[key])
        raise AssertionError(f"{route} is new: give a sample of {name} to the tests that go to every address")

    return "/" + PLACE.sub(sample, route)
