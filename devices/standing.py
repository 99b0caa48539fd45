"""Where devices stand, kept: what presence.py decides is written under the head's lock, noted as an event, and told.

What comes with readings and status messages is kept by telemetry.record, in the transaction that stores them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Q

from devices import presence
from devices.groups import State, announce_on_commit
from devices.models import Event, Head

if TYPE_CHECKING:
    from collections.abc import Callable

# Of rows that have a device: what it is told reaches it now. Who sleeps as announced counts as online, and is not
# connected: what it is told waits for it.
REACHABLE: Final = (
    Q(device__enabled=True, device__head__presence="online")
    & ~Q(device__head__because__startswith=presence.ASLEEP)
)  # fmt: skip


def of(head: Head) -> presence.State:
    """Return what a head says of it."""
    return presence.State(head.presence, head.because, head.since)  # type: ignore[arg-type]


def message(key: str, head: Head) -> State:
    """Say a device's presence as it is told to its group."""
    return {
        "type": "device.state",
        "device": key,
        "presence": head.presence,
        "because": head.because,
        "since": head.since,
    }


def sweep(now: int, hearing_since: int | None) -> int:
    """Mark devices that have been silent for too long as stale, and ring; return how many.

    `hearing_since`: from when on the hub has heard whatever devices sent (ms); None: it does not now.
    """
    if hearing_since is None:
        return 0

    def silence(head: Head) -> presence.State:
        known = (head.received_at, head.usual_ms, head.sleep_s)
        return presence.silent(of(head), *known, now, hearing_since=hearing_since)

    online = Head.objects.filter(presence="online").defer("values")
    return sum(_become(pk, silence) for pk in [one.pk for one in online.iterator() if silence(one) != of(one)])


def cut(device_pk: int, because: str, now: int) -> None:
    """Note that the hub itself has ended a device's connection."""
    _become(device_pk, lambda head: presence.cut(of(head), now, because))


def _become(pk: int, decide: Callable[[Head], presence.State]) -> bool:
    """Bring a device to the state that is decided under its lock, note it and ring; whether it is another."""
    with transaction.atomic():
        head = Head.objects.select_for_update(of=("self",)).select_related("device").filter(pk=pk).first()
        if head is None or (state := decide(head)) == of(head):
            return False
        head.presence, head.because, head.since = state
        head.save(update_fields=["presence", "because", "since"])
        Event.objects.create(device_id=pk, at=state.since, kind="presence", state=state.presence, because=state.because)
        announce_on_commit(message(head.device.key, head))
    return True
