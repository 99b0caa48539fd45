"""PURE. Messages that cannot be taken in, each for a reason of its own, with a good one now and then.

By name: NaN, infinities, numbers of hundreds and of thousands of digits, NUL, lone surrogates, nesting without end;
besides broken UTF-8, broken JSON, wrong topics, wrong types and times, and what is too large.
"""

from typing import Final

# One in so many is good.
GOOD: Final = 100
# One in so many of the others is large, or they would all be bytes.
LARGE: Final = 500

BAD: Final[tuple[tuple[str, bytes], ...]] = (
    ("telemetry", b'{"t": NaN}'),
    ("telemetry", b'{"t": Infinity}'),
    ("telemetry", b'{"t": 1e999}'),
    ("telemetry", b'{"t": -1e999}'),
    ("telemetry", b'{"t": 1' + b"0" * 400 + b"}"),
    ("telemetry", b'{"t": ' + b"7" * 5000 + b"}"),
    ("telemetry", b'{"t": "a\\u0000b"}'),
    ("telemetry", b'{"t": "\\ud800"}'),
    ("telemetry", b'{"\\u0000": 1}'),
    ("telemetry", b"[" * 200),
    ("telemetry", b'{"t":' * 200),
    ("telemetry", b"\x00\xff\xfe\x80binary"),
    ("telemetry", b"not json"),
    ("telemetry", b'{"t": 1'),
    ("telemetry", b""),
    ("telemetry", b"[]"),
    ("telemetry", b"{}"),
    ("telemetry", b"42"),
    ("telemetry", b'"hot"'),
    ("telemetry", b'{"values": 3}'),
    ("telemetry", b'{"ts": "yesterday", "values": {"t": 1}}'),
    ("telemetry", b'{"ts": true, "values": {"t": 1}}'),
    ("telemetry", b'{"dt": 5000, "values": {"t": 1}}'),
    ("telemetry", b'{"device": "somebody-else", "values": {"t": 1}}'),
    ("telemetry", b'[{"t": 1}, {"t": NaN}]'),
    ("telemetry", b'{"boot": -1, "seq": 1, "values": {"t": 1}}'),
    ("telemetry", b'{"boot": 1, "seq": 1.5, "values": {"t": 1}}'),
    ("telemetry/t", b"NaN"),
    ("telemetry/t", b"\xff\xff"),
    ("telemetry/t", b"1e999"),
    ("telemetry/t/too/deep", b"1"),
    ("location", b'{"lat": 91, "lon": 0}'),
    ("location", b"here"),
    ("meta", b"[1, 2"),
    ("nowhere", b"1"),
    ("telemetri", b'{"t": 1}'),
    ("ack/", b"ok"),
    ("status/of/what", b"online"),
)
HUGE: Final[tuple[tuple[str, bytes], ...]] = (
    ("telemetry", b"[" * 60_000),
    ("telemetry", b'{"t": "' + b"x" * 70_000 + b'"}'),
    ("telemetry", b"\xff" * 70_000),
)


def good(n: int) -> bool:
    """Whether a device's n-th message is a frame."""
    return n % GOOD == 0


def spoilt(n: int, at: int) -> tuple[str, bytes]:
    """A shape (see shapes): GOOD frames told by their time, and everything else."""
    if good(n):
        return "telemetry", b'{"ts":%d,"values":{"n":%d,"at":%d}}' % (at, n, at)
    if n % LARGE == 1:
        return HUGE[n // LARGE % len(HUGE)]
    if n % 4 == 0:  # each of these is another one: they cannot all be kept as the same
        return "telemetry", b'{"n": %d, "broken' % n
    return BAD[n % len(BAD)]
