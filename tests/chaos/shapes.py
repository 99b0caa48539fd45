"""PURE. What devices of each kind publish as their n-th message: topic suffix and payload.

Each way of telling a duplicate (docs/adr/0003) has its kind: `numbered` by the device's own (boot, seq), `timed` by
its time, `bare` by the repeated packet. Every frame carries its number `n`, by which the oracle knows it, and `at`,
the ms at which it was made.
"""

from collections.abc import Callable
from typing import Final

from tests.chaos.spoilt import spoilt

Shape = Callable[[int, int], tuple[str, bytes]]


def numbered(n: int, at: int) -> tuple[str, bytes]:
    return "telemetry", b'{"boot":1,"seq":%d,"values":{"n":%d,"at":%d}}' % (n, n, at)


def timed(n: int, at: int) -> tuple[str, bytes]:
    return "telemetry", b'{"ts":%d,"values":{"n":%d,"at":%d}}' % (at, n, at)


def bare(n: int, at: int) -> tuple[str, bytes]:
    return "telemetry", b'{"n":%d,"at":%d}' % (n, at)


SHAPES: Final[dict[str, Shape]] = {"numbered": numbered, "timed": timed, "bare": bare, "spoilt": spoilt}
