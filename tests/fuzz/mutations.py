"""How inputs are changed: libFuzzer's own changes of bytes, and ours of what those bytes mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from devices.values import MAX_PAYLOAD

# Places at which something can be put in: behind what opens or parts a value.
_GAPS: Final = re.compile(rb"[\[{:,]|^")
_VALUES: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[-\w.+]+|\{\}|\[\]', re.DOTALL)
# Input that parses and breaks later, and the words of our own payloads.
PIECES: Final = (
    *rb"""NaN -Infinity 1e999 -1e999 true false null 0 -0 0.5 -1 1e16 9007199254740991 9007199254740992
    -9007199254740992 9223372036854775807 9223372036854775808 1735689600 1735689600000 1735689600000000 1e17
    -31622400000 [] {} [[[[[[[[[[ ]]]]]]]]]] {"a": "" "a" "a.b" "\u0000" "\ud800" "\udc00" "\ud83d\ude00" "\u0074"
    "\x" \\ "a+" "a:b" : , " { } [ ] online offline ok error accepted rejected on off nan inf 012 .5 5. +5 1_000
    0x1F "ts" "dt" "boot" "seq" "device" "device_id" "kitchen" "values" "state" "fw" "sleep_s" "name" "model"
    "metrics" "commands" "type" "bool" "number" "enum" "text" "action" "min" "max" "step" "unit" "class" "options"
    "status" "value" "message" "progress" "lat" "lon" "sub" "id" "devices" "fleet" "mode" "since" "last_s" "cursor"
    "cmd" "args" "ttl_s" "key" "credit" "n" "hello" "token" "ping" "unsub" "responses" "command" "error" "data"
    "client" "roles"
    """.split(),
    *(b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\0", b"\xef\xbb\xbf", b"1" + b"0" * 400),
    *(b"9" * 5000, b"[" * 60_000),
)
Bytewise = Callable[[bytes, int], bytes]
_LONG: Final = 500
_RARE: Final = 2_000  # one in so many inputs grows to the size limit, since these cost a thousand small ones


def changed(data: bytes, size: int, seed: int, bases: Sequence[bytes], bytewise: Bytewise) -> bytes:
    """Return another input: by bytes in half of all cases, else by pieces of JSON.

    One in four begins again from one of `bases`: of a decoder in C there is no coverage to learn from.
    """
    if seed % _RARE == 0:
        return _grown(data, size)[:size]
    if seed % 4 == 0:
        data = bases[seed // 4 % len(bases)]
    seed //= 4
    how, seed = seed % 8, seed // 8
    if how < 4 or not data:
        return bytewise(data[:size], size)
    piece = PIECES[seed % (len(PIECES) if seed % 64 == 0 else len(PIECES) - 2)]
    places = list((_VALUES if how < 6 else _GAPS).finditer(data[:_LONG]))
    if not places:
        return (data + piece)[:size]
    at = places[seed // 64 % len(places)]
    if how == 7:
        piece = data[at.end() : places[seed // 4096 % len(places)].end()] or piece
    begin = at.start() if how < 6 else at.end()
    return (data[:begin] + piece + data[at.end() :])[:size]


def _grown(data: bytes, size: int) -> bytes:
    middle = data[1:-1] or b"0"
    times = (min(size, MAX_PAYLOAD) - len(data)) // len(middle)
    return data[:1] + middle * max(1, times) + data[-1:]
