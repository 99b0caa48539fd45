"""Who publishes and is not registered: known by what was refused of them, and registered by a click.

Where the broker's accounts are ours nobody can publish unregistered, but for what stands behind a gateway.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.conf import settings
from django.db.models import BinaryField, Exists, OuterRef, Subquery, Sum
from django.db.models.functions import Substr

from devices import registry, rejects, replay, values
from devices.errors import Refusal
from devices.models import Device, Reject
from devices.wire.topics import address

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

    from devices.models import Fleet

# Of what somebody publishes as much is shown: enough to know them by.
TOPICS: Final = 5
SAMPLE: Final = 256


class Claimed(msgspec.Struct):
    """A device that was unknown. `secret`: None where it logs in with an account that we do not keep, or with none."""

    device: Device
    secret: str | None
    replayed: replay.Replayed | None


def heard() -> QuerySet[Reject]:
    """Select what was refused of publishers that nobody has registered; for administrators alone."""
    registered = Device.objects.filter(key=OuterRef("key"))
    return Reject.objects.filter(~Exists(registered), reason="device_unknown").exclude(key="")


def publishers() -> QuerySet[Reject, dict[str, Any]]:
    """Gather them by key (rejects.groups), each with the newest topic and the begin of its payload."""
    same = Reject.objects.filter(key=OuterRef("key"), reason="device_unknown").exclude(digest=rejects.OTHERS)
    newest = same.order_by("-last_at", "-pk")
    begin = newest.annotate(begin=Substr("payload", 1, SAMPLE, output_field=BinaryField()))
    return rejects.groups(heard()).annotate(
        newest_topic=Subquery(newest.values("topic")[:1]), sample=Subquery(begin.values("begin")[:1])
    )


def topics_of(keys: Collection[str]) -> dict[str, list[str]]:
    """Return the first few topics of each of these publishers."""
    rows = heard().filter(key__in=keys).exclude(digest=rejects.OTHERS)
    found = defaultdict[str, list[str]](list)
    for key, topic in rows.order_by("key", "topic").values_list("key", "topic").distinct():
        if len(found[key]) < TOPICS:
            found[key].append(topic)
    return found


def beyond() -> dict[str, int]:
    """Count the messages that nobody can claim.

    crowd   of publishers for whom there was no room any more; once others are claimed or discarded, they show
    keyless whose topic names no key that a device could have
    """
    nameless = Reject.objects.filter(key="").values_list("reason").annotate(messages=Sum("count"))
    messages = dict(nameless.values_list("reason", "messages"))
    return {"crowd": messages.get("device_unknown", 0), "keyless": messages.get("topic_unknown", 0)}


def claim(key: str, fleet: Fleet, name: str, now: int, by: str, *, replayed: bool) -> Claimed:
    """Register a publisher, behind the gateway through which it speaks; take in again what it had sent, if wished."""
    spoke = heard().filter(key=key).exclude(digest=rejects.OTHERS)
    newest = spoke.order_by("-last_at", "-pk").first() if values.is_key(key) else None
    if newest is None:
        raise Refusal("not_found", f"Nobody unregistered publishes as {key!r}, or not any more.", 404)
    gateway = _gateway(newest.topic)
    device, secret = registry.create(key, fleet, name, gateway)
    ours = accounts_are_ours() and gateway is None
    done = replay.many(Reject.objects.filter(key=key, reason="device_unknown"), now, by) if replayed else None
    return Claimed(device, secret if ours else None, done)


def _gateway(topic: str) -> Device | None:
    key, _, _ = address(topic)
    gateway = Device.objects.select_related("gateway").filter(key=key).first() if key else None
    if key and gateway is None:
        message = f"It speaks through {key}, which is not registered either: register that first."
        raise Refusal("gateway_unknown", message, 409)
    return gateway


def accounts_are_ours() -> bool:
    """Whether the hub keeps the broker's accounts, so that a device logs in with the secret that it gets here."""
    return settings.MQTT is None or settings.BROKER_ACCOUNTS != "none"
