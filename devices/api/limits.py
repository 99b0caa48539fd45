"""What a fleet, or one device of it, may keep and send: asked and told in the same fields."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from devices.api.asked import Shape, Strict

# Far beyond what anybody wants, and within what a column takes.
MAX_DAYS: Final = 36_500
MAX_RATE: Final = 1_000_000
MAX_BURST: Final = 100_000_000


def _limit(maximum: int, meaning: str) -> Any:  # noqa: ANN401  a field, whose type the framework makes up
    return serializers.IntegerField(
        min_value=1, max_value=maximum, allow_null=True, required=False, help_text=f"{meaning}; null: not said here"
    )


class LimitsAsked(Strict):
    """Limits to be set. Null: a device has its fleet's; a fleet keeps for ever, and has the hub's rate."""

    keep_raw = _limit(MAX_DAYS, "days for which frames are kept")
    keep_minute = _limit(MAX_DAYS, "days for which roll-ups of minutes are kept")
    keep_hour = _limit(MAX_DAYS, "days for which roll-ups of hours are kept")
    keep_day = _limit(MAX_DAYS, "days for which roll-ups of days are kept")
    rate = _limit(MAX_RATE, "frames a second that one device may send")
    burst = _limit(MAX_BURST, "frames that may come at once on top")


class LimitsShape(Shape):
    """Limits as they are set."""

    keep_raw = serializers.IntegerField(allow_null=True)
    keep_minute = serializers.IntegerField(allow_null=True)
    keep_hour = serializers.IntegerField(allow_null=True)
    keep_day = serializers.IntegerField(allow_null=True)
    rate = serializers.IntegerField(allow_null=True)
    burst = serializers.IntegerField(allow_null=True)
