"""`manage.py doctor`: checks the whole path, and says how to mend what is wrong."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hub import doctor


class Command(BaseCommand):
    """Examine a running hub; exit code 1 when something is wrong."""

    help = "Check the whole path: database, clock, layer, broker, accounts, a frame in and a command out."

    def handle(self, *_: Any, **__: Any) -> None:
        """Say a line for each part."""
        if not asyncio.run(doctor.examine(self._say)):
            raise CommandError("Something is wrong; see the line marked ✗.")

    def _say(self, well: bool, name: str, found: str) -> None:  # noqa: FBT001 -- one of three words
        self.stdout.write(f"{'✓' if well else '✗'} {name}: {found}")
        self.stdout.flush()
