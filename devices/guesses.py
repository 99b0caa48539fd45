"""Wrong passwords: how many are taken of one name from one address, and how many of one address over all names.

axes keeps them, and asks here at every door (the page, tokens/, the admin) before a password is looked at.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_cool_off
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, Sum
from django.utils import timezone

if TYPE_CHECKING:
    from datetime import timedelta

    from django.db.models import QuerySet
    from django.http import HttpRequest


class Guesses(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no types
    """Locks out a name from an address, as axes does; and an address that guesses at many names."""

    def is_locked(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> bool:
        """Whether no password is looked at now."""
        total = from_address(request).aggregate(all=Sum("failures_since_start"))["all"] or 0
        return total >= settings.HUB_GUESSES or super().is_locked(request, credentials)


def from_address(request: HttpRequest) -> QuerySet[Any]:
    """Select what was guessed from an address within the time that counts."""
    since = get_cool_off_threshold(request)
    rows: QuerySet[Any] = AccessAttempt.objects.filter(ip_address=request.axes_ip_address, attempt_time__gte=since)  # type: ignore[attr-defined]  # axes writes it there
    return rows


def wait_s(request: HttpRequest) -> int:
    """Return after how many seconds at most whoever is locked out may try again."""
    newest = from_address(request).aggregate(newest=Max("attempt_time"))["newest"] or timezone.now()
    left: timedelta = newest + get_cool_off(request) - timezone.now()
    return max(1, ceil(left.total_seconds()))
