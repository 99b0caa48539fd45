"""Commands go out: claimed in the order of their issue, published by the bridge, and noted as what that proved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import transaction
from django.db.models import Count, F, IntegerField, OuterRef, Q, Subquery, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Coalesce, Power

from devices import firmware, standing
from devices.commands import log
from devices.commands.issuing import MAX_TTL_S
from devices.dialects import Order
from devices.models import Command, Head

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django.db.models import QuerySet

# What is not answered goes out again after so long, to a device that remembers; then after twice as long each time.
AGAIN_MS: Final = 5_000


def claim(devices: frozenset[str] | None, now: int, limit: int = log.AT_ONCE) -> list[Order]:
    """Take commands for publishing, in the order of their issue; of several bridges each one gets others.

    devices  whose (keys); None: whichever wait, and first those that are due again
    """
    with transaction.atomic():
        rows: list[Command] = []
        if devices is None:
            rows += _free(_due_again(now), max(1, limit // 2))
        rows += _free(_waiting(devices, now), limit - len(rows))
        if rows:
            newest = Head.objects.filter(pk=OuterRef("device_id")).values("seq")
            Command.objects.filter(pk__in=[command.pk for command in rows]).update(
                claimed_at=Coalesce("claimed_at", Value(now)),
                looked_seq=Coalesce("looked_seq", Subquery(newest)),
                sends=F("sends") + 1,
            )
    return [_order(command) for command in rows]


def _waiting(devices: frozenset[str] | None, now: int) -> QuerySet[Command]:
    """What nobody has claimed, is not over, and has a device that can be told."""
    rows = Command.objects.filter(standing.REACHABLE, state="queued", claimed_at=None, expires_at__gt=now)
    return rows if devices is None else rows.filter(device__key__in=devices)


def _due_again(now: int) -> QuerySet[Command]:
    """What was published, has no last answer, and would be known again by its device, which remembers so many.

    Who is at work on it is asked again when nothing was heard for a while: its last answer may have got lost. Who has
    come back since it was published last has perhaps not got it: it is due one turn earlier.
    """
    open_ = Q(state__in=["queued", "sent"]) | Q(state="received", changed_at__lte=now - AGAIN_MS)
    rows = Command.objects.filter(standing.REACHABLE, open_, device__remembers__gt=0)
    rows = rows.filter(claimed_at__lt=now, expires_at__gt=now)
    rows = rows.annotate(waited=_turn(F("sends")), last=_turn(F("sends") - 1))
    back = Q(device__head__greeted_at__gt=F("claimed_at") + F("last"))
    rows = rows.filter(back | Q(claimed_at__lte=Value(now) - F("waited")))
    return rows.annotate(since=Coalesce(Subquery(_others()), 0)).filter(since__lt=F("device__remembers"))


def _turn(sends: CombinedExpression | F) -> CombinedExpression:
    """How long after the first time what was published so often is published again (ms)."""
    return AGAIN_MS * (Power(Value(2), sends, output_field=IntegerField()) - 1)


def _others() -> QuerySet[Command, Any]:
    """Count what else may have come to a device since a command of it first did."""
    first = OuterRef("claimed_at")
    rows = Command.objects.filter(device=OuterRef("device_id"), claimed_at__isnull=False).exclude(pk=OuterRef("pk"))
    rows = rows.filter(created_at__gte=first - MAX_TTL_S * 1000)  # what is older was over by then
    rows = rows.filter(Q(claimed_at__gte=first) | Q(changed_at__gte=first) | Q(state__in=["queued", "sent"]))
    return rows.order_by().values("device").annotate(count=Count("pk")).values("count")


def _free(rows: QuerySet[Command], limit: int) -> list[Command]:
    """Lock the oldest of these that nobody else holds at this moment: another bridge, or who cancels it."""
    rows = rows.select_for_update(of=("self",), no_key=True, skip_locked=True).select_related("device__gateway")
    fields = ("name", "args", "expires_at", "sends", "device__key", "device__gateway__key")
    return list(rows.only(*fields).order_by("changed_at", "created_at", "pk")[:limit])


def _order(command: Command) -> Order:
    gateway = command.device.gateway
    return Order(
        device=command.device.key,
        gateway=gateway.key if gateway else None,
        name=command.name,
        cid=command.pk,
        args=firmware.told(command),
        expires_at=command.expires_at,
        sends=command.sends + 1,
    )


def _rows(orders: Collection[Order]) -> QuerySet[Command]:
    return Command.objects.filter(pk__in=[order.cid for order in orders])


def sent(orders: Collection[Order], now: int) -> None:
    """Note that the broker took these for their devices."""
    log.move(_rows(orders), "sent", now, "the broker acknowledged it", log.THE_BROKER)


def unsent(orders: Sequence[Order], now: int) -> None:
    """Give claims back: the broker has not got these, for sure, so they may be tried again until they expire.

    They are tried after all others that wait: who is refused each time must not be in everybody's way.
    """
    first = [order for order in orders if order.sends == 1]
    # Who has been claimed again meanwhile may have reached its device.
    _rows(first).filter(state="queued", sends=1).update(claimed_at=None, looked_seq=None, sends=0, changed_at=now)
    _not_counted(orders)


def lost(orders: Sequence[Order], now: int) -> None:
    """Note that publishes broke off: the broker may have them or not.

    What a device might do twice is not repeated. One that remembers gets it again.
    """
    rows = _rows(orders).filter(device__remembers=0)
    log.move(rows, "unknown", now, "the connection broke before the broker answered", log.THE_HUB)
    _not_counted(orders)


def _not_counted(orders: Sequence[Order]) -> None:
    """Have what went out again, and did not arrive for all we know, be due as before: a restarted broker costs no turn.

    The first time counts always: whatever else is found out, it may have reached its device.
    """
    for sends in {order.sends for order in orders if order.sends > 1}:
        rows = _rows([order for order in orders if order.sends == sends])
        rows.filter(device__remembers__gt=0, sends=sends).update(sends=sends - 1)
