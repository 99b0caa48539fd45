"""PURE. Where all chance comes from: seeded, so that the same seed gives the same fleet."""

import random


def dice(*parts: object) -> random.Random:
    """Chance that depends on nothing but `parts`, on every machine and version of Python."""
    return random.Random("/".join(map(str, parts)))  # noqa: S311  no cryptography: it has to repeat itself
