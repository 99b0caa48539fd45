"""PURE. The ids of commands: the first six characters say until when a command may be carried out.

So a device with a clock need not carry out what comes too late, however long it lay on the way. A clock that was never
set is behind, and lets everything pass.
"""

from __future__ import annotations

from typing import Final

# 32 letters and digits that are not taken for one another.
ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
# 30 bits of seconds: until January 2059.
_SINCE: Final = 1_735_689_600  # 2025-01-01, in s
_LENGTH: Final = 6


def cid(expires_at: int, number: int) -> str:
    """Return the id of a command that expires then (ms, on the second); `number` (30 bits) tells it from others."""
    return _written((expires_at // 1000 - _SINCE) % 32**_LENGTH) + _written(number)


def expiry_of(cid: str) -> int | None:
    """Return when a command expires (ms), by its id; None when the id does not say."""
    digits = [ALPHABET.find(letter) for letter in cid[:_LENGTH]]
    if len(cid) != 2 * _LENGTH or -1 in digits:
        return None
    seconds = 0
    for digit in digits:
        seconds = seconds * 32 + digit
    return (_SINCE + seconds) * 1000


def _written(number: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
