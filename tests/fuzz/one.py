"""Fuzz one target in this process, which ends with it: `python -m tests.fuzz.one NAME [libFuzzer's options]`."""

from __future__ import annotations

import os
import sys

import atheris

DECODERS = ["devices.values", "devices.places", "devices.wire", "dashboard.protocol", "bridge.accounts.dynsec"]
# What is longer costs a hundred times as much, and is in the corpus anyway.
SHORT = 2_000


def main(name: str, options: list[str]) -> None:
    """Learn from every branch of the decoders, nothing from Django's."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    with atheris.instrument_imports(include=DECODERS):
        import django  # noqa: PLC0415

        django.setup()
        from tests.fuzz import mutations, seeds, targets  # noqa: PLC0415

    bases = sorted(seed for seed in seeds.seeds() if len(seed) < SHORT)

    def change(data: bytes, size: int, seed: int) -> bytes:
        return mutations.changed(data, size, seed, bases, atheris.Mutate)

    atheris.Setup([sys.argv[0], *options], targets.timed(targets.TARGETS[name]), custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
