"""A device's journal as a session that can be played again, and the sum of what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.models import Device, Frame, Metric
from simulators.session import Digest, End, Header, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devices.values import Value

_PIECE = 2000


def frames(device: Device, start: int, end: int, after: int = 0) -> Iterator[tuple[int, dict[str, Value]]]:
    """What the journal has between two instants (ms), and behind a seq, in its order: instant, values."""
    found = Frame.objects.filter(device=device, seq__gt=after, ts__gte=start, ts__lt=end)
    return found.order_by("seq").values_list("ts", "values").iterator(_PIECE)


def session(device: Device, start: int, end: int) -> Iterator[bytes]:
    """Write it as a session, line by line."""
    first = next(frames(device, start, end), (start, {}))
    metrics = {
        metric.name: {part: text for part, text in (("unit", metric.unit), ("class", metric.device_class)) if text}
        for metric in Metric.objects.filter(device=device)
    }
    header = Header(
        device=device.key,
        name=device.name,
        model=device.model,
        fw=device.firmware,
        metrics=metrics,
        commands=device.commands,
        began=first[0],
    )
    return written(header, frames(device, start, end))


def newest(key: str) -> int:
    """The seq of a device's newest frame; 0: it has none."""
    return Frame.objects.filter(device__key=key).order_by("-seq").values_list("seq", flat=True).first() or 0


def sum_of(key: str, after: int) -> End:
    """The sum of what the journal has of a device behind a seq."""
    digest, began = Digest(), None
    for ts, values in frames(Device.objects.get(key=key), 0, 2**62, after):
        began = ts if began is None else began
        digest.add(ts - began, values)
    return digest.end()
