"""schema/: what the API can do, as drf-spectacular reads it off the views; and what holds for all of them: refusals."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from drf_spectacular.generators import SchemaGenerator

if TYPE_CHECKING:
    from rest_framework.request import Request

REFUSAL: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What cannot be granted, in one shape for all.",
    "properties": {
        "code": {"type": "string", "minLength": 1, "description": "for programs"},
        "message": {"type": "string", "minLength": 1, "description": "for people: what to do"},
        "fields": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "what is wrong with each field",
        },
        "retry_after_s": {"type": "integer", "minimum": 1, "description": "when the same may be granted"},
    },
    "required": ["code", "message"],
    "additionalProperties": False,
}
CONTENT: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
REFUSALS: Final[dict[str, Any]] = {
    "4XX": {"description": "It is refused.", "content": CONTENT},
    "429": {
        "description": "It was asked too often; with `retry_after_s`.",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}},
        "content": CONTENT,
    },
}


def refusals(result: dict[str, Any], **_: object) -> dict[str, Any]:
    """Add to each operation how it is refused."""
    result["components"]["schemas"]["Refusal"] = REFUSAL
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"] |= deepcopy(REFUSALS)
    return result


class Once(SchemaGenerator):
    """Reads it off the views once: that takes a process 50 ms, and anybody may ask for it."""

    def get_schema(self, request: Request | None = None, public: bool = False) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002  its own
        """Return what holds for everybody."""
        return _read()


@cache
def _read() -> Any:  # noqa: ANN401  as the framework has it
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
