"""What a REST view refuses, as its answer: {"code", "message", "fields"?, "retry_after_s"?}."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.exceptions import PermissionDenied, TooManyFieldsSent
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from devices.errors import Refusal, too_often

_CODES: Final = {
    400: "bad_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    415: "unsupported_media_type",
}


def as_json(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn an exception of a REST view into its answer; None leaves it to Django (500)."""
    if isinstance(error, exceptions.Throttled):
        error = too_often(error.wait)  # type: ignore[attr-defined]  # it has
    if isinstance(error, TooManyFieldsSent):
        error = Refusal("too_large", f"A request has at most {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} parameters.", 413)
    if isinstance(error, Refusal):
        body: dict[str, Any] = {"code": error.code, "message": error.message}
        if error.fields:
            body["fields"] = error.fields
        if error.retry_after_s is None:
            return Response(body, status=error.status)
        after = error.retry_after_s
        return Response({**body, "retry_after_s": after}, status=error.status, headers={"Retry-After": str(after)})
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, exceptions.ValidationError):
        fields = _fields(response.data)
        message = "; ".join(f"{name}: {text}" if name else text for name, text in fields.items())
        response.data = {"code": "invalid", "message": message, "fields": fields}
    else:
        response.data = {"code": _CODES.get(response.status_code, "error"), "message": _sentence(error)}
    return response


def _sentence(error: Exception) -> str:
    if isinstance(error, Http404):
        return "There is nothing here, or you may not see it."
    if isinstance(error, exceptions.PermissionDenied) and str(error.detail).startswith("CSRF"):
        return f"{error.detail} Send the page's token as header X-CSRFToken, or sign in with Authorization: Token."
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return "Your role does not allow this; ask a manager of the fleet."
    if isinstance(error, exceptions.NotAuthenticated):
        return "Sign in, or send the header: Authorization: Token <token>. Tokens: POST /api/v1/tokens/."
    return str(getattr(error, "detail", error))


def _fields(detail: object, prefix: str = "") -> dict[str, str]:
    """Flatten the framework's nested validation errors to name → sentence."""
    if isinstance(detail, dict):
        flat: dict[str, str] = {}
        for name, item in detail.items():
            key = "" if name == "non_field_errors" else str(name)
            flat.update(_fields(item, f"{prefix}.{key}".strip(".")))
        return flat
    if isinstance(detail, list):
        return {prefix: " ".join(str(item) for item in detail)}
    return {prefix: str(detail)}
