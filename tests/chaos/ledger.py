"""The publisher's ledger: what it was about to send, what the broker took, what the hub said is stored.

Lines of text, `p pump-1 101 105` (published), `a …` (acknowledged by the broker), `r …` (the hub's receipt), with the
first and the last number. They are on the disk (fsync) before the first byte of these messages leaves: whatever dies
afterwards, the ledger says what there has to be.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

PUBLISHED, ACKED, RECEIPT = "p", "a", "r"


class Ledger:
    """Written by groups: `note` any number of times, then `commit`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="ascii")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.commit()
        self._file.close()

    def note(self, what: str, key: str, numbers: Iterable[int]) -> None:
        for first, last in runs(numbers):
            self._file.write(f"{what} {key} {first} {last}\n")

    def commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Numbers as runs (first, last)."""
    first = last = None
    for n in numbers:
        if last is not None and n == last + 1:
            last = n
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = n
    if first is not None and last is not None:
        yield first, last


class Entries:
    """A ledger as read: key → numbers."""

    def __init__(self) -> None:
        self.published: dict[str, set[int]] = defaultdict(set)
        self.acked: dict[str, set[int]] = defaultdict(set)
        self.receipts: dict[str, set[int]] = defaultdict(set)


def read(paths: Iterable[Path], good: Callable[[int], bool] = lambda _: True) -> Entries:
    """All that these ledgers say of good numbers."""
    entries = Entries()
    kinds = {PUBLISHED: entries.published, ACKED: entries.acked, RECEIPT: entries.receipts}
    for path in paths:
        for line in path.read_text(encoding="ascii").splitlines():
            what, key, first, last = line.split()
            kinds[what][key].update(filter(good, range(int(first), int(last) + 1)))
    return entries
