"""Lists in pages: stable while rows come and go, and bounded. `next` is the `cursor` of the page that follows."""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, Final, TypeVar

from django.core import signing
from django.db.models import Model, Q, QuerySet
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.response import Response

from devices.api.asked import Shape, Strict
from devices.errors import Refusal

PAGE: Final = 100
MAX_PAGE: Final = 1000
Row = TypeVar("Row", bound=Model)


class Paged(Strict):
    """The parameters of every list."""

    limit = serializers.IntegerField(default=PAGE, min_value=1, max_value=MAX_PAGE)
    cursor = serializers.CharField(required=False, help_text="`next` of the page before")


def page(
    rows: QuerySet[Row, Any],
    by: tuple[str, ...],
    shape: type[Shape],
    asked: dict[str, Any],
    context: dict[str, Any] | None = None,
) -> Response:
    """Answer one page in the order `by`: fields all forwards or all backwards ("-"), unique with the last of them."""
    salt = "page " + " ".join(by)
    if "cursor" in asked:
        rows = rows.filter(_behind(by, _opened(asked["cursor"], salt)))
    found = list(rows.order_by(*by)[: asked["limit"] + 1])
    shown = found[: asked["limit"]]
    more = len(found) > len(shown)
    cursor = signing.dumps([_plain(shown[-1], name) for name in by], salt=salt) if more else None
    return Response({"results": shape(shown, many=True, context=context or {}).data, "next": cursor})


def paged(name: str, shape: type[Shape]) -> serializers.Serializer[Any]:
    """Describe a page for the schema."""
    fields = {"results": shape(many=True), "next": serializers.CharField(allow_null=True)}
    described: serializers.Serializer[Any] = inline_serializer(f"{name}Page", fields)
    return described


def _opened(cursor: str, salt: str) -> list[Any]:
    # Signed, so that what comes back is what was given, and nothing has to be checked.
    try:
        last: list[Any] = signing.loads(cursor, salt=salt)
    except signing.BadSignature:
        message = "The cursor is not one of this list; begin without it."
        raise Refusal("invalid", message, fields={"cursor": "is not one of this list"}) from None
    return last


def _behind(by: tuple[str, ...], last: list[Any]) -> Q:
    """Select what follows a row: (a, b) > (x, y) is a > x, or a = x and b > y."""
    names = [name.removeprefix("-") for name in by]
    than = "lt" if by[0].startswith("-") else "gt"
    steps = [
        Q(**dict(zip(names[:depth], last[:depth], strict=True)), **{f"{names[depth]}__{than}": last[depth]})
        for depth in range(len(names))
    ]
    return reduce(or_, steps)


def _plain(row: Model | dict[str, Any], name: str) -> object:
    name = name.removeprefix("-")
    value = row[name] if isinstance(row, dict) else getattr(row, name)
    return value.isoformat() if isinstance(value, datetime) else value
