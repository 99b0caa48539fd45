"""Tags: words by which devices are selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devices import values
from devices.errors import Refusal
from devices.models import Tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devices.models import Device

MOST: Final = 50


def check(names: Iterable[str]) -> list[str]:
    """Return tags as they are kept: each once, sorted; or refuse them."""
    found = sorted(set(names))
    for name in found:
        if not values.is_key(name):
            message = (
                f"{name[:63]!r} cannot be a tag: it must have lower case letters, digits, - and _ alone, begin with a "
                "letter or digit, and be at most 63 long."
            )
            raise Refusal("invalid", message, fields={"tags": f"{name[:63]!r} is not valid"})
    if len(found) > MOST:
        message = f"A device has at most {MOST} tags; take some away."
        raise Refusal("invalid", message, fields={"tags": "are too many"})
    return found


def of(device: Device) -> list[str]:
    """Return a device's tags, sorted; as they were read with it, if they were."""
    return sorted(tag.name for tag in device.tags.all())


def put(device: Device, names: Iterable[str]) -> list[str]:
    """Give a device these tags, and no others; the caller holds its row. Return them."""
    wanted, there = check(names), set(of(device))
    Tag.objects.filter(device=device, name__in=there.difference(wanted)).delete()
    Tag.objects.bulk_create(Tag(device=device, name=name) for name in wanted if name not in there)
    return wanted
