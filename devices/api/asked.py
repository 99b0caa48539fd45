"""What a request may say: strict JSON, and fields that are known by name. What every view of the API shares."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, ParseError, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.views import APIView

from devices import values
from devices.api.throttle import Throttle
from devices.errors import Refusal

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.request import Request

# In the year 5138: what is longer is no instant in ms.
LAST_MS: Final = 10**14
# Nothing that is asked for is longer than what a device may send.
MAX_BODY: Final = values.MAX_PAYLOAD


def now() -> int:
    """Tell the time, in ms: the one clock of the API."""
    return time.time_ns() // 1_000_000


class Json(JSONParser):
    """The JSON that devices must speak, for people's programs too: no NaN, no doubled key, bounded size and depth."""

    def parse(self, stream: Any, *_: object, **__: object) -> Any:  # noqa: ANN401  any JSON
        """Decode the body."""
        payload = stream.read(MAX_BODY + 1)
        if len(payload) > MAX_BODY:
            raise Refusal("too_large", f"The body has more than {MAX_BODY} bytes.", 413)
        try:
            return values.json_of(payload)
        except values.Bad as bad:
            raise ParseError(f"The body is not taken as JSON: {bad.detail}.") from None


class View(APIView):
    """A view of the API."""

    parser_classes = (Json,)
    throttle_classes = (Throttle,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as the framework has it
        """Let in who may come in. Who is shown the door is counted too: to look at a token costs a query."""
        try:
            super().initial(request, *args, **kwargs)
        except (NotAuthenticated, AuthenticationFailed):
            self.check_throttles(request)
            raise


class Waiting(View):
    """A view whose handlers are asynchronous: who waits holds neither a thread's work nor a database connection."""

    async def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # noqa: ANN401  as the framework has it
        """Do what the framework's dispatch does, for an asynchronous handler."""
        self.args, self.kwargs = args, kwargs
        self.headers = self.default_response_headers
        self.request = asked = self.initialize_request(request, *args, **kwargs)
        try:
            await sync_to_async(self._admit)(asked, *args, **kwargs)
            method = request.method.lower()
            allowed = method in self.http_method_names
            handler: Any = getattr(self, method, None) if allowed else None
            response: Any = await (handler or self.refuse_method)(asked, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  as the framework has it: refusals become answers, bugs go on
            response = self.handle_exception(error)
        self.response = self.finalize_response(asked, response, *args, **kwargs)
        return self.response

    def _admit(self, request: Request, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  as the framework has it
        """Let in who may come in, and give the connection back: the wait may be long, and the pool is small."""
        try:
            self.initial(request, *args, **kwargs)
        finally:
            if not connection.in_atomic_block:
                close_old_connections()

    async def refuse_method(self, request: Request, *_: Any, **__: Any) -> None:  # noqa: ANN401  as the framework has it
        """Refuse a method that there is no handler for."""
        self.http_method_not_allowed(request)


class Strict(serializers.Serializer[Any]):
    """Fields that a request may have. One that is not among them is refused by name: a typo must not vanish."""

    def to_internal_value(self, data: Any) -> Any:  # noqa: ANN401  as the framework has it
        """Check the names, then the values."""
        if isinstance(data, Mapping) and (unknown := [name for name in data if name not in self.fields]):
            known = ", ".join(self.fields)
            raise ValidationError({str(name)[:64]: f"is not known here; known are: {known}." for name in unknown})
        return super().to_internal_value(data)


class Between(Strict):
    """A range of time: `from` belongs to it, `to` does not. The one is a word of the language, so no attribute."""

    needed = True

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add the two to the fields of the class."""
        limits: dict[str, Any] = {"min_value": 0, "max_value": LAST_MS, "required": self.needed}
        ends = {name: serializers.IntegerField(**limits, help_text="ms, UTC") for name in ("from", "to")}
        return {**ends, **super().get_fields()}


class Shape(serializers.Serializer[Any]):
    """Fields of an answer."""


@extend_schema_field(OpenApiTypes.INT64)
class Instant(serializers.Field[datetime, Any, int, datetime]):
    """A datetime as the API tells time: ms since the epoch, UTC."""

    def to_representation(self, value: datetime) -> int:
        """Count the ms."""
        return round(value.timestamp() * 1000)


def body(request: Request, shape: type[Strict], *, partial: bool = False) -> dict[str, Any]:
    """Read the request's body, or refuse it naming each wrong field."""
    return _checked(shape(data=request.data, partial=partial))


def query(request: Request, shape: type[Strict], *, lists: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the request's parameters, or refuse them by name; those of `lists` may be repeated."""
    asked: dict[str, Any] = request.query_params.dict()
    repeated = {name: request.query_params.getlist(name) for name in lists if name in asked}
    return _checked(shape(data=asked | repeated))


def _checked(asked: Strict) -> dict[str, Any]:
    asked.is_valid(raise_exception=True)
    return cast("dict[str, Any]", asked.validated_data)


def user_of(request: Request) -> User:
    """Return who asks; the default permission has made sure that it is somebody."""
    return cast("User", request.user)
