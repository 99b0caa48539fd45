"""The inbox: what devices sent and could not be taken in, by device and reason; to be replayed, or discarded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

from django.contrib import messages
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from dashboard import shown
from dashboard.pages import page
from devices import registry, rejects, replay
from devices.errors import Refusal
from devices.models import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse, QueryDict

    from devices.models import Device, Reject

# More than a person works off in one sitting; what is here is the newest.
GROUPS: Final = 100
ROWS: Final = 50
# Digits of the largest row id.
LONGEST: Final = 19


@page
@require_GET
def inbox(request: HttpRequest) -> HttpResponse:
    """All groups that the user may see; or, with `device` and `reason`, the rejects of those."""
    user = cast("User", request.user)
    chosen = _chosen(request.GET)
    rows = rejects.select(user, chosen)
    found = list(rejects.newest_groups(rows)[: GROUPS + 1])
    context = {
        "groups": found[:GROUPS],
        "more_groups": len(found) > GROUPS,
        "chosen": chosen,
        "more_rows": bool(chosen) and sum(group["kinds"] for group in found) > ROWS,
        "registered": set(_devices(user, Role.VIEWER, found)),
        "operated": (operated := _keys(user, Role.OPERATOR, found)),
        "managed": (managed := _keys(user, Role.MANAGER, found)),
        "rejects": [
            {**one, "may_replay": one["key"] in operated, "may_discard": one["key"] in managed}
            for one in (shown.rejects(rows, ROWS) if chosen else [])
        ],
    }
    return render(request, "dashboard/rejects.html", context)


def _keys(user: User, role: Role, groups: list[dict[str, str]]) -> set[str]:
    """Return the keys of these groups with which the user may do what takes this role."""
    return {group["key"] for group in groups} if user.is_superuser else set(_devices(user, role, groups))


def _devices(user: User, role: Role, groups: list[dict[str, str]]) -> QuerySet[Device, str]:
    rows = registry.visible_to(user, role).filter(key__in={group["key"] for group in groups})
    return rows.values_list("key", flat=True)


@page
@require_POST
def replay_rejects(request: HttpRequest) -> HttpResponse:
    """Take one in again, or all of a device, of a reason, or both."""
    user = cast("User", request.user)

    def done() -> tuple[bool, str]:
        if pk := number(request.POST.get("id")):
            outcome = replay.one(rejects.find(user, pk, Role.OPERATOR), _now(), user.get_username())
            return outcome.result != "refused", outcome.message
        rows = rejects.select(user, _chosen(request.POST), Role.OPERATOR)
        replayed = replay.many(rows, _now(), user.get_username())
        return not replayed.refused, replayed.message

    return _told(request, done)


@page
@require_POST
def discard_rejects(request: HttpRequest) -> HttpResponse:
    """Delete one, or all of a device, of a reason, or both."""
    user = cast("User", request.user)

    def done() -> tuple[bool, str]:
        if pk := number(request.POST.get("id")):
            rows: QuerySet[Reject] = rejects.visible_to(user).filter(pk=rejects.find(user, pk, Role.MANAGER).pk)
        elif chosen := _chosen(request.POST):
            rows = rejects.select(user, chosen, Role.MANAGER)
        else:
            raise Refusal("invalid", "Nothing was discarded: say of which device, or for which reason.")
        return True, f"Discarded {rejects.discard(rows, user.get_username())}."

    return _told(request, done)


def _told(request: HttpRequest, do: Callable[[], tuple[bool, str]]) -> HttpResponse:
    """Do it, and go back to where it was asked for with a sentence on what became of it, and whether that is well."""
    try:
        well, said = do()
        messages.add_message(request, messages.SUCCESS if well else messages.WARNING, said)
    except Refusal as refusal:
        if refusal.status == 403 or refusal.code == "device_unknown":  # noqa: PLR2004  HTTP's own number
            raise
        messages.warning(request, refusal.message)
    target = request.POST.get("next", "")
    here = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()})
    return redirect(target if here else reverse("rejects"))


def _chosen(given: QueryDict) -> rejects.Chosen:
    """Read which device and reason are meant; PostgreSQL cannot be asked for a NUL."""
    named = {name: str(given[name]).replace("\0", "") for name in ("device", "reason") if name in given}
    return cast("rejects.Chosen", named)


def number(text: str | None) -> int:
    """Read the number of a row; 0 for what is none that a row could have."""
    return int(text) if text and text.isdecimal() and len(text) <= LONGEST else 0


def _now() -> int:
    return time.time_ns() // 1_000_000
